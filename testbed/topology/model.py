"""The network as frozen data, after all checks: what every other part of the program works with.

``load.load(path)`` makes a :class:`Topology` from YAML; nobody else constructs one from user input.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network
from typing import TYPE_CHECKING, Literal, NamedTuple

from testbed.topology.limits import UNLIMITED, Limits
from testbed.topology.routing import STATIC, Routing
from testbed.topology.shape import Shape

if TYPE_CHECKING:
    from testbed.topology.walk import Ways

Kind = Literal["host", "router", "switch"]


class End(NamedTuple):
    """Names one end of one link: the link and the node it is on. Its shape acts on what leaves the node there."""

    link: str
    node: str


@dataclass(frozen=True, slots=True)
class Interface:
    """One end of a link: a network interface of ``node``, called ``name`` there.

    A switch port has no addresses. ``shape`` is one-way: it acts on what leaves ``node`` over this link.
    """

    node: str
    name: str
    mac: str
    ipv4: IPv4Interface | None
    ipv6: IPv6Interface | None
    shape: Shape


@dataclass(frozen=True, slots=True)
class Link:
    """A point-to-point link between two interfaces (a LAN is a switch with one link a member)."""

    name: str
    ends: tuple[Interface, Interface]
    mtu: int = 1500

    def at(self, node: str) -> Interface:
        """The interface of this link on ``node``."""
        return self.ends[0] if self.ends[0].node == node else self.ends[1]

    def beyond(self, node: str) -> Interface:
        """The interface at the other end, seen from ``node``."""
        return self.ends[1] if self.ends[0].node == node else self.ends[0]


@dataclass(frozen=True, slots=True)
class Route:
    """A route of one node: packets for ``destination`` go to ``gateway`` through ``interface``."""

    destination: IPv4Network | IPv6Network
    gateway: str
    interface: str


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of the network. Hosts and routers have a network stack of their own; switches forward frames."""

    name: str
    kind: Kind
    tags: tuple[str, ...]
    routes: tuple[Route, ...]
    limits: Limits = UNLIMITED


@dataclass(frozen=True)
class Topology:
    """A whole network, checked, addressed and routed. Iteration orders are those of the file.

    Where routers run OSPF, their ``routes`` are those that they should find while all links are up.
    """

    name: str
    nodes: Mapping[str, Node]
    links: Mapping[str, Link]
    source: str
    routing: Routing = STATIC
    notes: tuple[str, ...] = ()
    """What another program's file says and this network does not have, a sentence each."""

    def of_kind(self, *kinds: Kind) -> tuple[Node, ...]:
        """The nodes of these kinds, in the order of the file."""
        return tuple(node for node in self.nodes.values() if node.kind in kinds)

    @cached_property
    def interfaces(self) -> Mapping[str, tuple[tuple[Link, Interface], ...]]:
        """For each node its links, each with this node's end of it."""
        found: dict[str, list[tuple[Link, Interface]]] = {name: [] for name in self.nodes}
        for link in self.links.values():
            for end in link.ends:
                found[end.node].append((link, end))
        return {name: tuple(ends) for name, ends in found.items()}

    @cached_property
    def graph(self) -> Mapping[str, tuple[str, ...]]:
        """The neighbours of each node, in the order of the links."""
        return {node: tuple(link.beyond(node).node for link, _ in ends) for node, ends in self.interfaces.items()}

    def address(self, node: str, family: Literal[4, 6] = 4) -> str:
        """The first address of ``node`` in this family; the one that its name resolves to everywhere."""
        for _, end in self.interfaces[node]:
            found = end.ipv4 if family == 4 else end.ipv6
            if found is not None:
                return str(found.ip)
        raise KeyError(f"{node} has no IPv{family} address")

    def path(self, start: str, goal: str) -> tuple[End, ...]:
        """The ends that a packet from ``start`` to ``goal`` leaves through, in order."""
        from testbed.topology.walk import walk  # the one place that knows how a packet travels

        return walk(self, start, goal)

    @cached_property
    def ways(self) -> Ways:
        """What :meth:`path` looks routes up in."""
        from testbed.topology.walk import Ways

        return Ways(self)

    def round_trip_s(self, a: str, b: str) -> float:
        """The delay in seconds, propagation only, of a packet from ``a`` to ``b`` and back."""
        ends = (*self.path(a, b), *self.path(b, a))
        return sum(self.links[end.link].at(end.node).shape.delay for end in ends)

    @cached_property
    def digest(self) -> str:
        """Sixteen hex digits that change with anything that matters in the network, not with the file's layout."""
        nodes = [
            (n.name, n.kind, n.tags, [(str(r.destination), r.gateway, r.interface) for r in n.routes])
            for n in self.nodes.values()
        ]
        links = [
            (k.name, k.mtu, [(e.node, e.name, e.mac, str(e.ipv4), str(e.ipv6), e.shape.model_dump()) for e in k.ends])
            for k in self.links.values()
        ]
        matters: list[object] = [self.name, nodes, links]
        if self.routing.protocol != "static":  # the routes of nodes say all about those
            matters.append(self.routing.model_dump())
        limits = {node.name: node.limits.data() for node in self.nodes.values() if node.limits.kinds}
        if limits:
            matters.append(limits)
        return hashlib.sha256(json.dumps(matters, sort_keys=True).encode()).hexdigest()[:16]
