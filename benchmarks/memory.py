"""What memory a network takes, seen from the arena that holds nothing else: by the machine, and by its processes."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


class Memory:
    """Begun before a network is built; :meth:`taken` says what it cost until then."""

    def __init__(self) -> None:
        self._available, self._processes = available_kb(), processes_kb()

    def taken(self) -> tuple[float, float]:
        """In kB: what the machine has less of, and what the processes here have more of (proportional set size)."""
        return self._available - available_kb(), processes_kb() - self._processes


def available_kb() -> float:
    """Memory that programs could still get."""
    with open("/proc/meminfo") as file:  # noqa: PTH123
        return next(float(line.split()[1]) for line in file if line.startswith("MemAvailable"))


def processes_kb() -> float:
    """The proportional set sizes of all processes that /proc shows: in an arena, its own."""
    total = 0.0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it ended meanwhile
                total += _pss_kb(entry)
    return total


def _pss_kb(process: Path) -> float:
    text = (process / "smaps_rollup").read_text()
    return sum(float(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
