"""Building a network in the kernel: namespaces, bridges, veth pairs, addresses and routes."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from testbed import linux
from testbed.errors import MachineLacks
from testbed.netlink import KernelRefused, Netlink, Request
from testbed.shaping.base import Port, Wire
from testbed.substrate import requests
from testbed.substrate.cgroups_hosts import HostGroup
from testbed.substrate.layout import FABRIC, Layout, Spot
from testbed.substrate.neighbours import neighbours
from testbed.substrate.requests import VethEnd
from testbed.topology.model import End, Interface, Node, Topology

_GROUP = 0x7E57  # the link group of all that is in the fabric, deleted in one go
_HOST_SETTINGS = {
    "ipv6/conf/default/accept_dad": "0",  # addresses are usable at once
    "ipv6/conf/default/accept_ra": "0",  # nobody asks for routers, nobody follows one
}
_ROUTER_SETTINGS = {**_HOST_SETTINGS, "ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1"}
FABRIC_SETTINGS = {"ipv6/conf/default/disable_ipv6": "1"}


Known = Sequence[tuple[Interface, Interface]]


class Spaces:
    """The namespaces of one network, by node (and FABRIC): descriptors of network and host name.

    ``groups`` are the control groups of the hosts that have limits.
    """

    def __init__(self) -> None:
        self.net: dict[str, int] = {}
        self.uts: dict[str, int] = {}
        self.groups: Mapping[str, HostGroup] = {}

    def make(self, name: str, settings: Mapping[str, str]) -> None:
        """In a thread that ends afterwards: new namespaces, with these settings below /proc/sys/net."""
        linux.unshare(linux.CLONE_NEWNET | linux.CLONE_NEWUTS)
        socket.sethostname(name or "fabric")
        put_in_force(settings)
        self.net[name] = linux.namespace("net")
        self.uts[name] = linux.namespace("uts")

    def christen(self, name: str) -> None:
        """In a thread that ends afterwards: a new host-name namespace alone; somebody else makes the network's."""
        linux.unshare(linux.CLONE_NEWUTS)
        socket.sethostname(name)
        self.uts[name] = linux.namespace("uts")

    def close(self) -> None:
        """Let go of all; the kernel removes a namespace that nobody holds, with everything in it."""
        for fd in (*self.net.values(), *self.uts.values()):
            os.close(fd)


def settings_of(node: Node) -> Mapping[str, str]:
    """What a host or router wants to be set below /proc/sys/net."""
    return _ROUTER_SETTINGS if node.kind == "router" else _HOST_SETTINGS


def put_in_force(settings: Mapping[str, str]) -> None:
    """Write settings below /proc/sys/net in the calling thread's network namespace."""
    for setting, value in settings.items():
        _write(f"/proc/sys/net/{setting}", value)


def _write(path: str, value: str) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        remedy = "Enable IPv6 in the kernel (boot without ipv6.disable=1)."
        raise MachineLacks(f"the kernel setting {path}", remedy) from error
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def make_spaces(topology: Topology, spaces: Spaces) -> None:
    """Make the namespaces of all hosts and routers, and the fabric."""
    wanted = [(node.name, settings_of(node)) for node in topology.of_kind("host", "router")]
    with ThreadPoolExecutor(2) as threads:  # the kernel makes two namespaces at a time, hardly more
        list(threads.map(lambda each: spaces.make(*each), [(FABRIC, FABRIC_SETTINGS), *wanted]))


def _end(spot: Spot, mac: str, here: str, layout: Layout, spaces: Spaces) -> VethEnd:
    if spot.net == here:
        return VethEnd(spot.index, spot.name, mac, master=layout.masters.get(spot), up=here == FABRIC)
    return VethEnd(spot.index, spot.name, mac, spaces.net[spot.net])


def _bridges(layout: Layout) -> Iterator[Request]:
    for at, (name, spot) in enumerate(layout.bridges.items()):
        mac = ":".join(f"{octet:02x}" for octet in (0x02, 0xFB, *at.to_bytes(4)))
        yield requests.bridge(spot.index, spot.name, mac, f"switch {name}")


def _pairs(here: str, layout: Layout, spaces: Spaces) -> Iterator[Request]:
    """The veth pairs whose near end is ``here``: a chosen index is only heeded in the namespace that asks for it."""
    pairs = layout.pairs_by_net[here]
    for pair in pairs:
        near = _end(pair.near, pair.near_mac, here, layout, spaces)
        far = replace(_end(pair.far, pair.far_mac, here, layout, spaces), up=False, master=None)
        yield requests.veth(near, far, pair.mtu, _GROUP, pair.subject)
    for pair in pairs:
        if pair.far.net == FABRIC:
            yield requests.raise_link(pair.far.index, pair.subject, layout.masters.get(pair.far))


def _stack(node: Node, topology: Topology, layout: Layout, known: Known) -> Iterator[Request]:
    """What is set up inside a host or router: loopback, interfaces, addresses, then routes and neighbours."""
    yield requests.raise_link(1, f"the loopback interface of {node.name}")
    indices = {}
    for link, end in topology.interfaces[node.name]:
        index = indices[end.name] = layout.ends[End(link.name, node.name)].index
        yield requests.raise_link(index, f"link {link.name} at {node.name}")
        for address in (end.ipv4, end.ipv6):
            if address is not None:
                yield requests.address(index, address, f"address {address} of {node.name}")
    for each in node.routes if node.kind == "host" or topology.routing.protocol == "static" else ():
        subject = f"route of {node.name} to {each.destination} through {each.gateway}"
        yield requests.route(indices[each.interface], each.destination, each.gateway, subject)
    for own, other in known:
        for address in (other.ipv4, other.ipv6):
            if address is not None:
                subject = f"neighbour {other.node} of {node.name}"
                yield requests.neighbour(indices[own.name], str(address.ip), other.mac, subject)


def build(
    topology: Topology, layout: Layout, spaces: Spaces, known: Mapping[str, Known] | None = None
) -> None:
    """Put all interfaces, addresses and routes in place; raises TestbedError for the first that the kernel refuses.

    ``known``: neighbours to be entered for good, where the topology alone does not say them.
    """
    for here in layout.pairs_by_net:
        with Netlink(spaces.net[here]) as maker:
            bridges = _bridges(layout) if here == FABRIC else ()
            maker.do([*bridges, *_pairs(here, layout, spaces)])
    known = neighbours(topology) if known is None else known
    for node in topology.of_kind("host", "router"):
        with Netlink(spaces.net[node.name]) as inside:
            inside.do(list(_stack(node, topology, layout, known.get(node.name, ()))))


def delete(spaces: Spaces) -> None:
    """Take away all links that touch the fabric, in one request; one by one would take a hundred times as long."""
    with Netlink(spaces.net[FABRIC]) as fabric:
        try:
            fabric.do([requests.delete_group(_GROUP)])
        except KernelRefused as refused:
            if refused.number != errno.ENODEV:  # no link touches the fabric
                raise


def wires(topology: Topology, layout: Layout, spaces: Spaces) -> Iterator[Wire]:
    """Each link as the shapers reach it."""
    def port(spot: Spot) -> Port:
        return Port(spaces.net[spot.net], spot.name, spot.index)

    for link in topology.links.values():
        one, two = (End(link.name, end.node) for end in link.ends)
        inner = (port(layout.ports[one]), port(layout.ports[two])) if one in layout.ports else None
        outer = (port(layout.ends[one]), port(layout.ends[two]))
        shapes = (link.ends[0].shape, link.ends[1].shape)
        yield Wire(link.name, (one.node, two.node), outer, inner, shapes, link.mtu)
