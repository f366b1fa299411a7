"""A closed loop: users who wait for their answer before they go on.

It is a model of its own, not an open load: a slow system is asked less. Figures must not draw it on an axis of
offered load.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from testbed.seeds import stream
from testbed.units import Delay, refuse
from testbed.workload.arrivals.base import Arrival, Arrivals, PositiveDelay, Source


class Closed(Arrivals):
    """A fixed number of users of each client, each with one invocation under way at most.

    With ``pace``, a user follows an absolute timetable T(k+1) = T(k) + X that is drawn before the start, and sends at
    once what it is late for; what it did not come to before the end is recorded as unsent. With ``think``, it waits X
    after each answer.
    """

    model: Literal["closed"] = Field(description="Users who wait for the answer before they ask again.")
    users: Annotated[int, Field(ge=1, le=100_000)] = Field(1, description="Users of each client.")
    pace: PositiveDelay | None = Field(
        None, description="Mean time from one planned invocation of a user to the next; a late user catches up."
    )
    think: Delay | None = Field(None, description="Mean time from an answer to the user's next invocation.")
    spread: Literal["constant", "uniform", "exponential"] = Field(
        "constant", description="How that time varies: not, from 0 to twice its mean, or exponentially."
    )

    scattered: bool = Field(
        False, description="With `pace`: `users` are those of all clients together. Each is at a client drawn at "
        "random, which may have several or none, and its timetable begins at a random time within one pace."
    )  # fmt: skip

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.pace is None) == (self.think is None):
            raise refuse("either pace or think", "pace: a timetable with catch-up; think: a pause after each answer.")
        if self.scattered and self.pace is None:
            raise refuse("pace for scattered users", "Who thinks has no timetable before the start.")
        return self

    def draw(self, rng: random.Random) -> float:
        """One time between invocations, in seconds."""
        mean = self.pace if self.pace is not None else self.think or 0.0
        if self.spread == "uniform":
            return rng.uniform(0, 2 * mean)
        return rng.expovariate(1 / mean) if self.spread == "exponential" and mean else mean

    def user_names(self, source: Source) -> list[str]:
        """The names of this client's users."""
        mine = (number for number in range(self.users) if not self.scattered or _is_here(source, number))
        return [f"{source.client}.{source.index}.{number}" for number in mine]

    def arrivals(self, source: Source, horizon: float) -> Iterator[Arrival]:
        """The timetables of all users, merged; nothing for users who think, since nobody knows their times before."""
        if self.pace is None:
            return iter(())
        return heapq.merge(*(self._timetable(source, user, horizon) for user in self.user_names(source)))

    def _timetable(self, source: Source, user: str, horizon: float) -> Iterator[Arrival]:
        rng = source.rng("user", user)
        t = -rng.uniform(0, self.pace or 0.0) if self.scattered else 0.0
        while (t := t + self.draw(rng)) < horizon:
            yield Arrival(t, user=user)


def _is_here(source: Source, number: int) -> bool:
    """Whether this scattered user is at this client; all clients draw alike, so it is at one of them."""
    draw = stream(source.seed, "workload", "scattered", str(source.index), str(number))
    return draw.choice(source.clients) == source.client
