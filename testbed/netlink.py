"""Raw route-netlink: requests packed by hand, and the socket that sends them in batches.

Libraries that keep an object for each interface cost several times what the kernel itself needs; here a network is a
list of :class:`Request`s, sent 64 at a time. What they say is written where it belongs: interfaces, addresses and
routes in ``substrate/requests.py``, queueing disciplines in ``shaping/tc.py``.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from testbed.errors import MachineLacks, TestbedError
from testbed.linux import entered

CREATE, REPLACE = 0x400, 0x100
NESTED = 0x8000
_REQUEST, _ACK, _DUMP = 1, 4, 0x300
_ERROR, _DONE = 2, 3
_GET_STATISTICS = 94
_HEADER = struct.Struct("=IHHII")
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


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The attributes in ``data``, as kind and payload."""
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4:
            return
        yield kind & 0x3FFF, data[at + 4 : at + length]
        at += (length + 3) & ~3


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

    def dump(self, kind: int, body: bytes) -> Iterator[bytes]:
        """What the kernel lists in answer to a question of this kind, each without its header."""
        self._sequence += 1
        head = _HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | _DUMP, self._sequence, 0)
        self._socket.sendall(head + body)
        while True:
            for answer, sequence, found in self._messages():
                if sequence != self._sequence:
                    continue
                if answer in (_DONE, _ERROR):
                    return
                yield found

    def statistics(self) -> dict[int, tuple[int, ...]]:
        """For each interface, by its index, the first eight counters of struct rtnl_link_stats64."""
        found: dict[int, tuple[int, ...]] = {}
        for answer in self.dump(_GET_STATISTICS, struct.pack("=BxxxII", 0, 0, 1)):
            (index,) = struct.unpack_from("=I", answer, 4)
            found[index] = struct.unpack_from("=8Q", dict(attributes(answer[12:]))[1])
        return found


def _words(body: bytes) -> str:
    for kind, payload in attributes(body[20:]):
        if kind == 1:
            return payload.rstrip(b"\0").decode(errors="replace")
    return ""


def _refusal(code: int, subject: str, words: str) -> TestbedError:
    said = f"{os.strerror(code)} ({errno.errorcode.get(code, code)}{': ' + words if words else ''})"
    if code == errno.EOPNOTSUPP:
        return MachineLacks(f"a part of the kernel that {subject} needs: {said}", "See `testbed doctor`.")
    if code == errno.EXFULL:
        return KernelRefused(code, f"The kernel takes no more ports for {subject}: a Linux bridge has at most 1023.")
    return KernelRefused(code, f"The kernel refused {subject}: {said}.")
