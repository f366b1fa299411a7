"""One day of the Azure Functions trace of 2019: calls a minute, percentiles of durations, memory of apps.

Format: https://github.com/Azure/AzurePublicDataset, AzureFunctionsDataset2019. The three files join by all of owner,
app and function (memory: owner and app); a function or an app may be in one of them only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from testbed.workload.traces.choice import Choice, Key
from testbed.workload.traces.table import Table

IDS = ("HashOwner", "HashApp", "HashFunction")
SHARES = (0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0)
LEAST_S = 0.0005
"""What a duration of 0 stands for: the file counts in milliseconds, so it was shorter than one."""

_PERCENTILES = tuple(f"percentile_Average_{round(100 * share)}" for share in SHARES)
_MB = 1_000_000


@dataclass(frozen=True, slots=True)
class DayFunction:
    """A function: its calls in each minute of the window, its durations in seconds at SHARES, its part of memory.

    None where the file is not given or does not have the function.
    """

    key: Key
    calls: tuple[int, ...]
    durations_s: tuple[float, ...] | None
    memory_bytes: int | None

    def duration_s(self, share: float) -> float | None:
        """The duration that ``share`` of the calls do not exceed, on a straight line between two percentiles."""
        if self.durations_s is None:
            return None
        points = pairwise(zip(SHARES, self.durations_s, strict=True))
        (low, least), (high, most) = next(pair for pair in points if share <= pair[1][0])
        return max(LEAST_S, least + (most - least) * (share - low) / (high - low))


def read_day(
    invocations: Path, durations: Path | None, memory: Path | None, minutes: tuple[int, int], choice: Choice
) -> tuple[DayFunction, ...]:
    """The chosen functions that are called from minute ``minutes[0]`` to ``minutes[1]``, sorted by their keys.

    Reads ``invocations`` twice, so that no more than the chosen is ever kept; raises InputError.
    """
    columns = [str(minute) for minute in range(minutes[0], minutes[1] + 1)]
    totals = _totals(Table(invocations, (*IDS, *columns)), columns)
    chosen = choice.of(totals)
    calls = _calls(Table(invocations, (*IDS, *columns)), set(chosen))
    lasting = _durations(Table(durations, (*IDS, "Count", *_PERCENTILES)), set(chosen)) if durations else {}
    shares = _memory(memory, totals, {key[:2] for key in chosen}) if memory else {}
    return tuple(DayFunction(key, tuple(calls[key]), lasting.get(key), shares.get(key[:2])) for key in chosen)


def _totals(table: Table, columns: Sequence[str]) -> dict[Key, int]:
    """The calls of every function in the window; a function with two rows has those of both."""
    totals: dict[Key, int] = {}
    for cells in table.rows():
        key, counts = table.key(IDS, cells[:3]), cells[3:]
        try:
            total = sum(map(int, counts))
        except ValueError:
            total = -1
        if total < 0 or not all(map(str.isdigit, counts)):  # the slow way, to tell which minute
            total = sum(table.whole(column, cell) for column, cell in zip(columns, counts, strict=True))
        totals[key] = totals.get(key, 0) + total
    return totals


def _calls(table: Table, chosen: set[Key]) -> dict[Key, list[int]]:
    calls: dict[Key, list[int]] = {}
    for cells in table.rows():
        if (key := cells[:3]) in chosen:
            counts = map(int, cells[3:])
            calls[key] = [a + b for a, b in zip(calls[key], counts, strict=True)] if key in calls else list(counts)
    return calls


def _durations(table: Table, chosen: set[Key]) -> Mapping[Key, tuple[float, ...]]:
    """The percentiles in seconds; of two rows of one function, those of the row that counted more calls."""
    counted: Counter[Key] = Counter()
    found: dict[Key, tuple[float, ...]] = {}
    for cells in table.rows():
        key = table.key(IDS, cells[:3])
        if key not in chosen:
            continue
        count = table.number("Count", cells[3])
        values = [table.number(column, cell) for column, cell in zip(_PERCENTILES, cells[4:], strict=True)]
        if values != sorted(values):
            table.refuse(_PERCENTILES[0], f"percentiles {', '.join(cells[4:])}", "percentiles that do not fall")
        if key not in found or count > counted[key]:
            counted[key], found[key] = int(count), tuple(value / 1000 for value in values)
    return found


def _memory(path: Path, functions: Mapping[Key, int], apps: set[Key]) -> Mapping[Key, int]:
    """For each app its mean memory in bytes, divided evenly among its functions, those without calls included."""
    table = Table(path, (*IDS[:2], "SampleCount", "AverageAllocatedMb"))
    members = Counter(key[:2] for key in functions)
    counted: Counter[Key] = Counter()
    found: dict[Key, int] = {}
    for cells in table.rows():
        app = table.key(IDS[:2], cells[:2])
        if app not in apps:
            continue
        count, mean = table.number("SampleCount", cells[2]), table.number("AverageAllocatedMb", cells[3])
        if app not in found or count > counted[app]:
            counted[app], found[app] = int(count), round(mean * _MB / members[app])
    return found
