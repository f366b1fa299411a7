"""What stands in the routing tables of a network namespace, asked of the kernel or told by it when it changes."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address

from testbed.linux import entered
from testbed.netlink import Netlink, attributes

_NEW, _DELETED, _GET = 24, 25, 26
_DST, _OIF, _GATEWAY = 1, 4, 5
_MAIN, _UNICAST, _BY_KERNEL = 254, 1, 2
_GROUPS = 0x40 | 0x400  # changes of IPv4 and of IPv6 routes
_RTMSG = struct.Struct("=BBBBBBBBI")
_HEADER = struct.Struct("=IHHII")



@dataclass(frozen=True, slots=True)
class KernelRoute:
    """One route of the main table: to a LAN or through a gateway; ``interface`` is an index."""

    destination: IPv4Network | IPv6Network
    gateway: str
    interface: int


def routes(net: int) -> dict[IPv4Network | IPv6Network, KernelRoute]:
    """The routes in a namespace that somebody put there beside the kernel, by destination."""
    with Netlink(net) as netlink:
        body = _RTMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0, 0, 0, 0, 0)
        found = (parsed(answer) for answer in netlink.dump(_GET, body))
        return {route.destination: route for route in found if route is not None}


def parsed(body: bytes) -> KernelRoute | None:
    """The route in a message of the kernel; None for what is not a unicast route of the main table, or its own."""
    family, length, _, _, table, protocol, _, kind, _ = _RTMSG.unpack_from(body)
    if table != _MAIN or kind != _UNICAST or protocol == _BY_KERNEL:
        return None
    found = dict(attributes(body[_RTMSG.size :]))
    size = 4 if family == socket.AF_INET else 16
    address = int.from_bytes(found.get(_DST, b"").ljust(size, b"\0"))
    destination = IPv4Network((address, length)) if size == 4 else IPv6Network((address, length))
    gateway = str(ip_address(found[_GATEWAY])) if _GATEWAY in found else ""
    interface = struct.unpack("=I", found[_OIF])[0] if _OIF in found else 0
    return KernelRoute(destination, gateway, interface)


class Changes:
    """A socket on which the kernel tells each change of a namespace's routes; select on ``fileno``."""

    def __init__(self, net: int) -> None:
        with entered(net):
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._socket.bind((0, _GROUPS))
        self._socket.setblocking(False)

    def fileno(self) -> int:
        """What becomes readable with a change."""
        return self._socket.fileno()

    def read(self) -> Iterator[tuple[bool, KernelRoute]]:
        """What changed since the last call, in order: whether it came (or went), and the route."""
        while True:
            try:
                data = self._socket.recv(1 << 18)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # some changes were not told, since there were too many at once
                    raise
                continue
            at = 0
            while at + _HEADER.size <= len(data):
                length, kind, _, _, _ = _HEADER.unpack_from(data, at)
                route = parsed(data[at + _HEADER.size : at + length]) if kind in (_NEW, _DELETED) else None
                if route is not None:
                    yield kind == _NEW, route
                at += (length + 3) & ~3

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()
