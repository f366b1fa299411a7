"""Independent gaps of one distribution, given by mean and coefficient of variation (1 is as bursty as Poisson)."""

from __future__ import annotations

import itertools
import math
import random
from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from testbed.units import refuse
from testbed.workload.arrivals.base import PositiveDelay, Timed

Gap = Callable[[random.Random], float]
Variation = Annotated[float, Field(ge=0.05, le=20, allow_inf_nan=False)]


def _fits_uniform(cv: float) -> float:
    if cv > 1 / math.sqrt(3):
        raise refuse("a cv of at most 0.577, since uniform gaps cannot vary more", "Use gamma, weibull or lognormal.")
    return cv


class _Renewal(Timed):
    mean: PositiveDelay = Field(description="Mean gap between two invocations of one client.")
    cv: Variation = Field(1.0, description="Coefficient of variation of the gaps: standard deviation / mean.")

    @abstractmethod
    def gap(self) -> Gap:
        """A function that draws one gap, in seconds."""

    def times(self, rng: random.Random, horizon: float) -> Iterator[float]:
        """Sums of gaps; the first arrival comes after one gap."""
        gap = self.gap()
        return itertools.accumulate(gap(rng) for _ in itertools.count())


class Uniform(_Renewal):
    """Gaps spread evenly around their mean."""

    model: Literal["uniform"] = Field(description="Uniform gaps.")
    cv: Annotated[Variation, AfterValidator(_fits_uniform)] = Field(
        1 / math.sqrt(3), description="Standard deviation / mean of the gaps; by default they go from 0 to 2 x mean."
    )

    def gap(self) -> Gap:
        """Uniform on mean ± √3·cv·mean."""
        half = math.sqrt(3) * self.cv * self.mean
        return lambda rng: max(0.0, rng.uniform(self.mean - half, self.mean + half))


class Gamma(_Renewal):
    """Gamma-distributed gaps."""

    model: Literal["gamma"] = Field(description="Gamma gaps; cv above 1 gives bursts, below 1 regularity.")

    def gap(self) -> Gap:
        """Gamma with shape 1/cv²."""
        shape = 1 / self.cv**2
        return lambda rng: rng.gammavariate(shape, self.mean / shape)


class Weibull(_Renewal):
    """Weibull-distributed gaps."""

    model: Literal["weibull"] = Field(description="Weibull gaps, as fitted to many production traces.")

    def gap(self) -> Gap:
        """Weibull with the shape that has this cv, found by bisection."""
        shape = weibull_shape(self.cv)
        scale = self.mean / math.gamma(1 + 1 / shape)
        return lambda rng: rng.weibullvariate(scale, shape)


class Lognormal(_Renewal):
    """Lognormal gaps."""

    model: Literal["lognormal"] = Field(description="Lognormal gaps: many short ones, few very long ones.")

    def gap(self) -> Gap:
        """Lognormal with sigma² = ln(1 + cv²)."""
        variance = math.log(1 + self.cv**2)
        mu = math.log(self.mean) - variance / 2
        return lambda rng: rng.lognormvariate(mu, math.sqrt(variance))


def weibull_shape(cv: float) -> float:
    """The shape k of a Weibull distribution whose coefficient of variation is ``cv`` (0.05 to 20)."""
    low, high = 0.1, 40.0
    for _ in range(80):
        middle = math.sqrt(low * high)
        log_ratio = math.lgamma(1 + 2 / middle) - 2 * math.lgamma(1 + 1 / middle)
        low, high = (middle, high) if log_ratio > math.log(1 + cv**2) else (low, middle)
    return low
