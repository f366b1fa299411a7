"""Arrivals whose rate jumps between states: on/off sources and Markov-modulated Poisson processes."""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from testbed.units import Frequency
from testbed.workload.arrivals.base import PositiveDelay, PositiveFrequency, Some, Timed

PARETO_SHAPE = 1.5
"""Tail index of Pareto times: finite mean, infinite variance, which is what makes traffic self-similar."""


class _Modulated(Timed):
    @abstractmethod
    def stays(self, rng: random.Random) -> Iterator[tuple[float, float]]:
        """Endless pairs of rate (1/s) and how long it holds (s)."""

    def times(self, rng: random.Random, horizon: float) -> Iterator[float]:
        """Poisson within each stay; what would come after its end is dropped, as the process has no memory."""
        begin = 0.0
        for rate, length in self.stays(rng):
            t = begin + rng.expovariate(rate) if rate else begin + length
            while t < begin + length:
                yield t
                t += rng.expovariate(rate)
            begin += length
            if begin >= horizon:
                return


class OnOff(_Modulated):
    """An interrupted Poisson process: bursts and silences."""

    model: Literal["onoff"] = Field(description="Bursts and silences: Poisson while on, quiet while off.")
    rate: PositiveFrequency = Field(description="Invocations per second of each client while it is on.")
    idle_rate: Frequency = Field(0.0, description="Invocations per second while it is off.")
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
