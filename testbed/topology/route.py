"""Static shortest-path routes for a whole network, and the way that a packet takes by them.

From each router (and each host that has a choice) a shortest-path search over routers and switches gives the first hop
to every other router, hence to every segment. Routes with the same first hop are then put together into as few
prefixes as possible, counting addresses that no segment has as free to go anywhere; that is what keeps networks of
thousands of segments small. The method for this is optimal prefix aggregation (Draves et al., INFOCOM 1999).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
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


class Router:
    """Knows the network as a graph of links with costs; answers which routes a node needs."""

    def __init__(self, draft: Draft, segments: Sequence[Segment], plans: Sequence[Plan], metric: Metric) -> None:
        self._kinds = {node.name: node.kind for node in draft.nodes}
        self._links: dict[str, list[LinkDraft]] = {node.name: [] for node in draft.nodes}
        for link in draft.links:
            for end in link.ends:
                self._links[end].append(link)
        self._metric = metric
        self._segments = segments
        self._plans = plans
        self._segment_of = {link.name: number for number, segment in enumerate(segments) for link in segment.links}
        self._exits = [self._routers_of(segment) for segment in segments]

    def _routers_of(self, segment: Segment) -> list[tuple[str, LinkDraft]]:
        return [(node, link) for node, link in segment.members if self._kinds[node] == "router"]

    def routes(self, node: str, interfaces: Mapping[End, Interface]) -> tuple[Route, ...]:
        """The routes of a host or router, IPv4 before IPv6; none where it reaches everything directly."""
        return tuple(
            Route(destination, str(plan.addresses[hop.enter].ip), interfaces[hop.leave].name)
            for plan, destination, hop in self._ways(node)
        )

    def _ways(self, node: str) -> Iterator[tuple[Plan, IPv4Network | IPv6Network, Hop]]:
        reached: dict[tuple[bool, ...], dict[str, _Reach]] = {}
        gateways = self._gateways(node)
        for plan in self._plans:
            used = tuple(subnet is not None for subnet in plan.subnets)
            if self._kinds[node] == "host" and len(gateways) == 1:
                if gateways[0].enter in plan.addresses:
                    yield plan, _everything(plan), gateways[0]
                continue
            if used not in reached:
                reached[used] = self._search(node, used) if gateways else {}
            for destination, hop in self._aggregated(node, reached[used], plan):
                yield plan, destination, hop

    def _gateways(self, node: str) -> list[Hop]:
        """The routers that are one hop away."""
        return [Hop(End(own.name, node), End(link.name, router)) for own in self._links[node]
                for router, link in self._exits[self._segment_of[own.name]] if router != node]

    def _cost(self, link: LinkDraft, start: str) -> int:
        """What it costs to leave ``start`` over ``link``; switches are not hops."""
        hops = 0 if self._kinds[start] == "switch" else 1
        delay_ns = round(link.shapes[link.ends.index(start)].delay * 1e9)
        return (hops << _BITS) + delay_ns if self._metric == "hops" else (delay_ns << _BITS) + hops

    def _search(self, start: str, used: tuple[bool, ...]) -> dict[str, _Reach]:
        """The cheapest way from ``start`` to each router and switch; of equal ways the one found first."""
        reached: dict[str, _Reach] = {}
        order = count()
        heap: list[tuple[int, int, str, End | None, Hop | None]] = [(0, next(order), start, None, None)]
        while heap:
            cost, _, node, leave, hop = heappop(heap)
            if node in reached:
                continue
            reached[node] = _Reach(cost, hop)
            for link in self._links[node]:
                beyond = link.beyond(node)
                if beyond in reached or self._kinds[beyond] == "host" or not used[self._segment_of[link.name]]:
                    continue
                out = leave or End(link.name, node)
                is_router = self._kinds[beyond] == "router"
                first = Hop(out, End(link.name, beyond)) if hop is None and is_router else hop
                heappush(heap, (cost + self._cost(link, node), next(order), beyond, out, first))
        return reached

    def _aggregated(
        self, node: str, reached: Mapping[str, _Reach], plan: Plan
    ) -> Iterator[tuple[IPv4Network | IPv6Network, Hop]]:
        own = {self._segment_of[link.name] for link in self._links[node]}
        ways: list[tuple[int, int, Hop]] = []
        bits = 0
        for number, subnet in enumerate(plan.subnets):
            hop = self._best(number, reached) if subnet is not None and number not in own else None
            if hop is not None and subnet is not None:
                bits = subnet.max_prefixlen
                ways.append((int(subnet.network_address), int(subnet.broadcast_address), hop))
        yield from aggregate(sorted(ways, key=lambda way: way[0]), bits)

    def _best(self, number: int, reached: Mapping[str, _Reach]) -> Hop | None:
        best: tuple[int, Hop | None] | None = None
        for router, link in self._exits[number]:
            way = reached.get(router)
            if way is not None:
                cost = way.cost + self._cost(link, router)
                best = (cost, way.hop) if best is None or cost < best[0] else best
        return best[1] if best else None


def _everything(plan: Plan) -> IPv4Network | IPv6Network:
    version = next(subnet.version for subnet in plan.subnets if subnet is not None)
    return IPv4Network("0.0.0.0/0") if version == 4 else IPv6Network("::/0")


@dataclass(frozen=True, slots=True)
class _Block:
    """A range of ways with the hops that serve it best if it is given a route, and its halves if they differ."""

    low: int
    high: int
    hops: frozenset[int]
    halves: tuple[_Block, _Block] | None


def aggregate(ways: Sequence[tuple[int, int, Hop]], bits: int) -> Iterator[tuple[IPv4Network | IPv6Network, Hop]]:
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

    def give(block: _Block, inherited: int) -> Iterator[tuple[IPv4Network | IPv6Network, Hop]]:
        if inherited not in block.hops:
            inherited = min(block.hops)
            yield _cover(starts[block.low], ways[block.high - 1][1], bits), hops[inherited]
        for half in block.halves or ():
            yield from give(half, inherited)

    yield from give(split(0, len(ways)), -1)


def _cover(first: int, last: int, bits: int) -> IPv4Network | IPv6Network:
    """The smallest prefix that holds both addresses."""
    width = (first ^ last).bit_length()
    start, length = first >> width << width, bits - width
    return IPv4Network((start, length)) if bits == 32 else IPv6Network((start, length))
