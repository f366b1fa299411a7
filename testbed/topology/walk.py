"""The way of a packet through a finished topology: by the routes of hosts and routers, and across switches."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Literal

from testbed.errors import UsageError
from testbed.topology.model import End, Link, Route, Topology

Family = Literal[4, 6]


class Ways:
    """An index over one topology that makes single walks cheap; :attr:`Topology.ways` keeps it."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._segment: dict[str, int] = {}
        self._up: dict[tuple[int, str], Link | None] = {}
        for link in topology.links.values():
            if link.name not in self._segment:
                self._explore(len(self._segment), link)
        self._owner = {
            address.ip: (end.node, self._segment[link.name])
            for link in topology.links.values() for end in link.ends for address in (end.ipv4, end.ipv6) if address
        }

    def _explore(self, segment: int, first: Link) -> None:
        """Number the links of one segment, and hang its nodes into a tree whose root is a switch if it has one."""
        kinds = self._topology.nodes
        root = next((end.node for end in first.ends if kinds[end.node].kind == "switch"), first.ends[0].node)
        self._up[segment, root] = None
        todo = [(root, first)] if kinds[root].kind != "switch" else [(root, link) for link, _ in self._links(root)]
        while todo:
            node, link = todo.pop()
            self._segment[link.name] = segment
            beyond = link.beyond(node).node
            self._up[segment, beyond] = link
            if kinds[beyond].kind == "switch":
                todo += [(beyond, other) for other, _ in self._links(beyond) if other is not link]

    def _links(self, node: str) -> tuple[tuple[Link, object], ...]:
        return self._topology.interfaces[node]

    def walk(self, start: str, goal: str, family: Family) -> tuple[End, ...]:
        """The ends that a packet leaves through; UsageError where the routes do not lead to ``goal``."""
        destination = ip_address(self._topology.address(goal, family))
        segment = self._owner[destination][1]
        ends: list[End] = []
        node, seen = start, {start}
        while node != goal:
            if (segment, node) in self._up:
                return (*ends, *self._across(segment, node, self._owner[destination][0]))
            route = self._route(node, destination)
            gateway = self._owner.get(ip_address(route.gateway)) if route else None
            if gateway is None or gateway[0] in seen:
                raise UsageError(f"No route leads from {start} to {goal} ({destination}): it ends at {node}.")
            ends += self._across(gateway[1], node, gateway[0])
            node = gateway[0]
            seen.add(node)
        return tuple(ends)

    def _route(self, node: str, destination: IPv4Address | IPv6Address) -> Route | None:
        fitting = [route for route in self._topology.nodes[node].routes if destination in route.destination]
        return max(fitting, key=lambda route: route.destination.prefixlen, default=None)

    def _across(self, segment: int, start: str, goal: str) -> Iterator[End]:
        there, back = list(self._climb(segment, start)), list(self._climb(segment, goal))
        while there and back and there[-1] == back[-1]:
            there.pop()
            back.pop()
        yield from (End(link.name, node) for node, link in there)
        yield from (End(link.name, link.beyond(node).node) for node, link in reversed(back))

    def _climb(self, segment: int, node: str) -> Iterator[tuple[str, Link]]:
        while link := self._up[segment, node]:
            yield node, link
            node = link.beyond(node).node


def walk(topology: Topology, start: str, goal: str) -> tuple[End, ...]:
    """The ends that a packet from ``start`` to ``goal`` leaves through, in order; empty from a node to itself.

    By IPv4 if both have such an address, else by IPv6. Raises UsageError where no route leads there, for a switch (it
    has no addresses) and for an unknown node.
    """
    for name in (start, goal):
        if name not in topology.nodes or topology.nodes[name].kind == "switch":
            raise UsageError(f"{name!r} is not a host or router of {topology.name}, so no packet goes from or to it.")
    for family in (4, 6):
        if _has(topology, start, family) and _has(topology, goal, family):
            return topology.ways.walk(start, goal, family)
    raise UsageError(f"{start} and {goal} have no addresses of one family.")


def _has(topology: Topology, node: str, family: Family) -> bool:
    return any((end.ipv4 if family == 4 else end.ipv6) is not None for _, end in topology.interfaces[node])
