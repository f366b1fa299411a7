"""Shortest-path routes for a whole network.

From each router (and each host that has a choice) a shortest-path search over routers and switches gives the first hop
to every other router, hence to every segment. Routes with the same first hop are then put together into as few
prefixes as possible, counting addresses that no segment has as free to go anywhere; that is what keeps networks of
thousands of segments small. The method for this is optimal prefix aggregation (Draves et al., INFOCOM 1999).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from heapq import heappop, heappush
from ipaddress import IPv4Network, IPv6Network
from itertools import count
from typing import Literal

from testbed.topology.address import Plan
from testbed.topology.draft import Draft, LinkDraft
from testbed.topology.model import End, Interface, Route
from testbed.topology.segment import Segment

Metric = Literal["hops", "delay"]
Network = IPv4Network | IPv6Network
_BITS = 60  # below it the tie-breaker, above it the metric; ten thousand hours in ns fit in


@dataclass(frozen=True, slots=True)
class Hop:
    """The first step of a way: out of a node at ``leave``, to the next router at ``enter``."""

    leave: End
    enter: End


@dataclass(frozen=True, slots=True)
class _Reach:
    cost: int
    hop: Hop | None


@dataclass(frozen=True, slots=True)
class _Step:
    """A link as the search sees it from one side."""

    cost: int
    beyond: str
    leave: End
    enter: End
    segment: int


class _Family:
    """The subnets of one family, in rising order, as (first address, last address, number of the segment)."""

    def __init__(self, plan: Plan) -> None:
        self.addresses = plan.addresses
        self.used = tuple(subnet is not None for subnet in plan.subnets)
        self.bits = max((subnet.max_prefixlen for subnet in plan.subnets if subnet), default=32)
        self.ranges = sorted(
            (int(subnet.network_address), int(subnet.broadcast_address), number)
            for number, subnet in enumerate(plan.subnets) if subnet is not None
        )


class Router:
    """Knows the network as a graph of links with costs; answers which routes a node needs. ``lost`` links join none."""

    def __init__(self, draft: Draft, segments: Sequence[Segment], plans: Sequence[Plan], metric: Metric,
                 lost: Set[str] = frozenset()) -> None:  # fmt: skip
        self._kinds = {node.name: node.kind for node in draft.nodes}
        self._metric = metric
        self._families = [_Family(plan) for plan in plans]
        segment_of = {link.name: number for number, segment in enumerate(segments) for link in segment.links}
        self._own: dict[str, list[tuple[LinkDraft, int]]] = {node.name: [] for node in draft.nodes}
        self._steps: dict[str, list[_Step]] = {node.name: [] for node in draft.nodes}
        for link in draft.links:
            for start, beyond in (link.ends, link.ends[::-1]):
                segment = segment_of[link.name]
                self._own[start].append((link, segment))
                if self._kinds[beyond] != "host" and link.name not in lost:
                    cost = self._cost(link, start)
                    self._steps[start].append(
                        _Step(cost, beyond, End(link.name, start), End(link.name, beyond), segment)
                    )
        self._exits = [list(self._exits_of(segment)) for segment in segments]

    def _exits_of(self, segment: Segment) -> Iterator[tuple[int, End]]:
        """The routers on a segment, with what it costs each to send there."""
        for node, link in segment.members:
            if self._kinds[node] == "router":
                yield self._cost(link, node), End(link.name, node)

    def _cost(self, link: LinkDraft, start: str) -> int:
        """What it costs to leave ``start`` over ``link``; switches are not hops."""
        hops = 0 if self._kinds[start] == "switch" else 1
        delay_ns = round(link.shapes[link.ends.index(start)].delay * 1e9)
        return (hops << _BITS) + delay_ns if self._metric == "hops" else (delay_ns << _BITS) + hops

    def routes(self, node: str, interfaces: Mapping[End, Interface]) -> tuple[Route, ...]:
        """The routes of a host or router, IPv4 before IPv6; none where it reaches everything directly."""
        found = []
        best: dict[tuple[bool, ...], list[Hop | None]] = {}
        for family in self._families:
            gateway: dict[Hop, tuple[str, str]] = {}
            for destination, hop in self._ways(node, family, best):
                if hop not in gateway:
                    gateway[hop] = (str(family.addresses[hop.enter].ip), interfaces[hop.leave].name)
                found.append(Route(destination, *gateway[hop]))
        return tuple(found)

    def _ways(
        self, node: str, family: _Family, best: dict[tuple[bool, ...], list[Hop | None]]
    ) -> Iterator[tuple[Network, Hop]]:
        """The aggregated ways of one family; ``best`` keeps what both families share."""
        gateways = [Hop(End(own.name, node), enter) for own, segment in self._own[node]
                    for _, enter in self._exits[segment] if enter.node != node and family.used[segment]]
        if not gateways:
            return
        if self._kinds[node] == "host" and len(gateways) == 1:
            yield IPv4Network("0.0.0.0/0") if family.bits == 32 else IPv6Network("::/0"), gateways[0]
            return
        if family.used not in best:
            best[family.used] = self._best(node, self._search(node, family.used))
        hops = best[family.used]
        ways = [(first, last, hop) for first, last, number in family.ranges if (hop := hops[number]) is not None]
        yield from aggregate(ways, family.bits)

    def _search(self, start: str, used: Sequence[bool]) -> dict[str, _Reach]:
        """The cheapest way from ``start`` to each router and switch; of equal ways the one found first."""
        reached: dict[str, _Reach] = {}
        order = count()
        heap: list[tuple[int, int, str, End | None, Hop | None]] = [(0, next(order), start, None, None)]
        while heap:
            cost, _, node, leave, hop = heappop(heap)
            if node in reached:
                continue
            reached[node] = _Reach(cost, hop)
            for step in self._steps[node]:
                if step.beyond in reached or not used[step.segment]:
                    continue
                out, first = leave or step.leave, hop
                if first is None and self._kinds[step.beyond] == "router":
                    first = Hop(out, step.enter)
                heappush(heap, (cost + step.cost, next(order), step.beyond, out, first))
        return reached

    def _best(self, node: str, reached: Mapping[str, _Reach]) -> list[Hop | None]:
        """For each segment the first hop towards it; None where ``node`` is on it or cannot reach it."""
        own = {segment for _, segment in self._own[node]}
        best: list[Hop | None] = []
        for number, exits in enumerate(self._exits):
            ways = [(reached[enter.node].cost + cost, index) for index, (cost, enter) in enumerate(exits)
                    if enter.node in reached]
            if number in own or not ways:
                best.append(None)
            else:
                best.append(reached[exits[min(ways)[1]][1].node].hop)
        return best


@dataclass(frozen=True, slots=True)
class _Block:
    """A range of ways with the hops that serve it best if it is given a route, and its halves if they differ."""

    low: int
    high: int
    hops: frozenset[int]
    halves: tuple[_Block, _Block] | None


def aggregate(ways: Sequence[tuple[int, int, Hop]], bits: int) -> Iterator[tuple[Network, Hop]]:
    """The fewest prefixes that send each way, an address range (first, last) in rising order, to its hop."""
    if not ways:
        return
    hops = list(dict.fromkeys(hop for _, _, hop in ways))
    number = {hop: index for index, hop in enumerate(hops)}
    chosen = [number[hop] for _, _, hop in ways]
    starts = [start for start, _, _ in ways]
    run_end = [len(ways)] * len(ways)
    for index in range(len(ways) - 2, -1, -1):
        run_end[index] = run_end[index + 1] if chosen[index] == chosen[index + 1] else index + 1

    def split(low: int, high: int) -> _Block:
        if run_end[low] >= high:
            return _Block(low, high, frozenset((chosen[low],)), None)
        width = (starts[low] ^ ways[high - 1][1]).bit_length()
        middle = bisect_left(starts, ways[high - 1][1] >> (width - 1) << (width - 1), low, high)
        left, right = split(low, middle), split(middle, high)
        return _Block(low, high, left.hops & right.hops or left.hops | right.hops, (left, right))

    def give(block: _Block, inherited: int) -> Iterator[tuple[Network, Hop]]:
        if inherited not in block.hops:
            inherited = min(block.hops)
            yield _cover(starts[block.low], ways[block.high - 1][1], bits), hops[inherited]
        for half in block.halves or ():
            yield from give(half, inherited)

    yield from give(split(0, len(ways)), -1)


def _cover(first: int, last: int, bits: int) -> Network:
    """The smallest prefix that holds both addresses."""
    width = (first ^ last).bit_length()
    start, length = first >> width << width, bits - width
    return IPv4Network((start, length)) if bits == 32 else IPv6Network((start, length))
