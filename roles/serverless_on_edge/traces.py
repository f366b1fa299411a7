"""Traces of calls in the original's format: lines of ``time function endpoint size``, sorted by time."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import NamedTuple

from testbed import seeds
from testbed.errors import InputError, Problem

SHOWN = 20  # problems of one file that are told


class Load(NamedTuple):
    """What is asked for: calls a second of each client, clients, seconds, first second, smallest and largest size."""

    rate: float
    clients: int
    duration: float
    start: float
    sizes: tuple[int, int]


@dataclass(frozen=True, order=True)
class Call:
    """One call: seconds, function, endpoint, bytes of input."""

    t: float
    function: str
    endpoint: str
    size: int

    def __str__(self) -> str:
        return f"{self.t:.6f} {self.function} {self.endpoint} {self.size}"


def generated(load: Load, functions: Sequence[str], endpoints: Sequence[str], seed: int) -> list[Call]:
    """Poisson calls of each client, who keeps to one function and one endpoint, drawn at its start; sizes are drawn."""
    calls = []
    for client in range(load.clients):
        rng = seeds.stream(seed, "trace", str(client))
        function, endpoint = rng.choice(functions), rng.choice(endpoints)
        t = load.start + rng.expovariate(load.rate)
        while t < load.start + load.duration:
            calls.append(Call(t, function, endpoint, rng.randint(*load.sizes)))
            t += rng.expovariate(load.rate)
    return sorted(calls)


def read(path: Path) -> list[Call]:
    """The calls of a trace; raises InputError with all lines that are none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        found = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError([Problem(str(path), 0, "", found, "a text file in UTF-8")]) from error
    calls, problems = [], []
    for number, line in enumerate(lines, 1):
        if line.strip():
            call = _call(line.split())
            if call is None:
                problems.append(Problem(str(path), number, "", line.strip()[:80], "time function endpoint size"))
            else:
                calls.append(call)
    if problems:
        raise InputError(problems[:SHOWN])
    return calls


def _call(words: Sequence[str]) -> Call | None:
    if len(words) != 4:
        return None
    try:
        call = Call(float(words[0]), words[1], words[2], int(words[3]))
    except ValueError:
        return None
    return call if isfinite(call.t) and call.t >= 0 and call.size >= 0 else None


def as_csv(calls: Sequence[Call], clients: Mapping[str, str]) -> str:
    """The same for the arrivals ``trace`` of an experiment; endpoints that ``clients`` knows name who calls.

    Times count from the first call on, whenever the trace begins.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("t_offset_s", "function", "client", "payload_bytes"))
    writer.writerows(_rows(calls, clients))
    return text.getvalue()


def _rows(calls: Sequence[Call], clients: Mapping[str, str]) -> Iterator[tuple[str, str, str, int]]:
    begin = min((call.t for call in calls), default=0.0)
    for call in sorted(calls):
        yield f"{call.t - begin:.6f}", call.function, clients.get(call.endpoint, ""), call.size
