"""The smallest route-netlink conversation that shaping needs: batches of messages, and statistics."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator, Sequence

from testbed.linux import entered
from testbed.shaping.tc import Message

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_REQUEST, _ACKNOWLEDGE, _DUMP = 1, 4, 0x300
_ERROR, _DONE = 2, 3
_GET_QDISC, _GET_STATS = 38, 94
_BATCH = 64


class Session:
    """A netlink socket in one network namespace; a context manager that closes it."""

    def __init__(self, netns: int) -> None:
        with entered(netns):
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.settimeout(20.0)
        self._sequence = 0

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def do(self, messages: Sequence[Message]) -> None:
        """Carry out all messages, in order; the first one refused is raised as OSError after the batch."""
        for start in range(0, len(messages), _BATCH):
            batch = messages[start : start + _BATCH]
            self._socket.send(b"".join(self._packed(m.kind, m.flags | _ACKNOWLEDGE, m.body) for m in batch))
            refused = [number for _ in batch if (number := self._acknowledged())]
            if refused:
                raise OSError(refused[0], os.strerror(refused[0]))

    def drops(self) -> dict[int, int]:
        """Packets dropped by the root qdisc of each interface, by the interface's index."""
        found = {}
        for body in self._dump(_GET_QDISC, bytes(20)):
            _, index, _, parent, _ = struct.unpack_from("=BxxxiIII", body)
            statistics = _attributes(_attributes(body[20:]).get(7, b""))
            if parent == 0xFFFFFFFF and 3 in statistics:
                found[index] = struct.unpack_from("=III", statistics[3])[2]
        return found

    def sent(self) -> dict[int, tuple[int, int]]:
        """Packets and bytes that left each interface, by the interface's index."""
        found = {}
        for body in self._dump(_GET_STATS, struct.pack("=BxxxII", 0, 0, 1)):
            (index,) = struct.unpack_from("=I", body, 4)
            numbers = struct.unpack_from("=4Q", _attributes(body[12:])[1])  # packets in and out, bytes in and out
            found[index] = (numbers[1], numbers[3])
        return found

    def _packed(self, kind: int, flags: int, body: bytes) -> bytes:
        self._sequence += 1
        return _HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | flags, self._sequence, 0) + body

    def _acknowledged(self) -> int:
        """The error number, 0 for none, of the next acknowledgement (one a datagram)."""
        answer = self._socket.recv(1 << 16)
        return -int(struct.unpack_from("=i", answer, _HEADER.size)[0])

    def _dump(self, kind: int, body: bytes) -> Iterator[bytes]:
        self._socket.send(self._packed(kind, _DUMP, body))
        while True:
            data, at = self._socket.recv(1 << 18), 0
            while at < len(data):
                length, answer, *_ = _HEADER.unpack_from(data, at)
                if answer in (_DONE, _ERROR):
                    return
                yield data[at + _HEADER.size : at + length]
                at += length + 3 & ~3


def _attributes_of(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(data):
        length, number = struct.unpack_from("=HH", data, at)
        yield number & 0x3FFF, data[at + 4 : at + length]
        at += max(length, 4) + 3 & ~3


def _attributes(data: bytes) -> dict[int, bytes]:
    return dict(_attributes_of(data))
