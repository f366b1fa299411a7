"""What every arrival model is, and what it is given to draw from."""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict

from testbed import seeds
from testbed.units import Delay, Frequency, refuse

Entry = TypeVar("Entry")


def _above_zero(value: float) -> float:
    if value <= 0:
        raise refuse("an amount above zero")
    return value


def _some(value: tuple[Entry, ...]) -> tuple[Entry, ...]:
    if not value:
        raise refuse("a list with at least one entry")
    return value


# Not min_length: pydantic counts only the entries that are right, and so calls a list with a wrong one too short.
Some = Annotated[tuple[Entry, ...], AfterValidator(_some)]
PositiveFrequency = Annotated[Frequency, AfterValidator(_above_zero)]
PositiveDelay = Annotated[Delay, AfterValidator(_above_zero)]


class Arrival(NamedTuple):
    """One arrival, ``t`` seconds after the traffic's start; empty fields are drawn from the traffic's own mix.

    ``user`` names a user of a closed loop, who has at most one invocation under way. ``service_s`` is how long a
    modelled function takes for it; None: what the function says.
    """

    t: float
    function: str = ""
    payload_bytes: int | None = None
    session: str = ""
    user: str = ""
    service_s: float | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Where the draws of one client in one entry of ``traffic`` come from; no other client shares them."""

    seed: int
    client: str
    index: int
    clients: Sequence[str]
    folder: Path

    def rng(self, *name: str) -> random.Random:
        """The stream ``name`` of this client and traffic."""
        return seeds.stream(self.seed, "workload", self.client, str(self.index), *name)


class Arrivals(BaseModel):
    """The base of all arrival models; a model names itself in a field ``model: Literal[...]``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @abstractmethod
    def arrivals(self, source: Source, horizon: float) -> Iterator[Arrival]:
        """Arrivals in order of time, up to ``horizon`` seconds (later ones are ignored)."""


class Timed(Arrivals):
    """A model that says nothing but when."""

    def arrivals(self, source: Source, horizon: float) -> Iterator[Arrival]:
        """One arrival for each of the model's times."""
        return map(Arrival, self.times(source.rng("arrivals"), horizon))

    @abstractmethod
    def times(self, rng: random.Random, horizon: float) -> Iterator[float]:
        """Ascending times in seconds; those from ``horizon`` on are ignored, so the iterator may be endless."""
