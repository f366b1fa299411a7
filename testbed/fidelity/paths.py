"""Which paths are measured before a run: together they cross every direction of every link.

A link between two nodes with a network stack is measured by itself. Links that switches join are measured as paths
between neighbours of a ring over the members of that segment, so each member's way in and way out is crossed once.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, permutations

from testbed.topology.model import End, Interface, Topology
from testbed.topology.shape import Shape

OVERHEAD_BYTES = 42  # Ethernet, IPv4 and UDP headers; IPv6 has 20 more
_PARETO_MEDIAN = (2 ** (1 / 3) - 1.5) / (math.sqrt(3) / 2)  # of the jitter's distribution, in standard deviations


@dataclass(frozen=True, slots=True)
class Path:
    """What a packet crosses from one node to the next one with a stack, and what was asked of it altogether."""

    start: str
    goal: str
    address: str
    ends: tuple[End, ...]
    shapes: tuple[Shape, ...]
    mtu: int

    @property
    def link(self) -> str:
        """The links that it crosses, joined by +."""
        return "+".join(end.link for end in self.ends)

    @property
    def jitter_s(self) -> float:
        """Spread of the delay over all its links."""
        return math.sqrt(sum(shape.jitter**2 for shape in self.shapes))

    @property
    def loss(self) -> float:
        """Share of packets that get lost on the way."""
        return 1.0 - math.prod((1.0 - shape.loss) * (1.0 - shape.corrupt) for shape in self.shapes)

    @property
    def rate(self) -> float | None:
        """The smallest rate on the way, bits per second; None where there is none."""
        return min((shape.rate for shape in self.shapes if shape.rate is not None), default=None)

    def wire_bytes(self, payload: int) -> int:
        """Bytes on the wire of a probe with so much payload."""
        return payload + OVERHEAD_BYTES + (20 if ":" in self.address else 0)

    def delay_s(self, payload: int) -> float:
        """Median one-way delay asked for a packet with ``payload`` bytes that meets no other: with serialisation."""
        bits = 8 * self.wire_bytes(payload)
        return sum(shape.delay + _median(shape) + _serial_s(shape, bits) for shape in self.shapes)


def _serial_s(shape: Shape, bits: float) -> float:
    """The time that a single packet of ``bits`` takes at the rate; a burst lets it through at once."""
    return max(0.0, bits - shape.burst * 8) / shape.rate if shape.rate else 0.0


def _median(shape: Shape) -> float:
    return shape.jitter * _PARETO_MEDIAN if shape.distribution == "pareto" else 0.0


def paths(topology: Topology, most: int | None = None) -> list[Path]:
    """The paths to measure, in the order of the file; of more than ``most``, so many spread evenly over them."""
    every: list[tuple[End, End]] = []
    seen: set[End] = set()
    for link in topology.links.values():
        for end in link.ends:
            if topology.nodes[end.node].kind != "switch" and End(link.name, end.node) not in seen:
                members = _members(topology, End(link.name, end.node))
                seen.update(members)
                every += _ring(members)
    step = max(1.0, len(every) / most) if most else 1.0
    chosen = (every[int(number * step)] for number in range(int(len(every) / step + 1e-9)))
    return [path for start, goal in chosen if (path := _path(topology, start, goal)) is not None]


def pairs(topology: Topology, addresses: Mapping[str, str], most: int) -> list[Path]:
    """The paths between every two of the hosts in ``addresses``, each with all that the topology asks of its links.

    Of more than ``most``, so many spread evenly over them.
    """
    every = list(permutations(addresses, 2))
    step = max(1.0, len(every) / most)
    return [_whole(topology, *every[int(number * step)], addresses) for number in range(int(len(every) / step + 1e-9))]


def _whole(topology: Topology, start: str, goal: str, addresses: Mapping[str, str]) -> Path:
    ends = topology.path(start, goal)
    links = [topology.links[end.link] for end in ends]
    shapes = tuple(link.at(end.node).shape for link, end in zip(links, ends, strict=True))
    return Path(start, goal, addresses[goal], ends, shapes, min(link.mtu for link in links))


def _members(topology: Topology, start: End) -> list[End]:
    """The ends on hosts and routers that share a segment with ``start``, itself first."""
    return [start, *(ways[-1] for ways in _ways(topology, start))]


def _ring(members: Sequence[End]) -> Iterator[tuple[End, End]]:
    for number, member in enumerate(members):
        others = chain(islice(members, number + 1, None), islice(members, number)) if len(members) > 1 else iter(())
        goal = next((other for other in others if other.node != member.node), None)
        if goal is not None:
            yield member, goal


def _path(topology: Topology, start: End, goal: End) -> Path | None:
    """The way from one member of a segment to another; None where the other has no address there."""
    target = topology.links[goal.link].at(goal.node)
    address = _address(target)
    if address is None:
        return None
    ends = next(ways[:-1] for ways in _ways(topology, start) if ways[-1] == goal)
    links = [topology.links[end.link] for end in ends]
    shapes = tuple(link.at(end.node).shape for link, end in zip(links, ends, strict=True))
    return Path(start.node, goal.node, address, ends, shapes, min(link.mtu for link in links))


def _address(interface: Interface) -> str | None:
    found = interface.ipv4 or interface.ipv6
    return str(found.ip) if found is not None else None


def _ways(topology: Topology, start: End) -> Iterator[tuple[End, ...]]:
    """From ``start`` through switches to every other member: the ends left through, then the member's own end."""
    waiting: deque[tuple[End, ...]] = deque([(start,)])
    while waiting:
        way = waiting.popleft()
        link = topology.links[way[-1].link]
        beyond = link.beyond(way[-1].node).node
        if topology.nodes[beyond].kind != "switch":
            yield (*way, End(link.name, beyond))
            continue
        waiting += [(*way, End(other.name, beyond)) for other, _ in topology.interfaces[beyond]
                    if other.name != link.name]
