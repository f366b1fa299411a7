"""Forwarding tables: for each function its weighted destinations, a policy that picks, an optimizer that learns.

A router has two: #0 with all destinations, #1 with the final ones only, for requests that a router has forwarded.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from math import inf
from statistics import fmean
from typing import NamedTuple

from roles.serverless_on_edge.limits import MOST_ENTRIES, shown
from roles.serverless_on_edge.messages import Entry
from roles.serverless_on_edge.policies import Policy

FRESH_S = 5.0
NO_DESTINATIONS = "No destinations found"


class Key(NamedTuple):
    """One destination of one function."""

    function: str
    destination: str


class Update(NamedTuple):
    """A weight in seconds that an optimizer gives to a destination at a time."""

    key: Key
    weight: float
    at: float


class Optimizer(ABC):
    """Turns measured latencies into weights."""

    @abstractmethod
    def sample(self, key: Key, seconds: float, weight: float, now: float) -> float | None:
        """Learn that a call took ``seconds``; the new weight where it changes at once (``weight`` is the old one)."""

    def due(self, now: float) -> Sequence[Update]:
        """The weights that have become due by ``now``."""
        return ()

    def forget(self, key: Key) -> None:  # noqa: B027 - optional
        """A destination has gone; should it come back, it begins anew."""


class Fixed(Optimizer):
    """``none``: weights stay as configured."""

    def sample(self, key: Key, seconds: float, weight: float, now: float) -> float | None:
        """Ignores it."""
        return None


class Periodic(Optimizer):
    """``trivial``: at the end of each period, the mean, min or max of the samples since the period before."""

    def __init__(self, period: float, stat: str) -> None:
        self._period = period
        reducers: dict[str, Callable[[list[float]], float]] = {"mean": fmean, "min": min, "max": max}
        self._reduce = reducers[stat]
        self._samples: dict[Key, list[float]] = {}
        self._end: float | None = None

    def sample(self, key: Key, seconds: float, weight: float, now: float) -> float | None:
        """Keeps it for the end of the period; the first period begins with the first sample."""
        if self._end is None:
            self._end = now + self._period
        self._samples.setdefault(key, []).append(seconds)
        return None

    def due(self, now: float) -> Sequence[Update]:
        """The weights of the period that has ended, dated to its end."""
        if self._end is None or now < self._end:
            return ()
        ended, samples = self._end, self._samples
        self._end = ended + self._period * (1 + (now - ended) // self._period)
        self._samples = {}
        return [Update(key, self._reduce(seconds), ended) for key, seconds in samples.items()]

    def forget(self, key: Key) -> None:
        """Drops its samples."""
        self._samples.pop(key, None)


class Smoothed(Optimizer):
    """``async``: ``alpha`` times the old weight plus the rest of the sample; the sample alone after five seconds."""

    def __init__(self, alpha: float) -> None:
        self._alpha = alpha
        self._last: dict[Key, float] = {}

    def sample(self, key: Key, seconds: float, weight: float, now: float) -> float | None:
        """The new weight."""
        fresh = now - self._last.get(key, float("-inf")) < FRESH_S
        self._last[key] = now
        return (1 - self._alpha) * seconds + self._alpha * weight if fresh else seconds

    def forget(self, key: Key) -> None:
        """Its next sample counts as it is."""
        self._last.pop(key, None)


class Latest(Optimizer):
    """``asyncPF``: the last sample."""

    def sample(self, key: Key, seconds: float, weight: float, now: float) -> float | None:
        """The new weight."""
        return seconds


class RoutingTable:
    """One table. Times are those of the caller; weights are seconds."""

    def __init__(self, policy: Callable[[], Policy], optimizer: Optimizer) -> None:
        self._policy, self._optimizer = policy, optimizer
        self._functions: dict[str, Policy] = {}
        self._final: dict[Key, bool] = {}
        self._learned: dict[Key, None] = {}

    def change(self, key: Key, weight: float, final: bool, now: float) -> None:
        """Add an entry or change it; raises ValueError for a weight that is none, an empty name, a full table."""
        if not 0 < weight < inf:
            raise ValueError(f"the weight of {shown(key.destination)} is {weight:g}; it must be above zero and finite")
        if not key.function or not key.destination:
            raise ValueError("function and destination must not be empty")
        if len(self._final) >= MOST_ENTRIES and key not in self._final:
            raise ValueError(f"the table is full: it has {MOST_ENTRIES} entries")
        self._functions.setdefault(key.function, self._policy()).change(key.destination, weight, now)
        self._final[key] = final

    def remove(self, key: Key, now: float) -> bool:
        """Remove an entry; False if there was none."""
        if self._final.pop(key, None) is None:
            return False
        self._optimizer.forget(key)
        policy = self._functions[key.function]
        policy.remove(key.destination, now)
        if not policy.weights:
            del self._functions[key.function]
        return True

    def flush(self) -> None:
        """Remove everything."""
        for key in self._final:
            self._optimizer.forget(key)
        self._functions.clear()
        self._final.clear()

    def pick(self, function: str, now: float) -> str | None:
        """The destination of the next call of ``function``; None where there is none."""
        self.settle(now)
        policy = self._functions.get(function)
        return policy.pick(now) if policy else None

    def sample(self, key: Key, seconds: float, now: float, ended_well: bool = True) -> None:
        """Learn that a call took ``seconds``; an entry that has gone meanwhile is none of ours."""
        self.settle(now)
        if key not in self._final:
            return
        policy = self._functions[key.function]
        if ended_well:
            policy.succeeded(key.destination, now)
        weight = self._optimizer.sample(key, seconds, policy.weights[key.destination], now)
        if weight is not None:
            self._learn(Update(key, weight, now))

    def settle(self, now: float) -> None:
        """Put the weights in force that have become due."""
        for update in self._optimizer.due(now):
            if update.key in self._final:
                self._learn(update)

    def _learn(self, update: Update) -> None:
        self._functions[update.key.function].change(update.key.destination, update.weight, update.at)
        self._learned[update.key] = None

    def take_learned(self, now: float) -> tuple[Entry, ...]:
        """The entries that the optimizer has given a weight since this was last asked."""
        self.settle(now)
        learned, self._learned = self._learned, {}
        return tuple(self._entry(key) for key in learned if key in self._final)

    def knows(self, key: Key) -> bool:
        """Whether there is such an entry."""
        return key in self._final

    def destinations(self, function: str, final_only: bool = False) -> list[str]:
        """The destinations of a function, by name."""
        policy = self._functions.get(function)
        names = sorted(policy.weights) if policy else []
        return [name for name in names if not final_only or self._final[Key(function, name)]]

    def weights(self) -> dict[Key, float]:
        """The weights in force, without a look at the time: whoever only watches changes nothing."""
        return {key: self._functions[key.function].weights[key.destination] for key in self._final}

    def is_final(self, key: Key) -> bool:
        """Whether an entry leads to a computer rather than to another router."""
        return self._final.get(key, False)

    def functions_of(self, destination: str) -> list[str]:
        """The functions that have this destination."""
        return [key.function for key in self._final if key.destination == destination]

    def entries(self, now: float) -> tuple[Entry, ...]:
        """All entries, sorted by function and destination."""
        self.settle(now)
        return tuple(self._entry(key) for key in sorted(self._final))

    def _entry(self, key: Key) -> Entry:
        weight = self._functions[key.function].weights[key.destination]
        return Entry(key.function, key.destination, weight, self._final[key])


def make_optimizer(kind: str, period: float, stat: str, alpha: float) -> Optimizer:
    """none, trivial, async or asyncPF."""
    if kind == "trivial":
        return Periodic(period, stat)
    return {"none": Fixed, "asyncPF": Latest}[kind]() if kind != "async" else Smoothed(alpha)


def dump(tables: Sequence[Sequence[Entry]]) -> str:
    """Tables as the original's ``forwardingtableclient`` prints them: a function's name only on its first row."""
    lines = []
    for number, entries in enumerate(tables):
        lines.append(f"Table#{number}")
        names = max((len(entry.function) for entry in entries), default=0)
        weights = max((len(f"{entry.weight:g}") for entry in entries), default=0)
        previous = ""
        for entry in entries:
            name = entry.function if entry.function != previous else ""
            mark = " (F)" if entry.final else ""
            lines.append(f"{name:<{names}} [{entry.weight:>{weights}g}] {entry.destination}{mark}")
            previous = entry.function
    return "\n".join(lines) + "\n"
