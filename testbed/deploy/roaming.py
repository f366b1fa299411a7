"""Moving a host of an emulated network from one of its links to another: routes, there and back.

The host keeps its first address. Routers, and neighbours on its LANs, get a route to each address of the host that lies
elsewhere, by way of the one that lies on its link; the host itself sends everything that way.
"""

from __future__ import annotations

from collections.abc import Iterator

from testbed.substrate.base import Network
from testbed.topology.model import Link, Topology
from testbed.topology.walk import Address, Family, address

FAMILIES: tuple[Family, ...] = (4, 6)


class Roaming:
    """Puts moves in force on a live network."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def attach(self, node: str, link: str) -> None:
        """All traffic of ``node`` goes over ``link``; raises CommandFailed where a route is refused."""
        for name, lines in commands(self._network.topology, node, link).items():
            host = self._network.host(name)
            path = host.folder / f"routes-{node}-{link}"
            host.put("".join(f"{line}\n" for line in lines), path)
            host.run(["ip", "-batch", str(path)])


def commands(topology: Topology, node: str, link: str) -> dict[str, list[str]]:
    """What ``ip -batch`` is told on each host and router when ``node`` uses ``link``."""
    used, ways = topology.links[link], topology.ways
    lans = [each.name for each, _ in topology.interfaces[node]]
    found = {node: [line for family in FAMILIES for line in _own(topology, node, used, family)]}
    for other in topology.of_kind("host", "router"):
        if other.name != node and (other.kind == "router" or any(ways.on(other.name, lan) for lan in lans)):
            found[other.name] = [
                line for family in FAMILIES for line in _towards(topology, other.name, node, used, family)
            ]
    return {name: lines for name, lines in found.items() if lines}


def _addresses(topology: Topology, node: str, family: Family) -> dict[str, Address]:
    """The address of a node on each of its links."""
    ends = topology.interfaces[node]
    return {link.name: found for link, end in ends if (found := address(end, family)) is not None}


def _own(topology: Topology, node: str, used: Link, family: Family) -> Iterator[str]:
    """The routes of the host itself: its own LAN directly, all else through the router there."""
    own, gateway = _addresses(topology, node, family), topology.ways.gateway(node, family, used.name)
    if used.name not in own or gateway is None:
        return
    tail = f"dev {used.at(node).name} src {next(iter(own.values())).ip}"
    connected = "" if family == 4 else " metric 256"  # as the kernel's own route to a LAN, which this one replaces
    yield f"route replace {own[used.name].network} {tail}{connected}"
    for link, each in own.items():
        if link != used.name:
            yield f"route replace {each.network} via {gateway[1]} {tail}{connected}"
    everything = "0.0.0.0/0" if family == 4 else "::/0"
    routed = [str(each.destination) for each in topology.nodes[node].routes if each.destination.version == family]
    for destination in dict.fromkeys([everything, *routed]):
        yield f"route replace {destination} via {gateway[1]} {tail}"


def _towards(topology: Topology, other: str, node: str, used: Link, family: Family) -> Iterator[str]:
    """Routes of another machine to all addresses of the host, by the way to the one on its link, which comes first."""
    own, ways = _addresses(topology, node, family), topology.ways
    if used.name not in own:
        return
    here = own[used.name].ip
    if ways.on(other, used.name):
        out = next(end.name for link, end in topology.interfaces[other] if ways.is_same(link.name, used.name))
        yield f"route replace {here} dev {out}"
        del own[used.name]
        way = f"via {here} dev {out}"
    else:
        step = ways.step(other, here)
        if step is None:
            return
        way = f"via {step}"
    for each in own.values():
        yield f"route replace {each.ip} {way}"
