"""Where each end of each link goes: pure arithmetic from a topology to interfaces, before any of them exists.

Hosts and routers have a network namespace each. Switches are bridges in one more namespace, the **fabric**, where the
ports of relayed links live as well. Each interface has a name and an index that are known in advance.

    direct link    h1 ──veth── r1          h1 ──veth── port of bridge s1
    relayed link   h1 ──veth── port ~~ relay in user space ~~ port ──veth── r1
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from testbed.shaping.base import Mechanism
from testbed.topology.model import End, Interface, Link, Topology

FABRIC = ""
_FIRST_INDEX = 100  # below it may be tunnel devices that some kernels put into every new namespace


@dataclass(frozen=True, slots=True)
class Spot:
    """One interface: in the namespace of node ``net`` (or FABRIC), with this index and name there."""

    net: str
    index: int
    name: str


@dataclass(frozen=True, slots=True)
class Pair:
    """One veth pair, made from the namespace of ``near``, which is the fabric whenever either end is there."""

    near: Spot
    far: Spot
    near_mac: str
    far_mac: str
    mtu: int
    subject: str


class Layout:
    """All interfaces that a topology needs: ``bridges``, ``ends``, ``ports`` (of relayed links), and pairs."""

    def __init__(self, topology: Topology, mechanisms: Mapping[str, Mechanism]) -> None:
        self._indices: dict[str, int] = defaultdict(lambda: _FIRST_INDEX)
        self._switches = {node.name for node in topology.of_kind("switch")}
        self.bridges = self._bridges(topology)
        self.ends: dict[End, Spot] = {}
        self.ports: dict[End, Spot] = {}
        for at, link in enumerate(topology.links.values()):
            for side, end in zip("ab", link.ends, strict=True):
                self._place(link, end, f"{at}{side}", mechanisms[link.name] == "relay")
        self.pairs_by_net: dict[str, list[Pair]] = {FABRIC: []}
        for link in topology.links.values():
            for pair in self._pairs(link):
                self.pairs_by_net.setdefault(pair.near.net, []).append(pair)

    def _bridges(self, topology: Topology) -> dict[str, Spot]:
        return {node.name: self._spot(FABRIC, f"b{at}") for at, node in enumerate(topology.of_kind("switch"))}

    def _port(self, end: Interface, label: str) -> str:
        """What the port of a switch is called; ``label`` is unlike that of any other."""
        return f"p{label}"

    def _spot(self, net: str, name: str) -> Spot:
        index = self._indices[net]
        self._indices[net] = index + 1
        return Spot(net, index, name)

    def _place(self, link: Link, end: Interface, label: str, relayed: bool) -> None:
        key = End(link.name, end.node)
        on_switch = end.node in self._switches
        self.ends[key] = self._spot(FABRIC, self._port(end, label)) if on_switch else self._spot(end.node, end.name)
        if relayed:
            self.ports[key] = self._spot(FABRIC, f"r{label}")

    def _pairs(self, link: Link) -> Iterator[Pair]:
        one, two = link.ends
        spots = [self.ends[End(link.name, end.node)] for end in link.ends]
        if End(link.name, one.node) not in self.ports:
            ordered = sorted(zip(spots, (one.mac, two.mac), strict=True), key=lambda each: each[0].net != FABRIC)
            (near, near_mac), (far, far_mac) = ordered
            yield Pair(near, far, near_mac, far_mac, link.mtu, f"link {link.name}")
            return
        for end, spot in zip(link.ends, spots, strict=True):
            port = self.ports[End(link.name, end.node)]
            yield Pair(port, spot, _another(end.mac), end.mac, link.mtu, f"link {link.name} at {end.node}")

    @cached_property
    def masters(self) -> Mapping[Spot, int]:
        """For each switch port the index of its bridge."""
        return {spot: self.bridges[end.node].index for end, spot in self.ends.items() if end.node in self.bridges}


def _another(mac: str) -> str:
    """A locally administered hardware address that differs from ``mac``; a relay's port never speaks for itself."""
    first, rest = mac.split(":", 1)
    return f"{int(first, 16) ^ 0x40 | 0x02:02x}:{rest}"
