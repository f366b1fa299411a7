"""Which routes lead every node of a network to the outside through one of its nodes: pure, before anything is changed.

Routes of a network are put together into prefixes that are as wide as possible, and a host with one router sends it
everything. So that a default route to the outside hides no way inside, a route that is wider than the private ranges
is taken apart into the subnets for which it is meant.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network

from testbed.topology.model import Node, Route, Topology

EVERYWHERE = IPv4Network("0.0.0.0/0")
PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "198.18.0.0/15")))
_CHOICES = tuple(map(IPv4Network, ("10.255.254.0/24", "172.31.254.0/24", "192.168.254.0/24", "100.127.254.0/24")))


@dataclass(frozen=True, slots=True)
class Change:
    """What changes at one node: routes that go, and routes that come (or replace those to the same destination)."""

    node: str
    gone: tuple[Route, ...]
    new: tuple[Route, ...]


class Outwards:
    """The ways to the outside of one topology through ``door``."""

    def __init__(self, topology: Topology, door: str) -> None:
        self._topology, self._door = topology, door
        self._goal = IPv4Address(topology.address(door))

    @cached_property
    def subnets(self) -> tuple[IPv4Network, ...]:
        """All subnets of the network, each once."""
        ends = (end for link in self._topology.links.values() for end in link.ends)
        return tuple(dict.fromkeys(end.ipv4.network for end in ends if end.ipv4 is not None))

    def free_subnet(self) -> IPv4Network | None:
        """A subnet between the door and the outside that no other one overlaps; None if all choices are taken."""
        return next((each for each in _CHOICES if not any(map(each.overlaps, self.subnets))), None)

    def changes(self) -> Iterator[Change]:
        """What to change at each node; the door's own default route is somebody else's affair."""
        for node in self._topology.of_kind("host", "router"):
            change = self._change(node)
            if change.gone or change.new:
                yield change

    def _change(self, node: Node) -> Change:
        hop = None if node.name == self._door else self._hop(node)
        routes = [route for route in node.routes if isinstance(route.destination, IPv4Network)]
        finds_itself = self._topology.routing.protocol == "ospf" and node.kind == "router"
        if finds_itself or hop in routes:
            routes = []
        wide = [route for route in routes if not _is_private(route.destination)]
        narrow = [new for route in wide for new in self._narrowed(route, node)]
        known = {route.destination for route in narrow}
        gone = tuple(route for route in wide if route.destination not in known | {EVERYWHERE})
        if hop is None or hop in node.routes:
            return Change(node.name, gone, tuple(narrow))
        return Change(node.name, gone, (*narrow, hop))

    def _hop(self, node: Node) -> Route | None:
        """The default route of ``node`` on its way to the door; None where it has no way there."""
        for _, end in self._topology.interfaces[node.name]:
            if end.ipv4 is not None and self._goal in end.ipv4.network:
                return Route(EVERYWHERE, str(self._goal), end.name)
        best = self._best(node, self._goal)
        return None if best is None else Route(EVERYWHERE, best.gateway, best.interface)

    def _best(self, node: Node, address: IPv4Address) -> Route | None:
        fitting = [route for route in node.routes
                   if isinstance(route.destination, IPv4Network) and address in route.destination]  # fmt: skip
        return max(fitting, key=lambda route: route.destination.prefixlen, default=None)

    def _narrowed(self, route: Route, node: Node) -> Iterator[Route]:
        """The subnets that ``route`` is used for, as routes of their own."""
        own = {end.ipv4.network for _, end in self._topology.interfaces[node.name] if end.ipv4 is not None}
        for subnet in self.subnets:
            if subnet not in own and self._best(node, subnet.network_address) is route:
                yield Route(subnet, route.gateway, route.interface)


def _is_private(destination: object) -> bool:
    return isinstance(destination, IPv4Network) and any(destination.subnet_of(each) for each in PRIVATE)
