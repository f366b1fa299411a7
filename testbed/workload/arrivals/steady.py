"""Arrivals at a constant rate."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from testbed.units import Delay
from testbed.workload.arrivals.base import PositiveFrequency, Timed


class Deterministic(Timed):
    """One invocation every 1/rate seconds."""

    model: Literal["deterministic"] = Field(description="One invocation every 1/rate seconds.")
    rate: PositiveFrequency = Field(description="Invocations per second of each client.")
    phase: Delay = Field(0.0, description="When the first one is due.")

    def times(self, rng: random.Random, horizon: float) -> Iterator[float]:
        """Multiples of 1/rate, not sums, so that no rounding adds up."""
        return (self.phase + count / self.rate for count in itertools.count())


class Poisson(Timed):
    """Independent users without number: exponential gaps."""

    model: Literal["poisson"] = Field(description="Exponential gaps: many independent users.")
    rate: PositiveFrequency = Field(description="Mean invocations per second of each client.")

    def times(self, rng: random.Random, horizon: float) -> Iterator[float]:
        """Sums of exponential gaps."""
        return itertools.accumulate(rng.expovariate(self.rate) for _ in itertools.count())
