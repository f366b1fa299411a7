"""Tables as data: a column has a name, a kind, a unit and a meaning; a table is a named tuple of columns.

The framework's own tables stand in ``testbed/collect/schema.py``; a system declares its own beside its roles.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

_AS_IT_IS = frozenset((int, type(None)))
Cell = str | int | float | bool | None
Row = Mapping[str, Cell]


@dataclass(frozen=True, slots=True)
class Column:
    """One column. ``unit`` is ``s``, ``bytes``, ``1/s``, ``share``, ``count`` or empty; empty cells: not applicable."""

    name: str
    kind: Literal["text", "integer", "number", "truth"]
    unit: str
    meaning: str

    @property
    def is_moment(self) -> bool:
        """Whether it says when: its unit is ``s`` and its name ``t`` or ``t_…``; any other ``s`` is a duration.

        An agent writes moments on the run's reference clock; the datasets of a run have them in seconds after the
        start of the workload.
        """
        return self.unit == "s" and (self.name == "t" or self.name.startswith("t_"))


@dataclass(frozen=True, slots=True)
class Table:
    """A dataset of a run, stored as ``<name>.csv`` with a header line."""

    name: str
    meaning: str
    columns: tuple[Column, ...]

    @property
    def header(self) -> tuple[str, ...]:
        """The column names in file order."""
        return tuple(column.name for column in self.columns)


def cell(value: object) -> object:
    """``value`` as it stands in a CSV: truths as 0 and 1, numbers to the nanosecond without trailing zeros.

    A carriage return becomes a space, since the csv module of some Python versions leaves it unquoted and then takes
    it for the end of a row on reading.
    """
    kind = type(value)
    if kind is float:
        return f"{value:.9f}".rstrip("0").rstrip(".")
    if isinstance(value, str):
        return value.replace("\r", " ") if "\r" in value else value
    if isinstance(value, bool):
        return int(value)
    return cell(float(value)) if isinstance(value, float) else value


def decimals(numbers: Iterable[float]) -> list[str]:
    """:func:`cell` of each number, without a call for it."""
    return [f"{number:.9f}".rstrip("0").rstrip(".") for number in numbers]


def cells(values: Iterable[object]) -> list[object]:
    """:func:`cell` of each value; written out, since a call for each of them takes as long as the rest of a row."""
    return [
        value if (kind := type(value)) in _AS_IT_IS
        else f"{value:.9f}".rstrip("0").rstrip(".") if kind is float
        else value if kind is str and "\r" not in value  # type: ignore[operator]
        else cell(value)
        for value in values
    ]  # fmt: skip
