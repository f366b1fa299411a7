"""How much of the machine that carries the emulation one host may use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isfinite
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from testbed import units
from testbed.units import Unit, refuse

LEAST_CORES = 0.01
LEAST_MEMORY = 1_000_000
_RANGE = re.compile(r"\s*(\d{1,4})\s*(?:-\s*(\d{1,4})\s*)?\Z")


def _cores(value: object) -> object:
    if value == "none":
        return None
    expected = f"a number of cores of at least {LEAST_CORES:g}, such as 0.5, or none"
    if isinstance(value, str) and value.strip().endswith("%"):
        raise refuse(expected, _as_part(value.strip()[:-1]))
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value) or value < LEAST_CORES:
        raise refuse(expected)
    return float(value)


def _as_part(text: str) -> str:
    try:
        return f"Try {float(text) / 100:g}."
    except ValueError:
        return ""


def _processors(value: object) -> object:
    """The numbers of processors, in order and each once."""
    if value == "none":
        return None
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, (list, tuple)) else [value]
    found: set[int] = set()
    for part in parts:
        found.update(_range(part))
    if not found:
        raise refuse(_PROCESSORS)
    return tuple(sorted(found))


_PROCESSORS = "numbers of processors from 0, such as 0-1, or [0, 2], or none"


def _range(part: object) -> range:
    match = None if isinstance(part, bool) else _RANGE.match(str(part))
    if match is None:
        raise refuse(_PROCESSORS)
    first, last = int(match[1]), int(match[2] or match[1])
    if last < first:
        raise refuse(_PROCESSORS, f"Try {last}-{first}.")
    return range(first, last + 1)


def processors_text(numbers: tuple[int, ...] | None) -> str | None:
    """``0-1,4``: what a file, and the kernel, write for these processors; None for None."""
    if numbers is None:
        return None
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def processors(text: str) -> tuple[int, ...]:
    """The processors that the kernel means by ``0-1,4``; none for an empty text."""
    return tuple(sorted(number for part in text.split(",") if part.strip() for number in _range(part)))


def _memory(value: object) -> object:
    if value == "none":
        return None
    amount = units.size(value)
    if amount < LEAST_MEMORY:
        raise refuse("at least 1MB of memory, such as 256MB, or none")
    return amount


def memory_text(size_bytes: int) -> str:
    """An amount of memory in the unit that says it in the fewest characters."""
    fitting = {name: factor for name, factor in units.SIZES.items() if factor <= size_bytes}
    return min((units.write(size_bytes, {name: factor}) for name, factor in fitting.items()), key=len)


Cores = Annotated[float | None, BeforeValidator(_cores)]
Processors = Annotated[tuple[int, ...] | None, BeforeValidator(_processors), PlainSerializer(processors_text)]
Memory = Annotated[
    int | None,
    BeforeValidator(_memory),
    PlainSerializer(lambda value: None if value is None else memory_text(value)),
    Unit("size"),
]


class Limits(BaseModel):
    """What the programs on a host may use, all of them together."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpu: Cores = Field(
        None, description="CPU time that all programs of a host get together, in cores: 0.5 is half of one core's "
        "time, 2 is two cores. Modelled functions and the twin heed it."
    )
    cpuset: Processors = Field(
        None, description="The machine's processors that programs of a host may run on, such as 0-1 or [0, 2]."
    )
    memory: Memory = Field(
        None, description="Memory that all programs of a host may hold together, such as 256MB; beyond it the kernel "
        "kills one of them."
    )

    @property
    def cores(self) -> float | None:
        """How many cores' time the host can use at most; None: as many as the machine has."""
        given = [each for each in (self.cpu, len(self.cpuset) if self.cpuset else None) if each is not None]
        return min(given, default=None)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The limits that are set: some of cpu, cpuset, memory."""
        return tuple(key for key in KEYS if getattr(self, key) is not None)

    def data(self) -> dict[str, object]:
        """The limits that are set, as a topology file has them."""
        dumped = self.model_dump(include=set(KEYS), mode="json")
        return {key: dumped[key] for key in KEYS if dumped[key] is not None}


KEYS = tuple(Limits.model_fields)
UNLIMITED = Limits()


def merged(default: Mapping[str, Any], entry: Limits) -> Limits:
    """The limits of an entry, with those of ``default`` where it says nothing (see :func:`given`)."""
    values = {**default, **given(entry)}
    return Limits.model_construct(**values) if values else UNLIMITED


def given(entry: Limits) -> dict[str, Any]:
    """The limits that an entry names, with their values; None where it names ``none``."""
    return {key: getattr(entry, key) for key in KEYS if key in entry.model_fields_set}
