"""The way of a packet through a finished topology: by the routes of hosts and routers, and across switches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address
from types import MappingProxyType
from typing import Literal

from testbed.errors import UsageError
from testbed.topology.model import End, Interface, Link, Route, Topology

Family = Literal[4, 6]
Attached = Mapping[str, str]  # a node with several links -> the only one that its traffic goes over now
Address = IPv4Interface | IPv6Interface
NOWHERE: Attached = MappingProxyType({})


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

    def walk(self, start: str, goal: str, family: Family, attached: Attached = NOWHERE) -> tuple[End, ...]:
        """The ends that a packet leaves through; UsageError where the routes do not lead to ``goal``."""
        destination = self._destination(goal, family, attached)
        segment = self._owner[destination][1]
        ends: list[End] = []
        node, seen = start, {start}
        while node != goal:
            if (segment, node) in self._up and self._segment.get(attached.get(node, ""), segment) == segment:
                return (*ends, *self._across(segment, node, self._owner[destination][0]))
            gateway = self._leaving(node, family, attached[node]) if node in attached else self._next(node, destination)
            if gateway is None or gateway[0] in seen:
                raise UsageError(f"No route leads from {start} to {goal} ({destination}): it ends at {node}.")
            ends += self._across(gateway[1], node, gateway[0])
            node = gateway[0]
            seen.add(node)
        return tuple(ends)

    def _destination(self, goal: str, family: Family, attached: Attached) -> IPv4Address | IPv6Address:
        if goal not in attached:
            return ip_address(self._topology.address(goal, family))
        found = address(self._topology.links[attached[goal]].at(goal), family)
        if found is None:
            raise UsageError(f"{goal} has no IPv{family} address on {attached[goal]}.")
        return found.ip

    def step(self, node: str, destination: IPv4Address | IPv6Address) -> str | None:
        """The gateway to which ``node`` sends what is for ``destination``; None without a route."""
        route = self._route(node, destination)
        return route.gateway if route else None

    def _next(self, node: str, destination: IPv4Address | IPv6Address) -> tuple[str, int] | None:
        gateway = self.step(node, destination)
        return self._owner.get(ip_address(gateway)) if gateway else None

    def gateway(self, node: str, family: Family, link: str) -> tuple[str, IPv4Address | IPv6Address] | None:
        """The first router on the LAN that ``node`` reaches over ``link``, and its address there."""
        segment = self._segment[link]
        for found, (owner, number) in self._owner.items():
            is_router = owner != node and self._topology.nodes[owner].kind == "router"
            if number == segment and is_router and found.version == family:
                return owner, found
        return None

    def _leaving(self, node: str, family: Family, link: str) -> tuple[str, int] | None:
        gateway = self.gateway(node, family, link)
        return (gateway[0], self._segment[link]) if gateway else None

    def is_same(self, link: str, other: str) -> bool:
        """Whether two links belong to one LAN."""
        return self._segment[link] == self._segment[other]

    def on(self, node: str, link: str) -> bool:
        """Whether ``node`` is on the LAN that ``link`` belongs to."""
        return (self._segment[link], node) in self._up

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


def address(end: Interface, family: Family) -> Address | None:
    """The address of an interface in one family."""
    return end.ipv4 if family == 4 else end.ipv6


def walk(topology: Topology, start: str, goal: str, attached: Attached = NOWHERE) -> tuple[End, ...]:
    """The ends that a packet from ``start`` to ``goal`` leaves through, in order; empty from a node to itself.

    By IPv4 if both have such an address, else by IPv6. Raises UsageError where no route leads there, for a switch (it
    has no addresses) and for an unknown node. Nodes that are ``attached`` to one of their links use no other.
    """
    for name in (start, goal):
        if name not in topology.nodes or topology.nodes[name].kind == "switch":
            raise UsageError(f"{name!r} is not a host or router of {topology.name}, so no packet goes from or to it.")
    for family in (4, 6):
        if _has(topology, start, family) and _has(topology, goal, family):
            return topology.ways.walk(start, goal, family, attached)
    raise UsageError(f"{start} and {goal} have no addresses of one family.")


def _has(topology: Topology, node: str, family: Family) -> bool:
    return any(address(end, family) is not None for _, end in topology.interfaces[node])
