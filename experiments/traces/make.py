"""Makes the synthetic excerpts in this folder; nothing in them comes from a real trace.

    python experiments/traces/make.py FOLDER

The same files each time. They have the traps of the real ones on purpose: see README.md beside this file.
"""

from __future__ import annotations

import csv
import hashlib
import math
import random
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

MINUTES = 1440
IDS = ["HashOwner", "HashApp", "HashFunction"]
SHARES = (0, 1, 25, 50, 75, 99, 100)
MEMORY_SHARES = (1, 5, 25, 50, 75, 95, 99, 100)


@dataclass(frozen=True)
class Kind:
    """How often the functions of an app are called (a minute, on average), and how long they take (median, s)."""

    trigger: str
    rate: float
    median_s: float
    functions: int


APPS = (
    Kind("http", 12.0, 0.08, 4), Kind("http", 3.0, 0.4, 3), Kind("http", 0.6, 1.5, 3), Kind("queue", 6.0, 0.03, 3),
    Kind("timer", 1.0, 0.2, 3), Kind("timer", 0.2, 4.0, 2), Kind("event", 2.0, 0.0, 2), Kind("others", 0.02, 20.0, 4),
)


def invented(*name: object) -> str:
    """Sixty-four hexadecimal digits, as the real files have, of a name that says what they are."""
    return hashlib.sha256("/".join(map(str, ("synthetic", *name))).encode()).hexdigest()


def poisson(rng: random.Random, mean: float) -> int:
    """A draw from a Poisson distribution."""
    calls, product, limit = 0, rng.random(), math.exp(-mean)
    while product > limit:
        calls, product = calls + 1, product * rng.random()
    return calls


def calls_of(rng: random.Random, kind: Kind) -> list[int]:
    """Calls in each minute of a day: timers by the clock, the rest with a daily curve and bursts."""
    if kind.trigger == "timer":
        period = round(1 / kind.rate)
        return [int(minute % period == 0) for minute in range(MINUTES)]
    burst, counts = 0, []
    for minute in range(MINUTES):
        burst = burst - 1 if burst else (rng.randint(2, 6) if rng.random() < 0.01 else 0)
        daily = 1 - 0.6 * math.cos(2 * math.pi * minute / MINUTES)
        counts.append(poisson(rng, kind.rate * daily * (5 if burst else 1)))
    return counts


def write(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A CSV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def functions() -> list[tuple[tuple[str, str, str], Kind]]:
    """All functions with their identifiers; the first function of the second app is called as that of the first."""
    found = []
    for app, kind in enumerate(APPS):
        for number in range(kind.functions):
            name = invented("function", 0 if app == 1 else app, number)
            found.append(((invented("owner", app // 2), invented("app", app), name), kind))
    return found


def make_2019(folder: Path) -> None:
    """The three files of one day."""
    rng = random.Random(2019)
    called = [(key, kind, calls_of(rng, kind)) for key, kind in functions()]
    minutes = [str(minute) for minute in range(1, MINUTES + 1)]
    write(folder / "invocations_per_function_md.anon.d01.csv", [*IDS, "Trigger", *minutes],
          [(*key, kind.trigger, *counts) for key, kind, counts in called])
    never = (invented("owner", 0), invented("app", 0), invented("function", "in the file of durations only"))
    lasting = [(key, kind, sum(counts)) for key, kind, counts in called[:-1]]  # the last is in the first file only
    columns = [*IDS, "Average", "Count", "Minimum", "Maximum", *(f"percentile_Average_{each}" for each in SHARES)]
    write(folder / "function_durations_percentiles.anon.d01.csv", columns,
          [durations_row(rng, key, kind, count) for key, kind, count in [*lasting, (never, APPS[0], 7)]])
    apps = dict.fromkeys(key[:2] for key, _ in functions())
    columns = [*IDS[:2], "SampleCount", "AverageAllocatedMb",
               *(f"AverageAllocatedMb_pct{each}" for each in MEMORY_SHARES)]
    write(folder / "app_memory_percentiles.anon.d01.csv", columns,
          [memory_row(rng, app) for app in list(apps)[:-1]])  # the last app is in the first file only


def durations_row(rng: random.Random, key: tuple[str, str, str], kind: Kind, count: int) -> list[object]:
    """Whole milliseconds, so that what is quicker is 0; the count is not quite that of the other file."""
    scale = rng.uniform(0.7, 1.4) * 1000 * kind.median_s
    values = [round(scale * factor) for factor in (0.4, 0.5, 0.8, 1.0, 1.3, 2.5, 4.0)]
    counted = max(0, count - rng.randint(0, 3))
    return [*key, values[3], counted, round(values[0] * 0.7), round(values[-1] * 1.2), *values]


def memory_row(rng: random.Random, app: tuple[str, ...]) -> list[object]:
    """Megabytes of one app."""
    mean = rng.randint(60, 400)
    shares = (0.6, 0.7, 0.9, 1.0, 1.1, 1.3, 1.4, 1.5)
    return [*app, rng.randint(100, 3000), mean, *(round(mean * factor) for factor in shares)]


def make_2021(path: Path) -> None:
    """Twenty minutes of invocations, in order of their ends."""
    rng = random.Random(2021)
    rows = []
    for (_, app, function), kind in functions():
        t = rng.expovariate(kind.rate / 60)
        while t < 1200:
            duration = round(kind.median_s * rng.lognormvariate(0, 0.6), 3)
            twice = 2 if rng.random() < 0.02 else 1  # two calls at once that last equally long: two equal rows
            rows += [(app, function, round(t + duration, 3), duration)] * twice
            t += rng.expovariate(kind.rate / 60)
    write(path, ["app", "func", "end_timestamp", "duration"], sorted(rows, key=lambda row: row[2]))


if __name__ == "__main__":
    make_2019(Path(sys.argv[1]) / "synthetic2019")
    make_2021(Path(sys.argv[1]) / "synthetic2021" / "invocations.txt")
