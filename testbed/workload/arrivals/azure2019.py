"""Replay of a day in the format of the Azure Functions trace of 2019: calls a minute, durations as percentiles."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from testbed import seeds
from testbed.units import refuse
from testbed.workload.arrivals.base import Arrival, Source
from testbed.workload.arrivals.replay import Replay, Stamp, located
from testbed.workload.traces.choice import Choice, Key
from testbed.workload.traces.days2019 import DayFunction, read_day

MINUTE_S = 60.0

Gaps = Literal["exponential", "uniform", "equidistant"]
Files = tuple[Path, Path | None, Path | None]


def _in_order(value: tuple[int, int]) -> tuple[int, int]:
    if not 1 <= value[0] <= value[1] <= 1440:
        raise refuse("the first and the last minute of a day, such as [1, 60], from 1 to 1440")
    return value


class Azure2019(Replay):
    """Replays calls a minute in the format of the Azure Functions trace of 2019."""

    model: Literal["azure2019"] = Field(
        description="Replays a day in the format of the Azure Functions trace of 2019. Files are relative to the "
        "experiment's."
    )
    invocations: str = Field(
        description="Calls a minute: `invocations_per_function_md.anon.dNN.csv`, columns `HashOwner`, `HashApp`, "
        "`HashFunction`, `1` … `1440`."
    )
    durations: str | None = Field(
        None, description="Percentiles of durations: `function_durations_percentiles.anon.dNN.csv`. Each invocation "
        "draws its own duration from those of its function."
    )
    memory: str | None = Field(
        None, description="Memory of apps: `app_memory_percentiles.anon.dNN.csv`. The mean of an app is divided "
        "evenly among its functions."
    )
    minutes: Annotated[tuple[int, int], AfterValidator(_in_order)] = Field(
        (1, 1440), description="The first and the last minute that are replayed; the first begins with the traffic."
    )
    gaps: Gaps = Field(
        description="How the calls of one function are spread inside a minute, which the trace does not tell: with "
        "`exponential` (most bursty), `uniform` or `equidistant` gaps (the first at a random time). The number of "
        "calls in the minute is always the trace's."
    )

    def files(self, folder: Path) -> tuple[Path, ...]:
        """The files that are given, invocations first."""
        return tuple(path for path in self._files(folder) if path)

    def keys(self, folder: Path) -> Sequence[tuple[Key, int | None]]:
        """The chosen functions with their part of their app's memory."""
        return [(each.key, each.memory_bytes) for each in self._day(folder)]

    def calls(self, source: Source) -> Iterator[Arrival]:
        """Minute by minute; the draws of one function and minute are their own, whatever else is replayed."""
        day, names = self._day(source.folder), self.names(source.folder)
        for number, minute in enumerate(range(self.minutes[0], self.minutes[1] + 1)):
            due = [(number * MINUTE_S + second, names[each.key], duration)
                   for each in day if each.calls[number]
                   for second, duration in self._minute(each, minute, each.calls[number], source)]
            for t, name, duration in sorted(due, key=itemgetter(0, 1)):
                yield Arrival(t / self.speed, name, service_s=duration)

    def _minute(
        self, function: DayFunction, minute: int, calls: int, source: Source
    ) -> Iterator[tuple[float, float | None]]:
        """Second and duration of each of the calls in one minute, in order."""
        def rng(*name: str) -> random.Random:
            return seeds.stream(source.seed, "workload", str(source.index), self.model, *name, *function.key)

        if self.gaps == "equidistant":
            shift = rng("shift").random()
            seconds = [(call + shift) * MINUTE_S / calls for call in range(calls)]
        else:
            seconds = _scattered(rng("times", str(minute)), self.gaps, calls)
        durations = rng("durations", str(minute))
        return ((second, function.duration_s(durations.random())) for second in seconds)

    def _day(self, folder: Path) -> tuple[DayFunction, ...]:
        return _read(self._files(folder), self.stamps(folder), self.minutes, self.choice)

    def _files(self, folder: Path) -> Files:
        durations = located(folder, self.durations) if self.durations else None
        memory = located(folder, self.memory) if self.memory else None
        return located(folder, self.invocations), durations, memory


def _scattered(rng: random.Random, gaps: Gaps, calls: int) -> list[float]:
    """Times of ``calls`` calls inside a minute: one gap more than calls, all scaled so that they fill the minute."""
    draws = [rng.expovariate(1) if gaps == "exponential" else rng.random() for _ in range(calls + 1)]
    scale = MINUTE_S / sum(draws)
    return [end * scale for end in itertools.accumulate(draws[:-1])]


@lru_cache(maxsize=2)  # all clients share what was read; more would fill the memory, since a trace is large
def _read(files: Files, _: tuple[Stamp, ...], minutes: tuple[int, int], choice: Choice) -> tuple[DayFunction, ...]:
    return read_day(*files, minutes, choice)
