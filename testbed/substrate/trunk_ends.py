"""The two ends of a UDP tunnel's work: ports of stubs, where frames come from and go to, and the machines beyond."""

from __future__ import annotations

import socket
from contextlib import suppress
from errno import EINVAL, EIO, EMSGSIZE, EOPNOTSUPP
from fcntl import ioctl
from struct import Struct
from time import monotonic

from testbed.shaping.worker import arrived, packet_socket
from testbed.substrate.trunk_frames import Inbox, Outbox, Tally

# From <linux/udp.h>, <linux/in.h>, <linux/if_packet.h>, <linux/sockios.h> and <asm/socket.h>.
_SOL_UDP, _UDP_SEGMENT, _UDP_GRO = 17, 103, 104
_IP_MTU_DISCOVER = 10
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_SIOCGSTAMPNS = 0x80108907
_SO_TIMESTAMPNS, _SO_RCVBUFFORCE, _SO_SNDBUFFORCE = 35, 33, 32
_STAMP = Struct("qq")
_BUFFER_BYTES = 4 << 20
_DATAGRAMS_BYTES = 66_000
_TOGETHER_BYTES = 65_000  # what one buffer may hold
_AT_ONCE = 64  # datagrams that the kernel cuts out of one buffer at most

_CANNOT_CUT = (EINVAL, EIO, EMSGSIZE, EOPNOTSUPP)

Address = tuple[str, int]


class Port:
    """The port of one stub: where frames for one cut link come from and go to."""

    __slots__ = ("link", "number", "overflow", "peer", "sent", "socket", "stamp", "tally")

    def __init__(self, link: str, number: int, index: int, peer: Peer) -> None:
        self.link, self.number, self.peer = link, number, peer
        self.sent = 0
        self.overflow = 0  # frames that the kernel dropped as this process did not read them in time
        self.tally = Tally()
        self.socket = packet_socket(index)
        self.stamp = bytearray(_STAMP.size)

    def arrival(self) -> float:
        """When the frame just read came to the port, on the monotonic clock."""
        ioctl(self.socket, _SIOCGSTAMPNS, self.stamp, True)
        return arrived(self.stamp)

    def count_overflow(self) -> None:
        """Add what the kernel dropped since the last question."""
        self.overflow += Struct("II").unpack(self.socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))[1]


class Peer:
    """Another machine: its address, what waits to be sent there, what came of its bundles."""

    def __init__(self, name: str, address: Address, secret: bytes, piece: int) -> None:
        self.name, self.address, self.piece = name, address, piece
        self.outbox, self.inbox = Outbox(secret, piece), Inbox()
        self.cuts_in_kernel = True
        self.waiting: list[float] = []  # when the first frame of each burst arrived
        self.answers: list[tuple[float, float]] = []  # (round trip, held there), in seconds

    def flush(self, datagrams: socket.socket) -> None:
        """Send what waits."""
        pieces = self.outbox.datagrams()
        at_once = max(1, min(_AT_ONCE, _TOGETHER_BYTES // self.piece)) if self.cuts_in_kernel else 1
        for start in range(0, len(pieces), at_once):
            if len(pieces) - start == 1 or at_once == 1:
                self.send(datagrams, pieces[start])
            else:
                self._send_many(datagrams, pieces[start : start + at_once])

    def send(self, datagrams: socket.socket, piece: bytes) -> None:
        """Send one datagram."""
        with suppress(OSError):  # no way there now: a wire would lose it as well, and the other side counts it
            datagrams.sendto(piece, self.address)

    def _send_many(self, datagrams: socket.socket, pieces: list[bytes]) -> None:
        """One system call for datagrams of one size, which the kernel cuts; where it cannot, one call for each."""
        try:
            datagrams.sendmsg(pieces, [(_SOL_UDP, _UDP_SEGMENT, Struct("H").pack(self.piece))], 0, self.address)
        except OSError as error:
            self.cuts_in_kernel = error.errno not in _CANNOT_CUT
            for piece in pieces:
                self.send(datagrams, piece)


def prepare(datagrams: socket.socket) -> None:
    """Have the kernel hand over joined datagrams with the time of their arrival, and keep many of them."""
    datagrams.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, 0)  # a router on the way may cut what is too large for it
    datagrams.setsockopt(_SOL_UDP, _UDP_GRO, 1)
    datagrams.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    for forced, plain in ((_SO_RCVBUFFORCE, socket.SO_RCVBUF), (_SO_SNDBUFFORCE, socket.SO_SNDBUF)):
        try:
            datagrams.setsockopt(socket.SOL_SOCKET, forced, _BUFFER_BYTES)
        except PermissionError:  # an ordinary user gets up to the sysctls net.core.rmem_max and wmem_max
            datagrams.setsockopt(socket.SOL_SOCKET, plain, _BUFFER_BYTES)


def receive(datagrams: socket.socket) -> tuple[list[bytes], float, Address]:
    """What arrived in one go, when it did (monotonic seconds), and from whom; BlockingIOError if there is nothing."""
    data, notes, _, address = datagrams.recvmsg(_DATAGRAMS_BYTES, 128, socket.MSG_DONTWAIT)
    size, arrival = len(data), monotonic()
    for level, kind, note in notes:
        if level == _SOL_UDP and kind == _UDP_GRO:
            (size,) = Struct("i").unpack(note[:4])
        elif kind == _SO_TIMESTAMPNS:
            arrival = arrived(note[: _STAMP.size])
    pieces = [data] if size >= len(data) else [data[start : start + size] for start in range(0, len(data), size)]
    return pieces, arrival, address
