"""One process of the relay: reads frames from the inner ends of its links and sends them on when they are due.

Started by :class:`testbed.shaping.relay.Relay`, which talks to it over its standard input, a stream socket: one JSON
object a line each way. It ends when that socket closes. Imports are few on purpose: a relay starts in 50 ms.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from errno import ENETDOWN
from fcntl import ioctl
from heapq import heappop, heappush
from math import inf
from select import EPOLLIN, epoll, select
from struct import Struct
from time import monotonic, time
from typing import Any

from testbed.linux import CLONE_NEWNET, raise_descriptor_limit, setns
from testbed.seeds import stream
from testbed.shaping.frames import HEADER_BYTES, corrupted, on_the_wire
from testbed.shaping.priority import Precedence
from testbed.shaping.queue import Direction, Treatment
from testbed.shaping.serving import Latenesses, Orders

# From linux/if_packet.h, linux/if_ether.h and linux/sockios.h; the socket module lacks them.
_SOL_PACKET, _PACKET_STATISTICS, _PACKET_VNET_HDR, _PACKET_IGNORE_OUTGOING = 263, 6, 15, 23
_ETH_P_ALL = 3
_SO_RCVBUFFORCE = 33
_SIOCGSTAMPNS = 0x80108907
_FRAME_BYTES = 66_000  # a segmentation-offload frame holds up to 64 KiB
_BUFFER_BYTES = 4 << 20
_BURST = 16  # frames read from one port before the others have their turn

_STAMP = Struct("qq")


class Port:
    """One inner end of a link: frames that its node sends arrive here and leave through ``beyond``."""

    __slots__ = ("_stamp", "beyond", "direction", "link", "node", "overflow", "planned", "socket")

    def __init__(self, link: str, node: str, index: int, direction: Direction[bytes]) -> None:
        self.link, self.node, self.direction = link, node, direction
        self.planned = inf  # when the agenda looks at this port next; other entries of it there are stale
        self.overflow = 0  # frames that the kernel dropped as this process did not read them in time
        self.socket = packet_socket(index)
        self.beyond = self
        self._stamp = bytearray(_STAMP.size)

    def arrival(self) -> float:
        """When, on the monotonic clock, the frame just read came to the interface: this process may have woken late."""
        ioctl(self.socket, _SIOCGSTAMPNS, self._stamp, True)
        return arrived(self._stamp)

    def count_overflow(self) -> None:
        """Add what the kernel dropped since the last question."""
        self.overflow += Struct("II").unpack(self.socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))[1]


def arrived(stamp: bytes | bytearray) -> float:
    """The monotonic time of a kernel's stamp, which is by the wall clock."""
    seconds, nanoseconds = _STAMP.unpack(stamp)
    age = time() - seconds - nanoseconds * 1e-9
    return monotonic() - age if 0.0 < age < 1.0 else monotonic()  # a stepped wall clock must not move packets


def packet_socket(index: int) -> socket.socket:
    """What reads and writes the frames of one interface, each with its notes on offload; see ``frames.py``."""
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    opened.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
    opened.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    try:
        opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
    except PermissionError:  # an ordinary user gets up to the sysctl net.core.rmem_max
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
    with suppress(FileNotFoundError):  # the first question, which has no answer yet, makes the kernel note the times
        ioctl(opened, _SIOCGSTAMPNS, bytearray(_STAMP.size), True)
    opened.bind((socket.if_indextoname(index), _ETH_P_ALL))
    return opened


class Worker:
    """The event loop over all ports of this process."""

    def __init__(self, control: socket.socket) -> None:
        self._epoll = epoll()
        self._ports: dict[int, Port] = {}
        self._named: dict[tuple[str, str], Port] = {}
        self._agenda: list[tuple[float, int]] = []  # (when, descriptor of the port) of the next packet of each port
        self._late = Latenesses()
        self._precedence = Precedence(monotonic())
        verbs: dict[str, Callable[..., Any]] = {
            "open": self._add_links, "shape": self._shape, "connect": self._connect,
            "counters": self._counters, "lateness": self._late.told,
        }  # fmt: skip
        self._orders = Orders(control, verbs, _BUFFER_BYTES)
        self._epoll.register(self._orders.fileno(), EPOLLIN)

    def run(self) -> None:
        """Relay until the control socket closes."""
        poll, wait_in, precedence = self._epoll.poll, [self._epoll.fileno()], self._precedence
        while self._orders.open:
            pause = self._deliver()
            now = monotonic()
            precedence.review(now)
            events = poll(0, 64)
            if not events and pause > 0:
                select(wait_in, (), (), min(pause, 60.0))  # microseconds, where epoll would round to milliseconds
                precedence.rested_s += monotonic() - now
                continue
            for descriptor, _ in events:
                port = self._ports.get(descriptor)
                if port is None:
                    self._orders.obey()
                else:
                    self._receive(descriptor, port)

    def close(self) -> None:
        """Close all ports, many at a time: the kernel lets 10 ms and more pass over each, but over all at once."""
        from concurrent.futures import ThreadPoolExecutor  # not at the top: the relay has to start quickly

        with ThreadPoolExecutor(64) as threads:
            list(threads.map(lambda port: port.socket.close(), self._ports.values()))

    def _receive(self, descriptor: int, port: Port) -> None:
        direction, incoming = port.direction, port.socket
        for _ in range(_BURST):
            try:
                frame = incoming.recv(_FRAME_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as trouble:
                if trouble.errno != ENETDOWN:
                    raise
                return
            size, segments = on_the_wire(frame) if frame[1] else (len(frame) - HEADER_BYTES, 1)
            if direction.passes:
                self._send(port, frame)
                direction.passed(size, segments)
                continue
            direction.take(port.arrival(), frame, size, segments)
            if direction.next_due < port.planned:
                self._plan(descriptor, port)

    def _deliver(self) -> float:
        """Send what is due; the seconds until the next packet is."""
        agenda = self._agenda
        while agenda:
            now = monotonic()
            when, descriptor = agenda[0]
            if when > now:
                return when - now
            heappop(agenda)
            port = self._ports[descriptor]
            if when != port.planned:
                continue
            for due, frame in port.direction.due(now):
                self._send(port, frame)
                self._late.note(monotonic() - due)
            self._plan(descriptor, port)
        return inf

    def _plan(self, descriptor: int, port: Port) -> None:
        port.planned = port.direction.next_due
        if port.planned < inf:
            heappush(self._agenda, (port.planned, descriptor))

    def _send(self, port: Port, frame: bytes) -> None:
        try:
            port.beyond.socket.send(frame)
        except OSError:  # the interface is down, or no longer takes so large a frame: a wire would lose it as well
            port.direction.dropped_down += 1

    def _add_links(self, netns: int, seed: int, links: list[dict[str, Any]]) -> dict[str, str]:
        setns(netns, CLONE_NEWNET)
        for link in links:
            both = [self._add_port(seed, link, side) for side in (0, 1)]
            both[0].beyond, both[1].beyond = both[1], both[0]
        gc.freeze()
        return {"priority": self._precedence.granted}

    def _add_port(self, seed: int, link: dict[str, Any], side: int) -> Port:
        name, node = link["link"], link["nodes"][side]
        rng = stream(seed, "link", name, node)
        port = Port(name, node, link["indexes"][side], Direction(Treatment(**link["shapes"][side]), rng, corrupted))
        self._named[name, node] = self._ports[port.socket.fileno()] = port
        self._epoll.register(port.socket.fileno(), EPOLLIN)
        return port

    def _shape(self, link: str, node: str, shape: dict[str, Any]) -> None:
        port = self._named[link, node]
        port.direction.reshape(monotonic(), Treatment(**shape))
        self._plan(port.socket.fileno(), port)

    def _connect(self, link: str, nodes: list[str], up: bool) -> None:
        for node in nodes:
            self._named[link, node].direction.connect(up)

    def _counters(self) -> list[tuple[Any, ...]]:
        rows = []
        for port in self._named.values():
            port.count_overflow()
            way = port.direction
            rows.append((port.link, port.node, way.packets, way.size_bytes, way.dropped_queue, way.dropped_loss,
                         way.dropped_down, port.overflow))  # fmt: skip
        return rows


def main() -> None:
    """Serve the relay that holds the other end of standard input."""
    raise_descriptor_limit()
    gc.disable()  # no cycles are made while relaying, and a collection would delay packets
    worker = Worker(socket.socket(fileno=os.dup(sys.stdin.fileno())))
    worker.run()
    worker.close()


if __name__ == "__main__":
    main()
