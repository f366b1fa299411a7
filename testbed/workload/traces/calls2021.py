"""The Azure Functions trace of 2021: one row an invocation, with the time of its end and its duration.

Format: https://github.com/Azure/AzurePublicDataset, AzureFunctionsInvocationTrace2021. A function's identifier is
unique inside its app only.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from testbed.workload.traces.choice import Choice, Key
from testbed.workload.traces.table import Table

COLUMNS = ("app", "func", "end_timestamp", "duration")
Window = tuple[float, float | None]


@dataclass(frozen=True, slots=True)
class Calls:
    """Invocations in order of arrival; the columns are equally long.

    ``arrivals`` count from the start of the window, ``functions`` are indices into ``keys``; times in seconds.
    """

    keys: tuple[Key, ...]
    arrivals: array[float]
    durations: array[float]
    functions: array[int]


def read_calls(path: Path, window: Window, choice: Choice) -> Calls:
    """The calls of the chosen functions that arrive in ``window`` (seconds of the trace, the end left out).

    Reads the file twice, so that no more than the chosen is ever kept; raises InputError.
    """
    keys = tuple(choice.of(Counter(key for key, _, _ in _within(path, window))))
    numbers: Mapping[Key, int] = {key: number for number, key in enumerate(keys)}
    arrivals, durations, functions = array("d"), array("d"), array("l")
    for key, arrival, duration in _within(path, window):
        if key in numbers:
            arrivals.append(arrival - window[0])
            durations.append(duration)
            functions.append(numbers[key])
    order = sorted(range(len(arrivals)), key=lambda row: (arrivals[row], functions[row], durations[row]))
    return Calls(
        keys, array("d", map(arrivals.__getitem__, order)), array("d", map(durations.__getitem__, order)),
        array("l", map(functions.__getitem__, order)),
    )


def _within(path: Path, window: Window) -> Iterator[tuple[Key, float, float]]:
    """Function, arrival and duration of each call in the window, in the order of the file: that of their ends."""
    first, last = window
    table = Table(path, COLUMNS)
    for app, func, end, lasting in table.rows():
        key = table.key(COLUMNS[:2], (app, func))
        duration = table.number("duration", lasting)
        # Rounded to the nanosecond: a difference of two decimals is a hair beside the decimal that is meant.
        arrival = round(table.number("end_timestamp", end) - duration, 9)
        if first <= arrival and (last is None or arrival < last):
            yield key, arrival, duration
