"""Recorded links: CSV files of time, rate, delay and loss, and the packet-delivery traces of mahimahi.

A CSV file has a column ``time`` and some of those of a link's shape. Units stand in the head (``rate (Mbit)``), or
in each cell (``12Mbit``). A cell that is empty leaves the value as it is. A delivery trace has one whole number on each
line: the millisecond at which one packet of 1500 bytes may pass (Netravali et al., USENIX ATC 2015).
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from testbed import units
from testbed.errors import InputError, Problem
from testbed.timeline.force import reshaped
from testbed.topology.shape import Shape

PACKET_BITS = 1500 * 8
MOST_STEPS = 1_000_000
_HEAD = re.compile(r"\s*([a-z]+)\s*(?:[(\[_]\s*([A-Za-zµ%/]+?)\s*[)\]]?)?\s*$")
_KNOWN = ("rate", "delay", "loss", "jitter", "duplicate", "reorder", "corrupt")


@dataclass(frozen=True, slots=True)
class Step:
    """From ``at`` (seconds from the trace's start) on, these keys of the shape have these values."""

    at: float
    change: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Recording:
    """The steps of a recording, and how long all of it lasts: it may begin again then."""

    steps: tuple[Step, ...]
    lasts: float

    def replayed(self, duration: float, loop: bool) -> Iterator[Step]:
        """The steps of ``duration`` seconds, from the first on; once, or again and again."""
        start = 0.0
        while start < duration:
            for step in self.steps:
                at = start + step.at
                if at >= duration:
                    return
                yield Step(at, step.change)
            start += self.lasts
            if not loop:
                return


class _Faulty(Exception):
    def __init__(self, line: int, found: str, expected: str, hint: str = "") -> None:
        super().__init__(found)
        self.line, self.found, self.expected, self.hint = line, found, expected, hint


def of_csv(path: Path) -> Recording:
    """The recording in a CSV file; raises InputError for the first line that is none, and OSError."""
    return _read(path, _of_rows)


def of_deliveries(path: Path, window: float) -> Recording:
    """The rate of a delivery trace in each ``window`` seconds; raises InputError for the first faulty line.

    What a mahimahi link would do between two deliveries is smoothed: packets are spread over the window, and over the
    windows before it in which there is none, since no rate is zero.
    """
    return _read(path, lambda text: _of_deliveries(text, window))


def _read(path: Path, parse: Any) -> Recording:
    try:
        recording: Recording = parse(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise InputError([Problem(str(path), 0, "", "what is not UTF-8", "text in UTF-8")]) from None
    except _Faulty as fault:
        raise InputError([Problem(str(path), fault.line, "", fault.found, fault.expected, fault.hint)]) from None
    return recording


def _of_rows(text: str) -> Recording:
    rows = csv.reader(line for line in text.splitlines())
    columns = _columns(next(rows, []))
    steps: list[Step] = []
    for line, row in enumerate(rows, start=2):
        if not any(cell.strip() for cell in row) or row[0].lstrip().startswith("#"):
            continue
        if len(row) != len(columns):
            raise _Faulty(line, f"{len(row)} cells", f"{len(columns)}, as in the head")
        given = ((name, unit, cell.strip()) for (name, unit), cell in zip(columns, row, strict=True))
        cells = {name: cell + unit if cell[-1].isdigit() else cell for name, unit, cell in given if cell}
        at = _time(cells.pop("time", ""), line)
        if steps and at < steps[-1].at:
            raise _Faulty(line, f"the time {at:g} s after {steps[-1].at:g} s", "times in order")
        _check(cells, line)
        steps.append(Step(at, cells))
    if not steps or len(steps) > MOST_STEPS:
        raise _Faulty(0, f"{len(steps)} steps", f"1 to {MOST_STEPS:,} of them")
    first, last = steps[0].at, steps[-1].at
    moved = tuple(Step(step.at - first, step.change) for step in steps)
    gap = moved[-1].at - moved[-2].at if len(moved) > 1 else 1.0
    return Recording(moved, last - first + (gap or 1.0))


def _columns(head: Sequence[str]) -> list[tuple[str, str]]:
    found = []
    for cell in head:
        match = _HEAD.match(cell)
        name, unit = (match[1], match[2] or "") if match else (cell.strip(), "")
        if name not in ("time", *_KNOWN):
            raise _Faulty(1, f"the column {cell.strip()[:40]!r}", f"time, and some of {', '.join(_KNOWN)}",
                          "Write units in brackets: `rate (Mbit)`." if cell.strip() else "")  # fmt: skip
        found.append((name, unit))
    names = [name for name, _ in found]
    if "time" not in names or len(names) < 2 or len(set(names)) < len(names):
        raise _Faulty(1, f"the columns {', '.join(names) or '(none)'}", f"time, and some of {', '.join(_KNOWN)}, once")
    return found


def _time(text: str, line: int) -> float:
    try:
        return units.delay(text)
    except PydanticCustomError as error:
        hint = "Write the unit into the head: `time (s)`."
        raise _Faulty(line, f"the time {text[:40]!r}", str((error.context or {})["expected"]), hint) from None


def _check(cells: Mapping[str, str], line: int) -> None:
    """Refuse what no shape can have; asked for each row alone, since which values hold before is not known."""
    for name, value in cells.items():
        try:
            reshaped(Shape(), {name: value})
        except ValidationError as error:
            context = error.errors()[0].get("ctx", {})
            expected = str(context.get("expected", error.errors()[0]["msg"]))
            raise _Faulty(line, f"the {name} {value[:40]!r}", expected, str(context.get("hint", ""))) from None


def _of_deliveries(text: str, window: float) -> Recording:
    times: list[int] = []
    for line, written in enumerate(text.splitlines(), start=1):
        if not written.strip():
            continue
        if not written.strip().isdecimal():
            raise _Faulty(line, repr(written.strip()[:40]), "a whole number of milliseconds")
        times.append(int(written))
        if len(times) > 1 and times[-1] < times[-2]:
            raise _Faulty(line, f"{times[-1]} after {times[-2]}", "times in order")
    if not times or times[-1] == 0:
        raise _Faulty(0, "no delivery after the start", "at least one, since its last line says how long a trace lasts")
    lasts = times[-1] / 1000
    last = ceil(lasts / window) - 1
    counts = Counter(min(int(each / 1000 / window), last) for each in times)
    steps, begin = [], 0
    for number in range(last + 1):
        if counts[number]:  # a stretch without any is one with the next that has some
            width = min((number + 1) * window, lasts) - begin * window
            steps.append(Step(begin * window, {"rate": f"{counts[number] * PACKET_BITS / width:.12g}bit"}))
            begin = number + 1
    changed = [step for index, step in enumerate(steps) if not index or step.change != steps[index - 1].change]
    return Recording(tuple(changed), lasts)
