"""What may go wrong, and when: drawn from a seed alone, before a run begins.

Each fault stands for itself: it has a number and a stream of its own, so that leaving some out changes nothing about
the others. What is in force at a moment follows from the set of faults that have begun and not ended.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, log
from random import Random

from testbed import seeds
from testbed.errors import UsageError
from testbed.topology.model import Topology

Agent = tuple[str, str]  # node, role
SHORTEST_S = 0.05  # that a fault lasts; the longest take all of a storm
STORM_S, CALM_S = (1.0, 20.0), (15.0, 40.0)  # faults come in storms; between them, promises become due
RARER = 0.5, 2.0  # how much rarer than asked for faults are in one run
LEAST_DELAY_S, MOST_DELAY_S = 0.005, 2.0
LEAST_LOSS, MOST_LOSS = 0.01, 0.5
LEAST_SHARE, MOST_SHARE = 0.02, 0.5  # of messages that are copied or delayed
LEAST_SPREAD_S, MOST_SPREAD_S = 0.001, 3.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong from ``begin`` to ``end``, in seconds after the start of the workload.

    ``agents`` are dead meanwhile, the ``machine`` is off, the links in ``cut`` are down; the ``links`` lose the share
    ``loss`` of their packets and have so much more one-way ``delay`` (seconds). Requests are taken in a second time,
    each with the probability ``copied``, or late, each with the probability ``late``: up to ``spread`` seconds later.
    """

    number: int
    kind: str
    subject: str
    begin: float = 0.0
    end: float = 0.0
    agents: tuple[Agent, ...] = ()
    machine: str = ""
    cut: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    delay: float = 0.0
    loss: float = 0.0
    copied: float = 0.0
    late: float = 0.0
    spread: float = 0.0

    def __str__(self) -> str:
        return f"{self.begin:9.3f} to {self.end:.3f} s  [{self.number}] {self.kind} {self.subject}"


@dataclass(frozen=True, slots=True)
class Ground:
    """Where faults may strike. ``spared`` nodes carry clients: neither they nor their agents of that role go down."""

    topology: Topology
    agents: tuple[Agent, ...]
    spared: frozenset[str]
    client: str

    @property
    def mortal(self) -> list[Agent]:
        """The agents that may crash."""
        return [each for each in self.agents if each[1] != self.client]

    @property
    def machines(self) -> list[str]:
        """The nodes that may go down as a whole."""
        return list(dict.fromkeys(node for node, _ in self.agents if node not in self.spared))


@dataclass(frozen=True, slots=True)
class Chances:
    """Which kinds of faults there are, the mean time between two (seconds), and the share of a run that has any.

    Faults come in storms, with calms between them in which nothing changes; every other death lasts over a calm. Each
    run has some of the kinds only, and a rate of its own: many faults of all kinds hide what a few would show.
    """

    kinds: tuple[str, ...]
    every_s: float = 2.0
    heal_by: float = 0.7

    def draw(self, seed: int, ground: Ground, duration_s: float) -> tuple[Fault, ...]:
        """The faults of one run of ``duration_s`` seconds, in order of their beginning."""
        run, found, number = seeds.stream(seed, "faults"), [], 0
        kinds = run.sample(self.kinds, run.randint(1, len(self.kinds)))
        every = self.every_s * _between(run, *RARER)
        storms = list(_storms(run, self.heal_by * duration_s))
        for (start, end), (next_start, next_end) in zip(storms, [*storms[1:], storms[-1]], strict=True):
            begin = start + run.expovariate(1 / every)
            while begin < end:
                number += 1
                rng = seeds.stream(seed, "fault", str(number))
                drawn = KINDS[rng.choice(kinds)](ground, rng)
                over = min(end, begin + _between(rng, SHORTEST_S, STORM_S[1]))
                if drawn is not None and drawn.agents and rng.random() < 0.5:
                    over = max(over, rng.uniform(next_start, next_end))
                if drawn is not None:
                    found.append(replace(drawn, number=number, begin=round(begin, 6), end=round(over, 6)))
                begin += run.expovariate(1 / every)
        return tuple(found)


def _storms(rng: Random, until: float) -> Iterator[tuple[float, float]]:
    """The storms of a run: from, to."""
    begin = 0.0
    while begin < until:
        end = min(until, begin + _between(rng, *STORM_S))
        yield begin, end
        begin = end + rng.uniform(*CALM_S)


def kinds_of(text: str) -> tuple[str, ...]:
    """The kinds that ``text`` lists with commas; raises UsageError for one that does not exist."""
    named = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    unknown = [each for each in named if each not in KINDS]
    if unknown or not named:
        wrong = f"There is no kind of fault called {', '.join(unknown)}." if unknown else "No kind of fault is named."
        raise UsageError(f"{wrong} There are: {', '.join(KINDS)}.")
    return named


def _between(rng: Random, least: float, most: float) -> float:
    """Any order of magnitude is as likely as the others."""
    return exp(rng.uniform(log(least), log(most)))


def _crash(ground: Ground, rng: Random) -> Fault | None:
    """SIGKILL for one agent; its machine tells its peers."""
    if not ground.mortal:
        return None
    node, role = rng.choice(ground.mortal)
    return Fault(0, "crash", f"{role} on {node}", agents=((node, role),))


def _machine(ground: Ground, rng: Random) -> Fault | None:
    """A machine falls silent, with all its agents: nobody is told."""
    if not ground.machines:
        return None
    node = rng.choice(ground.machines)
    return Fault(0, "machine", node, agents=tuple(each for each in ground.agents if each[0] == node), machine=node)


def _partition(ground: Ground, rng: Random) -> Fault | None:
    """Two groups of nodes that cannot reach each other: the links between them are cut."""
    homes = list(dict.fromkeys(node for node, _ in ground.agents))
    side = _grown(ground.topology, rng, rng.choice(homes), rng.randrange(1, max(2, len(ground.topology.nodes))))
    cut = tuple(link.name for link in ground.topology.links.values()
                if (link.ends[0].node in side) != (link.ends[1].node in side))  # fmt: skip
    named = [node for node in homes if node in side], [node for node in homes if node not in side]
    if not all(named):
        return None
    return Fault(0, "partition", " | ".join(f"{{{', '.join(group)}}}" for group in named), cut=cut)


def _grown(topology: Topology, rng: Random, first: str, size: int) -> Collection[str]:
    """``size`` nodes that hang together, ``first`` among them."""
    side = {first: None}
    while len(side) < size:
        edge = [link.beyond(node).node for node in side for link, _ in topology.interfaces[node]
                if link.beyond(node).node not in side]  # fmt: skip
        if not edge:
            break
        side[rng.choice(edge)] = None
    return side


def _delay(ground: Ground, rng: Random) -> Fault | None:
    link, extra = _link(ground, rng), _between(rng, LEAST_DELAY_S, MOST_DELAY_S)
    return Fault(0, "delay", f"of {extra * 1e3:.0f} ms more on {link}", links=(link,), delay=extra) if link else None


def _loss(ground: Ground, rng: Random) -> Fault | None:
    link, share = _link(ground, rng), _between(rng, LEAST_LOSS, MOST_LOSS)
    return Fault(0, "loss", f"of {share:.1%} on {link}", links=(link,), loss=share) if link else None


def _link(ground: Ground, rng: Random) -> str:
    return rng.choice(list(ground.topology.links)) if ground.topology.links else ""


def _duplicate(_: Ground, rng: Random) -> Fault:
    share, spread = _between(rng, LEAST_SHARE, MOST_SHARE), _between(rng, LEAST_SPREAD_S, MOST_SPREAD_S)
    subject = f"{share:.0%} of requests up to {spread * 1e3:.0f} ms later"
    return Fault(0, "duplicate", subject, copied=share, spread=spread)


def _reorder(_: Ground, rng: Random) -> Fault:
    share, spread = _between(rng, LEAST_SHARE, MOST_SHARE), _between(rng, LEAST_SPREAD_S, MOST_SPREAD_S)
    subject = f"{share:.0%} of requests, late by up to {spread * 1e3:.0f} ms"
    return Fault(0, "reorder", subject, late=share, spread=spread)


KINDS: Mapping[str, Callable[[Ground, Random], Fault | None]] = {
    "crash": _crash,
    "machine": _machine,
    "partition": _partition,
    "delay": _delay,
    "loss": _loss,
    "duplicate": _duplicate,
    "reorder": _reorder,
}


def chosen(faults: Sequence[Fault], numbers: Collection[int] | None) -> tuple[Fault, ...]:
    """The faults with these numbers, or all; raises UsageError for a number that no fault has."""
    if numbers is None:
        return tuple(faults)
    missing = sorted(set(numbers) - {fault.number for fault in faults})
    if missing:
        raise UsageError(f"This seed draws no fault number {missing[0]}; it draws {len(faults)} faults.")
    return tuple(fault for fault in faults if fault.number in numbers)
