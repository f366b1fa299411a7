"""The tables of the system under test: what its agents wrote, joined, with moments on the workload's clock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from testbed.collect.streamed import whole_rows
from testbed.tables import Row, Table


def joined(table: Table, parts: Iterable[Path], t0: float | None) -> Iterator[Row | str]:
    """The rows of the files that agents wrote of ``table``, one file after the other, or why a line is none.

    Agents write moments on the run's reference clock, on which the workload began at ``t0``; here they are seconds
    after that. They are left empty where no workload began (``t0`` is None). Half-written last lines are left out.
    """
    moments = [column.name for column in table.columns if column.is_moment]
    for path in parts:
        for row in whole_rows(path):
            try:
                yield row if isinstance(row, str) else {**row, **_moved(row, moments, t0)}
            except (KeyError, ValueError) as error:
                yield f"{path}: a row has no readable moment: {error}"


def _moved(row: dict[str, str], moments: Iterable[str], t0: float | None) -> Row:
    return {name: None if t0 is None or not row[name] else float(row[name]) - t0 for name in moments}
