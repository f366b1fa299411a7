"""Raw route-netlink: the encoder and the socket that build a network in batches.

Libraries that keep an object for each interface cost several times what the kernel itself needs; here a network is a
list of :class:`Request`s, packed by hand and sent 64 at a time. Names and numbers are those of <linux/rtnetlink.h>.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_address

from testbed.errors import MachineLacks, TestbedError
from testbed.linux import entered

NEWLINK, DELLINK, NEWADDR, NEWROUTE, NEWNEIGH = 16, 17, 20, 24, 28
NEWQDISC, GETSTATS = 36, 94
_REQUEST, _ACK, _REPLACE, _CREATE, _DUMP = 1, 4, 0x100, 0x400, 0x300
_ERROR, _DONE, _OVERRUN = 2, 3, 4
_IFF_UP = 1
_HEADER = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")
_NESTED = 0x8000
_BATCH = 64


class KernelRefused(TestbedError):
    """The kernel refused a request; ``number`` is its errno."""

    def __init__(self, number: int, text: str) -> None:
        self.number = number
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class Request:
    """One message to the kernel; ``subject`` is what an error message calls the thing that it is about."""

    kind: int
    flags: int
    body: bytes
    subject: str


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute: length, kind, payload, padded to four bytes."""
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def number(kind: int, value: int) -> bytes:
    """An attribute that holds a 32-bit number."""
    return struct.pack("=HHI", 8, kind, value)


def text(kind: int, value: str) -> bytes:
    """An attribute that holds a zero-terminated string."""
    return attribute(kind, value.encode() + b"\0")


def _link(index: int, flags: int, *attributes: bytes) -> bytes:
    return _LINK.pack(socket.AF_UNSPEC, 0, index, flags, flags) + b"".join(attributes)


def _kind(name: str, data: bytes = b"") -> bytes:
    inner = text(1, name) + (attribute(2 | _NESTED, data) if data else b"")
    return attribute(18 | _NESTED, inner)


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
    peer = attribute(1 | _NESTED, _link(far.index, 0) + _described(far, mtu, group))
    body = _link(near.index, _IFF_UP if near.up else 0, _described(near, mtu, group), _kind("veth", peer))
    return Request(NEWLINK, _CREATE, body, subject)


def bridge(index: int, name: str, mac: str, subject: str) -> Request:
    """Make a learning switch without spanning tree, forward delay and multicast snooping, and raise it."""
    data = number(1, 0) + number(5, 0) + attribute(23, b"\0")
    hardware = attribute(1, bytes.fromhex(mac.replace(":", "")))
    body = _link(index, _IFF_UP, text(3, name), hardware, _kind("bridge", data))
    return Request(NEWLINK, _CREATE, body, subject)


def raise_link(index: int, subject: str, master: int | None = None) -> Request:
    """Raise an interface and, with ``master``, make it a port of that bridge."""
    attributes = () if master is None else (number(10, master),)
    return Request(NEWLINK, 0, _link(index, _IFF_UP, *attributes), subject)


def delete_group(group: int) -> Request:
    """Delete all interfaces of the link group that are in the socket's namespace, in one go."""
    return Request(DELLINK, 0, _link(0, 0, number(27, group)), f"link group {group}")


def device(index: int, name: str, kind: str, subject: str) -> Request:
    """Make an interface of a kind that needs no further description."""
    return Request(NEWLINK, _CREATE, _link(index, 0, text(3, name), _kind(kind)), subject)


def root_queue(index: int, kind: str, subject: str, options: bytes = b"") -> Request:
    """Make the queueing discipline ``kind`` what an interface sends through; ``options`` are the kind's own."""
    attributes = text(1, kind) + (attribute(2, options) if options else b"")
    head = struct.pack("=BxxxiIII", 0, index, 0, 0xFFFFFFFF, 0)
    return Request(NEWQDISC, _CREATE | _REPLACE, head + attributes, subject)


def address(index: int, interface: IPv4Interface | IPv6Interface, subject: str) -> Request:
    """Give an interface an address; usable at once, since duplicate detection is off."""
    family = socket.AF_INET if interface.version == 4 else socket.AF_INET6
    head = struct.pack("=BBBBI", family, interface.network.prefixlen, 0 if interface.version == 4 else 0x02, 0, index)
    body = head + attribute(2, interface.ip.packed) + attribute(1, interface.ip.packed)
    if isinstance(interface, IPv4Interface) and interface.network.prefixlen < 31:
        body += attribute(4, interface.network.broadcast_address.packed)
    return Request(NEWADDR, _CREATE | _REPLACE, body, subject)


def route(index: int, destination: IPv4Network | IPv6Network, gateway: str, subject: str) -> Request:
    """Send packets for ``destination`` to ``gateway`` through the interface ``index``."""
    family = socket.AF_INET if destination.version == 4 else socket.AF_INET6
    head = struct.pack("=BBBBBBBBI", family, destination.prefixlen, 0, 0, 254, 4, 0, 1, 0)
    body = head + attribute(1, destination.network_address.packed) + number(4, index)
    return Request(NEWROUTE, _CREATE | _REPLACE, body + attribute(5, ip_address(gateway).packed), subject)


def neighbour(index: int, ip: str, mac: str, subject: str) -> Request:
    """A permanent entry of the neighbour table; such entries do not count against the kernel's limit for all."""
    found = ip_address(ip)
    family = socket.AF_INET if found.version == 4 else socket.AF_INET6
    head = struct.pack("=BxxxIHBB", family, index, 0x80, 0, 0)
    body = head + attribute(1, found.packed) + attribute(2, bytes.fromhex(mac.replace(":", "")))
    return Request(NEWNEIGH, _CREATE | _REPLACE, body, subject)


class Netlink:
    """A netlink socket of one network namespace: the thread's, or ``net``'s. A context manager that closes it."""

    def __init__(self, net: int | None = None) -> None:
        with nullcontext() if net is None else entered(net):
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.setsockopt(270, 10, 1)  # errors come without a copy of the request ...
        self._socket.setsockopt(270, 11, 1)  # ... and with the kernel's own words
        self._socket.settimeout(60)
        self._sequence = 0

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket; what it made stays."""
        self._socket.close()

    def do(self, requests: Sequence[Request]) -> None:
        """Carry out the requests in their order; raises TestbedError for the first that the kernel refused."""
        for start in range(0, len(requests), _BATCH):
            self._batch(requests[start : start + _BATCH])

    def _batch(self, requests: Sequence[Request]) -> None:
        first, last = self._sequence + 1, self._sequence + len(requests)
        self._sequence = last
        self._socket.sendall(b"".join(self._packed(requests, first)))
        refused: TestbedError | None = None
        while True:  # only the last is acknowledged, but every failure is reported, in order
            for kind, sequence, body in self._messages():
                if kind != _ERROR or not first <= sequence <= last:
                    continue
                code = -struct.unpack_from("=i", body)[0]
                if code and refused is None:
                    refused = _refusal(code, requests[sequence - first].subject, _words(body))
                if sequence == last:
                    if refused is not None:
                        raise refused
                    return

    @staticmethod
    def _packed(requests: Sequence[Request], first: int) -> Iterator[bytes]:
        for offset, request in enumerate(requests):
            flags = _REQUEST | request.flags | (_ACK if offset == len(requests) - 1 else 0)
            yield _HEADER.pack(_HEADER.size + len(request.body), request.kind, flags, first + offset, 0)
            yield request.body + bytes(-len(request.body) % 4)

    def _messages(self) -> Iterator[tuple[int, int, bytes]]:
        data = self._socket.recv(1 << 18)
        at = 0
        while at + _HEADER.size <= len(data):
            length, kind, _, sequence, _ = _HEADER.unpack_from(data, at)
            yield kind, sequence, data[at + _HEADER.size : at + length]
            at += (length + 3) & ~3

    def statistics(self) -> dict[int, tuple[int, ...]]:
        """For each interface, by its index, the first eight counters of struct rtnl_link_stats64."""
        self._sequence += 1
        body = struct.pack("=BxxxII", 0, 0, 1)
        head = _HEADER.pack(_HEADER.size + len(body), GETSTATS, _REQUEST | _DUMP, self._sequence, 0)
        self._socket.sendall(head + body)
        found: dict[int, tuple[int, ...]] = {}
        while True:
            for kind, sequence, answer in self._messages():
                if sequence != self._sequence:
                    continue
                if kind in (_DONE, _ERROR):
                    return found
                (index,) = struct.unpack_from("=I", answer, 4)
                counted = [held for key, held in attributes(answer[12:]) if key == 1]
                found[index] = struct.unpack_from("=8Q", counted[0])


def _words(body: bytes) -> str:
    for kind, payload in attributes(body[20:]):
        if kind == 1:
            return payload.rstrip(b"\0").decode(errors="replace")
    return ""


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The attributes in ``data``, as kind and payload."""
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4:
            return
        yield kind & 0x3FFF, data[at + 4 : at + length]
        at += (length + 3) & ~3


def _refusal(code: int, subject: str, words: str) -> TestbedError:
    said = f"{os.strerror(code)} ({errno.errorcode.get(code, code)}{': ' + words if words else ''})"
    if code == errno.EOPNOTSUPP:
        return MachineLacks(f"a part of the kernel that {subject} needs: {said}", "See `testbed doctor`.")
    if code == errno.EXFULL:
        return KernelRefused(code, f"The kernel takes no more ports for {subject}: a Linux bridge has at most 1023.")
    return KernelRefused(code, f"The kernel refused {subject}: {said}.")
