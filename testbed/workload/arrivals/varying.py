"""Arrivals whose rate follows a curve over time: a ramp, steps, a sine.

All are drawn by inversion: unit-rate arrivals are mapped through the inverse of the rate's integral, which serves
random (Poisson) and evenly spaced arrivals alike.
"""

from __future__ import annotations

import math
import random
from abc import abstractmethod
from collections.abc import Iterator
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from testbed.units import Delay, Frequency, refuse
from testbed.workload.arrivals.base import PositiveDelay, PositiveFrequency, Some, Timed

GRAIN = 1e-9
"""To how many seconds the time of an arrival is found."""


class _Varying(Timed):
    gaps: Literal["random", "even"] = Field(
        "random", description="random: a Poisson process of the varying rate; even: equal gaps at equal rate."
    )

    @abstractmethod
    def expected(self, t: float) -> float:
        """How many arrivals are expected in the first ``t`` seconds: the integral of the rate."""

    def times(self, rng: random.Random, horizon: float) -> Iterator[float]:
        """The times at which the expected count reaches each unit-rate arrival."""
        total, t, count = self.expected(horizon), 0.0, 0.0
        while True:
            count += rng.expovariate(1.0) if self.gaps == "random" else 1.0
            if count > total:
                return
            t = self._reach(count, t, horizon)
            yield t

    def _reach(self, count: float, low: float, high: float) -> float:
        while high - low > GRAIN:
            middle = (low + high) / 2
            if self.expected(middle) < count:
                low = middle
            else:
                high = middle
        return high


class Ramp(_Varying):
    """A rate that changes linearly and then stays."""

    model: Literal["ramp"] = Field(description="The rate changes linearly from `start` to `end`, then stays.")
    start: Frequency = Field(description="Invocations per second of each client at the beginning.")
    end: Frequency = Field(description="Invocations per second of each client after `over`.")
    over: PositiveDelay = Field(description="How long the change takes.")

    def expected(self, t: float) -> float:
        """The area under the ramp and what follows it."""
        inside = min(t, self.over)
        slope = (self.end - self.start) / self.over
        return self.start * inside + slope * inside**2 / 2 + self.end * (t - inside)


class Step(BaseModel):
    """From ``at`` on, the rate is ``rate``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: Delay = Field(description="When this rate begins.")
    rate: Frequency = Field(description="Invocations per second of each client from then on.")


class Steps(_Varying):
    """A rate that jumps at set times; nothing arrives before the first step."""

    model: Literal["step"] = Field(description="The rate jumps at set times; nothing arrives before the first.")
    steps: Some[Step] = Field(description="When it jumps and to what, in order of time.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        times = [step.at for step in self.steps]
        if times != sorted(set(times)):
            raise refuse("steps in order of time, each at another time")
        return self

    def expected(self, t: float) -> float:
        """The area under the steps."""
        ends = [*(step.at for step in self.steps[1:]), math.inf]
        return sum(step.rate * max(0.0, min(t, end) - step.at) for step, end in zip(self.steps, ends, strict=True))


class Sine(_Varying):
    """A rate that swings around its mean, as day and night do."""

    model: Literal["sine"] = Field(description="The rate swings around its mean, as day and night do.")
    rate: PositiveFrequency = Field(description="Mean invocations per second of each client.")
    amplitude: Frequency = Field(description="How far the rate swings up and down; at most the mean.")
    period: PositiveDelay = Field(description="How long one swing takes.")
    phase: Delay = Field(0.0, description="How far into its first swing it begins.")

    @model_validator(mode="after")
    def _never_negative(self) -> Self:
        if self.amplitude > self.rate:
            raise refuse("an amplitude of at most the mean rate, since no rate is below zero")
        return self

    def expected(self, t: float) -> float:
        """The integral of rate + amplitude·sin."""
        turn = 2 * math.pi / self.period
        swing = math.cos(turn * self.phase) - math.cos(turn * (t + self.phase))
        return self.rate * t + self.amplitude / turn * swing
