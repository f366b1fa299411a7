"""What the kernel is asked for when a network is built: interfaces, bridges, addresses, routes, neighbours.

Pure encoders; names and numbers are those of <linux/rtnetlink.h>. :class:`testbed.netlink.Netlink` sends them.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_address

from testbed.netlink import CREATE, NESTED, REPLACE, Request, attribute, number, text

_NEW_LINK, _DELETE_LINK, _NEW_ADDRESS, _NEW_ROUTE, _DELETE_ROUTE, _NEW_NEIGHBOUR = 16, 17, 20, 24, 25, 28
_IFF_UP = 1
_LINK = struct.Struct("=BxHiII")


def _link(index: int, flags: int, *attributes: bytes) -> bytes:
    return _LINK.pack(socket.AF_UNSPEC, 0, index, flags, flags) + b"".join(attributes)


def _kind(name: str, data: bytes = b"") -> bytes:
    inner = text(1, name) + (attribute(2 | NESTED, data) if data else b"")
    return attribute(18 | NESTED, inner)


@dataclass(frozen=True, slots=True)
class VethEnd:
    """One end of a veth pair, before it exists: index and name in its namespace, hardware address, namespace.

    ``net`` is None for the namespace of the socket that makes the pair; only that end can have a ``master`` (the index
    of its bridge) and be ``up`` from the start: the kernel refuses to raise an end whose peer does not exist yet.
    """

    index: int
    name: str
    mac: str
    net: int | None = None
    master: int | None = None
    up: bool = False


def _described(end: VethEnd, mtu: int, group: int) -> bytes:
    parts = [text(3, end.name), number(4, mtu), number(27, group), number(31, 1), number(32, 1)]
    parts.append(attribute(1, bytes.fromhex(end.mac.replace(":", ""))))
    if end.net is not None:
        parts.append(number(28, end.net))
    if end.master is not None:
        parts.append(number(10, end.master))
    return b"".join(parts)


def veth(near: VethEnd, far: VethEnd, mtu: int, group: int, subject: str) -> Request:
    """Make a veth pair; both ends carry an explicit index, so that nothing has to be asked afterwards."""
    peer = attribute(1 | NESTED, _link(far.index, 0) + _described(far, mtu, group))
    body = _link(near.index, _IFF_UP if near.up else 0, _described(near, mtu, group), _kind("veth", peer))
    return Request(_NEW_LINK, CREATE, body, subject)


def bridge(index: int, name: str, mac: str, subject: str) -> Request:
    """Make a learning switch without spanning tree, forward delay and multicast snooping, and raise it."""
    data = number(1, 0) + number(5, 0) + attribute(23, b"\0")
    hardware = attribute(1, bytes.fromhex(mac.replace(":", "")))
    body = _link(index, _IFF_UP, text(3, name), hardware, _kind("bridge", data))
    return Request(_NEW_LINK, CREATE, body, subject)


def raise_link(index: int, subject: str, master: int | None = None) -> Request:
    """Raise an interface and, with ``master``, make it a port of that bridge."""
    attributes = () if master is None else (number(10, master),)
    return Request(_NEW_LINK, 0, _link(index, _IFF_UP, *attributes), subject)


def delete_group(group: int) -> Request:
    """Delete all interfaces of the link group that are in the socket's namespace, in one go."""
    return Request(_DELETE_LINK, 0, _link(0, 0, number(27, group)), f"link group {group}")


def device(index: int, name: str, kind: str, subject: str) -> Request:
    """Make an interface of a kind that needs no further description."""
    return Request(_NEW_LINK, CREATE, _link(index, 0, text(3, name), _kind(kind)), subject)


def address(index: int, interface: IPv4Interface | IPv6Interface, subject: str) -> Request:
    """Give an interface an address; usable at once, since duplicate detection is off."""
    family = socket.AF_INET if interface.version == 4 else socket.AF_INET6
    head = struct.pack("=BBBBI", family, interface.network.prefixlen, 0 if interface.version == 4 else 0x02, 0, index)
    body = head + attribute(2, interface.ip.packed) + attribute(1, interface.ip.packed)
    if isinstance(interface, IPv4Interface) and interface.network.prefixlen < 31:
        body += attribute(4, interface.network.broadcast_address.packed)
    return Request(_NEW_ADDRESS, CREATE | REPLACE, body, subject)


def route(index: int, destination: IPv4Network | IPv6Network, gateway: str, subject: str) -> Request:
    """Send packets for ``destination`` to ``gateway`` through the interface ``index``."""
    family = socket.AF_INET if destination.version == 4 else socket.AF_INET6
    head = struct.pack("=BBBBBBBBI", family, destination.prefixlen, 0, 0, 254, 4, 0, 1, 0)
    body = head + attribute(1, destination.network_address.packed) + number(4, index)
    return Request(_NEW_ROUTE, CREATE | REPLACE, body + attribute(5, ip_address(gateway).packed), subject)


def delete_route(index: int, destination: IPv4Network | IPv6Network, gateway: str, subject: str) -> Request:
    """Take away what :func:`route` with the same arguments has put there."""
    return Request(_DELETE_ROUTE, 0, route(index, destination, gateway, subject).body, subject)


def neighbour(index: int, ip: str, mac: str, subject: str) -> Request:
    """A permanent entry of the neighbour table; such entries do not count against the kernel's limit for all."""
    found = ip_address(ip)
    family = socket.AF_INET if found.version == 4 else socket.AF_INET6
    head = struct.pack("=BxxxIHBB", family, index, 0x80, 0, 0)
    body = head + attribute(1, found.packed) + attribute(2, bytes.fromhex(mac.replace(":", "")))
    return Request(_NEW_NEIGHBOUR, CREATE | REPLACE, body, subject)
