"""OSPF worked out from a topology: what each router is told, and by which interfaces its shortest ways may lead.

A router's cost for an interface stands for the link's one-way delay as it leaves there. Behind a switch a way costs no
more, since OSPF knows no costs from a LAN to a router.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import Literal

import networkx as nx

from testbed.topology.hearing import hearing
from testbed.topology.model import Interface, Topology
from testbed.topology.walk import Family, address

HOP = 1000  # what a hop costs where delays decide between ways of equally many hops
MOST = 65535
Kind = Literal["stub", "ptp", "broadcast"]
Segment = tuple[Interface, ...]  # the ends on hosts and routers that hear each other
Subnet = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Port:
    """One interface of a router: what it costs to leave there, and which other routers are behind it.

    ``kind`` is ``stub`` where there are none, ``ptp`` for one at the other end of a link, else ``broadcast``.
    """

    interface: Interface
    cost: int
    kind: Kind
    segment: int
    neighbours: tuple[Interface, ...]


class Ospf:
    """What OSPF does with one topology."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self._routers = {node.name: number for number, node in enumerate(topology.of_kind("router"))}
        self.segments = tuple(hearing(topology))
        costs = self._costs()
        self.ports: Mapping[str, tuple[Port, ...]] = {
            name: tuple(port for number, segment in enumerate(self.segments) for own in segment if own.node == name
                        for port in [self._port(own, costs[own], number)])
            for name in self._routers
        }

    def _costs(self) -> dict[Interface, int]:
        """The costs of all interfaces of routers, by the topology's metric; from 1 to 65535 as OSPF wants them."""
        delays = {own: own.shape.delay for segment in self.segments for own in segment if own.node in self._routers}
        longest = max(delays.values(), default=0.0)
        if self.topology.routing.metric == "delay":
            unit = max(1e-6, longest / MOST)
            return {own: min(MOST, max(1, round(delay / unit))) for own, delay in delays.items()}
        between = {own.shape.delay for segment in self.segments for own in segment
                   if own.node in self._routers and len(self._on(segment)) > 1}
        if len(between) < 2:  # delays cannot decide between ways of equally many hops
            return dict.fromkeys(delays, 1)
        room = max(1, HOP // len(self._routers))  # so that all delays of a way together stay below a hop
        return {own: HOP + round(room * delay / longest) for own, delay in delays.items()}

    def _on(self, segment: Segment) -> tuple[Interface, ...]:
        return tuple(each for each in segment if each.node in self._routers)

    def _port(self, own: Interface, cost: int, number: int) -> Port:
        segment = self.segments[number]
        others = tuple(each for each in self._on(segment) if each.node != own.node)
        kind: Kind = "stub" if not others else "ptp" if len(segment) == 2 else "broadcast"
        return Port(own, cost, kind, number, others)

    def router_id(self, router: str) -> str:
        """The first IPv4 address of a router, or its number where the network has none."""
        for port in self.ports[router]:
            if port.interface.ipv4 is not None:
                return str(port.interface.ipv4.ip)
        return str(IPv4Address(self._routers[router] + 1))

    def subnet(self, segment: int, family: Family) -> Subnet | None:
        """The subnet of a segment in one family."""
        found = (address(each, family) for each in self.segments[segment])
        return next((each.network for each in found if each is not None), None)

    @cached_property
    def families(self) -> tuple[Family, ...]:
        """The families that some router has addresses of."""
        both: tuple[Family, ...] = (4, 6)
        return tuple(family for family in both if any(
            address(port.interface, family) is not None for ports in self.ports.values() for port in ports
        ))

    def expected(self, router: str, family: Family) -> dict[Subnet, set[str]]:
        """Where the converged routes of a router lead: for each subnet beyond its own, the interfaces that may serve.

        More than one where ways cost the same, of which OSPF may take any.
        """
        graph, ports = self._graphs[family], [port for port in self.ports[router]
                                              if address(port.interface, family) is not None]
        own = {port.segment for port in ports}
        from_here = nx.single_source_dijkstra_path_length(graph, router) if router in graph else {}
        found: dict[Subnet, set[str]] = {}
        for number, _ in enumerate(self.segments):
            subnet = self.subnet(number, family)
            if number in own or number not in from_here or subnet is None:
                continue
            found[subnet] = {
                port.interface.name for port in ports for beyond in port.neighbours
                if port.cost + self._distance(family, beyond.node, number) == from_here[number]
            }
        return found

    def _distance(self, family: Family, router: str, segment: int) -> float:
        if (family, router) not in self._distances:
            self._distances[family, router] = nx.single_source_dijkstra_path_length(self._graphs[family], router)
        return self._distances[family, router].get(segment, float("inf"))

    @cached_property
    def _distances(self) -> dict[tuple[Family, str], Mapping[object, float]]:
        return {}

    @cached_property
    def _graphs(self) -> Mapping[Family, nx.DiGraph[object]]:
        """Routers and the numbers of segments: entering a segment costs, leaving it does not."""
        found: dict[Family, nx.DiGraph[object]] = {}
        for family in self.families:
            graph = found[family] = nx.DiGraph()
            for router, ports in self.ports.items():
                for port in ports:
                    if address(port.interface, family) is not None:
                        graph.add_edge(router, port.segment, weight=port.cost)
                        graph.add_edge(port.segment, router, weight=0)
        return found
