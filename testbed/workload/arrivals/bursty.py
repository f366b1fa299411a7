"""Arrivals in bursts: on/off sources, Markov-modulated Poisson processes, batches."""

from __future__ import annotations

import itertools
import random
from abc import abstractmethod
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from testbed.units import Frequency
from testbed.workload.arrivals.base import PositiveDelay, PositiveFrequency, Some, Timed

PARETO_SHAPE = 1.5
"""Tail index of Pareto times: finite mean, infinite variance, which is what makes traffic self-similar."""


class _Modulated(Timed):
    @abstractmethod
    def stays(self, rng: random.Random) -> Iterator[tuple[float, float]]:
        """Endless pairs of rate (1/s) and how long it holds (s)."""

    def gap(self, rng: random.Random, rate: float) -> float:
        """The time from one arrival to the next; Poisson unless a model says otherwise."""
        return rng.expovariate(rate)

    def times(self, rng: random.Random, horizon: float) -> Iterator[float]:
        """Within each stay gap by gap, the first one after its begin; what would come after its end is dropped."""
        begin = 0.0
        for rate, length in self.stays(rng):
            t = begin + self.gap(rng, rate) if rate else begin + length
            while t < begin + length:
                yield t
                t += self.gap(rng, rate)
            begin += length
            if begin >= horizon:
                return


class OnOff(_Modulated):
    """An interrupted process: bursts and silences."""

    model: Literal["onoff"] = Field(description="Bursts and silences: busy while on, quiet while off.")
    rate: PositiveFrequency = Field(description="Mean invocations per second of each client while it is on.")
    gaps: Literal["exponential", "uniform", "constant"] = Field(
        "exponential", description="The gaps while on: exponential (an interrupted Poisson process), uniform from 0 to "
        "twice their mean, or constant."
    )
    idle_rate: Frequency = Field(0.0, description="Invocations per second while it is off, with such gaps, too.")
    on: PositiveDelay = Field(description="Mean time on; each client begins on.")
    off: PositiveDelay = Field(description="Mean time off.")
    spread: Literal["exponential", "constant", "pareto"] = Field(
        "exponential", description="How the times on and off vary around their means."
    )

    def stays(self, rng: random.Random) -> Iterator[tuple[float, float]]:
        """On, off, on, off, ..."""
        while True:
            yield self.rate, self._length(rng, self.on)
            yield self.idle_rate, self._length(rng, self.off)

    def gap(self, rng: random.Random, rate: float) -> float:
        """As ``gaps`` says."""
        if self.gaps == "uniform":
            return rng.uniform(0, 2 / rate)
        return rng.expovariate(rate) if self.gaps == "exponential" else 1 / rate

    def _length(self, rng: random.Random, mean: float) -> float:
        if self.spread == "constant":
            return mean
        if self.spread == "pareto":
            return rng.paretovariate(PARETO_SHAPE) * mean * (PARETO_SHAPE - 1) / PARETO_SHAPE
        return rng.expovariate(1 / mean)


class State(BaseModel):
    """One state of a Markov-modulated Poisson process."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rate: Frequency = Field(description="Invocations per second of each client in this state.")
    stay: PositiveDelay = Field(description="Mean time in this state (exponential).")


class Mmpp(_Modulated):
    """A Markov-modulated Poisson process; from each state it jumps to any other with equal chance."""

    model: Literal["mmpp"] = Field(description="A Markov-modulated Poisson process.")
    states: Some[State] = Field(description="Its states; each client begins in the first.")

    def stays(self, rng: random.Random) -> Iterator[tuple[float, float]]:
        """Exponential stays in states drawn one after the other."""
        current = 0
        while True:
            yield self.states[current].rate, rng.expovariate(1 / self.states[current].stay)
            current = (current + rng.randrange(1, max(2, len(self.states)))) % len(self.states)


class Batches(Timed):
    """Batches of invocations at once, at the times of a Poisson process: what fans out, or comes after a poll."""

    model: Literal["batches"] = Field(description="Batches at once, Poisson in their times and in their sizes.")
    every: PositiveDelay = Field(description="Mean time from one batch to the next (exponential).")
    size: Annotated[float, Field(gt=0, le=10_000)] = Field(description="Mean invocations of a batch (Poisson).")

    def times(self, rng: random.Random, horizon: float) -> Iterator[float]:
        """Each batch's time as often as it has invocations, which may be never."""
        t = rng.expovariate(1 / self.every)
        while t < horizon:
            yield from itertools.repeat(t, poisson(rng, self.size))
            t += rng.expovariate(1 / self.every)


def poisson(rng: random.Random, mean: float) -> int:
    """A Poisson number: as many exponential gaps as fit into ``mean``."""
    count, left = 0, mean - rng.expovariate(1)
    while left > 0:
        count, left = count + 1, left - rng.expovariate(1)
    return count
