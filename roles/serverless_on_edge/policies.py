"""How a router chooses among the destinations of one function, by their weights (seconds; smaller is better).

A policy is told the time and draws from a stream that it is given; it knows nothing of calls.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

SMALLEST_WEIGHT = 1e-9  # what a call that took no time at all counts
FIRST_STALE_S = 1.0
LONGEST_STALE_S = 30.0


class Policy(ABC):
    """The destinations of one function with their weights, in the order in which they were added."""

    def __init__(self) -> None:
        self.weights: dict[str, float] = {}

    def change(self, destination: str, weight: float, now: float) -> None:
        """Add a destination, or give one that is known another weight."""
        known = destination in self.weights
        self.weights[destination] = max(weight, SMALLEST_WEIGHT)
        (self.changed if known else self.added)(destination, now)

    def remove(self, destination: str, now: float) -> None:
        """Forget a destination, known or not."""
        if self.weights.pop(destination, None) is not None:
            self.removed(destination, now)

    def added(self, destination: str, now: float) -> None:  # noqa: B027 - optional
        """A destination is new."""

    def changed(self, destination: str, now: float) -> None:  # noqa: B027 - optional
        """A destination has another weight."""

    def removed(self, destination: str, now: float) -> None:  # noqa: B027 - optional
        """A destination is gone."""

    def succeeded(self, destination: str, now: float) -> None:  # noqa: B027 - optional
        """A call to a destination has ended well."""

    @abstractmethod
    def pick(self, now: float) -> str:
        """The destination of the next call; at least one must be known."""


class RandomProportional(Policy):
    """Each destination with a probability proportional to the inverse of its weight."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self._rng = rng

    def pick(self, now: float) -> str:
        """Draws one."""
        return self._rng.choices(list(self.weights), [1 / weight for weight in self.weights.values()])[0]


class LeastImpedance(Policy):
    """The smallest weight; the first one on ties."""

    def pick(self, now: float) -> str:
        """Compares."""
        return min(self.weights, key=self.weights.__getitem__)


@dataclass(slots=True)
class _Turn:
    deficit: float
    used_at: float | None = None
    probing: bool = False
    stale: float = FIRST_STALE_S


class RoundRobin(Policy):
    """Turns in proportion to the inverse of the weights, among the destinations within twice the smallest weight.

    The others get one trial after a second, then after two, four, ... thirty seconds, as long as they stay bad.
    """

    def __init__(self) -> None:
        super().__init__()
        self._turns: dict[str, _Turn] = {}
        self._active: set[str] = set()

    def added(self, destination: str, now: float) -> None:
        """A new destination starts level with the one whose turn it is."""
        self._turns[destination] = _Turn(self._least())
        self._active.add(destination)

    def removed(self, destination: str, now: float) -> None:
        """What remains may look better than before."""
        del self._turns[destination]
        self._active.discard(destination)
        self._rebuild(now)

    def changed(self, destination: str, now: float) -> None:
        """A destination was used, and cost its new weight."""
        self._turns[destination].used_at = now
        least = self._least()
        for turn in self._turns.values():
            turn.deficit -= least
        self._rebuild(now)

    def pick(self, now: float) -> str:
        """The smallest deficit among the active ones; by name on ties."""
        chosen = min(self._active, key=lambda name: (self._turns[name].deficit, name))
        self._turns[chosen].deficit += self.weights[chosen]
        return chosen

    def _least(self) -> float:
        return min((self._turns[name].deficit for name in self._active), default=0.0)

    def _rebuild(self, now: float) -> None:
        if not self.weights:
            return
        good = 2 * min(self.weights.values())
        self._active = {name for name, weight in self.weights.items() if self._deserves(name, weight <= good, now)}

    def _deserves(self, name: str, good: bool, now: float) -> bool:
        turn = self._turns[name]
        if good:
            if turn.probing:
                turn.probing, turn.stale = False, FIRST_STALE_S
            return True
        if turn.used_at is None:
            return True
        if turn.probing:
            turn.probing, turn.stale = False, min(LONGEST_STALE_S, 2 * turn.stale)
        if now - turn.used_at < turn.stale:
            return False
        turn.probing, turn.used_at, turn.deficit = True, None, self._least()
        return True


@dataclass(slots=True)
class _Share:
    served: int
    since: float


class ProportionalFairness(Policy):
    """The highest ``(1/weight)^alpha / (successes / time since the last one)^beta``; the first one on ties."""

    def __init__(self, alpha: float, beta: float) -> None:
        super().__init__()
        self._alpha, self._beta = alpha, beta
        self._shares: dict[str, _Share] = {}

    def added(self, destination: str, now: float) -> None:
        """Counts as served once."""
        self._shares[destination] = _Share(1, now)

    def removed(self, destination: str, now: float) -> None:
        """Its count is gone with it."""
        del self._shares[destination]

    def succeeded(self, destination: str, now: float) -> None:
        """Served once more."""
        if share := self._shares.get(destination):
            share.served, share.since = share.served + 1, now

    def pick(self, now: float) -> str:
        """Compares scores, as logarithms, so that no exponent overflows."""
        return max(self.weights, key=lambda name: self._score(name, now))

    def _score(self, name: str, now: float) -> float:
        share = self._shares[name]
        idle = max(now - share.since, SMALLEST_WEIGHT)
        return self._beta * math.log(idle / share.served) - self._alpha * math.log(self.weights[name])


def make_policy(kind: str, rng: random.Random, alpha: float, beta: float) -> Callable[[], Policy]:
    """Makes the policy of each function: random, least-impedance, round-robin or proportional-fairness."""
    makers: dict[str, Callable[[], Policy]] = {
        "random": lambda: RandomProportional(rng),
        "least-impedance": LeastImpedance,
        "round-robin": RoundRobin,
        "proportional-fairness": lambda: ProportionalFairness(alpha, beta),
    }
    return makers[kind]
