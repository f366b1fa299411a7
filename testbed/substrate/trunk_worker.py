"""The UDP tunnel of one machine: frames from the stubs of its part go to other machines, and theirs come out here.

Started by :class:`testbed.substrate.trunk.Tunnel`, which talks to it over its standard input, a stream socket: one JSON
object a line each way. It ends when that socket closes. The UDP socket was opened before, in the machine's network.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
from collections.abc import Callable
from errno import ENETDOWN
from functools import partial
from select import EPOLLIN, epoll, select
from statistics import median
from time import monotonic
from typing import Any

from testbed.linux import CLONE_NEWNET, raise_descriptor_limit, setns
from testbed.shaping.priority import Precedence
from testbed.shaping.serving import Latenesses, Orders
from testbed.substrate.trunk_ends import Address, Peer, Port, prepare, receive
from testbed.substrate.trunk_frames import HEAD, PROBE, records

_FRAME_BYTES = 66_000
_BURST = 16  # frames read from one port, and buffers from the network, before others have their turn
_FULL_BYTES = 48 << 10  # a bundle of this size does not wait for more
_ANSWER_S = 0.25  # what a question to another machine may take
_BETWEEN_S = 0.01  # between two questions: an idle process is slower to wake, and that is what is asked for


class Worker:
    """The event loop over the UDP socket and all ports."""

    def __init__(self, control: socket.socket, datagrams: socket.socket) -> None:
        self._udp = datagrams
        prepare(datagrams)
        self._epoll = epoll()
        self._epoll.register(datagrams.fileno(), EPOLLIN)
        self._secret = b""
        self._peers: dict[Address, Peer] = {}
        self._ports: dict[int, Port] = {}  # by descriptor
        self._links: dict[tuple[Address, int], Port] = {}
        self._dirty: dict[str, Peer] = {}
        self._late = Latenesses()
        self._refused = 0  # datagrams of strangers, or without the secret
        self._precedence = Precedence(monotonic())
        verbs: dict[str, Callable[..., Any]] = {
            "peers": self._add_peers, "links": self._add_links, "measure": self._measure,
            "counters": self._counters, "lateness": self._late.told,
        }  # fmt: skip
        self._orders = Orders(control, verbs, _FRAME_BYTES)
        self._epoll.register(self._orders.fileno(), EPOLLIN)

    def run(self) -> None:
        """Carry frames until the control socket closes."""
        control, udp, precedence = self._orders.fileno(), self._udp.fileno(), self._precedence
        while self._orders.open:
            now = monotonic()
            precedence.review(now)
            events = self._epoll.poll(0, 64)
            if not events:
                events = self._epoll.poll(60, 64)
                precedence.rested_s += monotonic() - now
            for descriptor, _ in events:
                if descriptor == control:
                    self._orders.obey()
                elif descriptor == udp:
                    self._from_peers()
                else:
                    self._from_port(self._ports[descriptor])
            for peer in self._dirty.values():
                self._flush(peer)
            self._dirty.clear()

    def _from_port(self, port: Port) -> None:
        peer, incoming = port.peer, port.socket
        for turn in range(_BURST):
            try:
                frame = incoming.recv(_FRAME_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError as trouble:
                if trouble.errno != ENETDOWN:
                    raise
                break
            if not turn:  # it has waited longest
                peer.waiting.append(port.arrival())
            peer.outbox.add(port.number, port.sent, frame)
            port.sent = port.sent + 1 & 0xFFFFFFFF
            if peer.outbox.size >= _FULL_BYTES:
                self._flush(peer)
        if peer.outbox.size:
            self._dirty[peer.name] = peer

    def _flush(self, peer: Peer) -> None:
        if not peer.outbox.size:
            return
        peer.flush(self._udp)
        now = monotonic()
        for arrival in peer.waiting:
            self._late.note(now - arrival)
        peer.waiting.clear()

    def _from_peers(self) -> None:
        for _ in range(_BURST):
            try:
                datagrams, arrival, address = receive(self._udp)
            except BlockingIOError:
                return
            peer = self._peers.get(address)
            for datagram in datagrams:
                if peer is not None and len(datagram) >= HEAD.size and datagram.startswith(self._secret):
                    self._take(peer, datagram, arrival)
                else:
                    self._refused += 1

    def _take(self, peer: Peer, datagram: bytes, arrival: float) -> None:
        _, bundle, piece, pieces = HEAD.unpack_from(datagram)
        if not pieces:
            self._answer(peer, datagram, arrival)
            return
        whole = peer.inbox.take(bundle, piece, pieces, datagram[HEAD.size :])
        if whole is None:
            return
        for link, number, frame in records(whole):
            port = self._links.get((peer.address, link))
            if port is not None:  # else its part is not up yet
                port.tally.note(number)
                self._deliver(port, frame)
        self._late.note(monotonic() - arrival)

    @staticmethod
    def _deliver(port: Port, frame: bytes) -> None:
        try:
            port.socket.send(frame)
        except OSError:  # the port is down, or takes no so large a frame: a wire would lose it as well
            port.tally.missing += 1

    def _answer(self, peer: Peer, datagram: bytes, arrival: float) -> None:
        is_answer, asked, held = PROBE.unpack_from(datagram, HEAD.size)
        now = monotonic()
        if is_answer:
            peer.answers.append((arrival - asked - held, now - arrival))
        else:
            peer.send(self._udp, self._probe(1, asked, now - arrival))

    def _probe(self, is_answer: int, asked: float, held: float) -> bytes:
        return HEAD.pack(self._secret, 0, 0, 0) + PROBE.pack(is_answer, asked, held)

    def _add_peers(self, secret: str, peers: list[tuple[str, str, int, int]]) -> dict[str, str]:
        self._secret = bytes.fromhex(secret)
        for name, host, port, piece in peers:
            self._peers[host, port] = Peer(name, (host, port), self._secret, piece)
        return {"priority": self._precedence.granted}

    def _add_links(self, netns: str, links: list[tuple[str, int, int, str]]) -> dict[str, int]:
        named = {peer.name: peer for peer in self._peers.values()}
        space = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
        setns(space, CLONE_NEWNET)
        os.close(space)
        for link, number, index, peer in links:
            port = Port(link, number, index, named[peer])
            self._ports[port.socket.fileno()] = self._links[named[peer].address, number] = port
            self._epoll.register(port.socket.fileno(), EPOLLIN)
        gc.freeze()
        return {"links": len(links)}

    def _measure(self, peer: str, count: int) -> dict[str, Any]:
        """Ask another machine so many times, one by one: medians of the way there and back, and of turning round."""
        asked = next(each for each in self._peers.values() if each.name == peer)
        asked.answers.clear()
        for _ in range(count):
            before = len(asked.answers)
            self._serve_for(_BETWEEN_S)
            asked.send(self._udp, self._probe(0, monotonic(), 0.0))
            self._serve_for(_ANSWER_S, partial(_more_than, before, asked.answers))
        if not asked.answers:
            return {"answers": 0}
        trips, turns = zip(*asked.answers, strict=True)
        return {"answers": len(trips), "trip_s": max(0.0, median(trips)), "turn_s": max(0.0, median(turns))}

    def _serve_for(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Take what comes from other machines, for so long or until that is true."""
        deadline = monotonic() + seconds
        while not until() and (left := deadline - monotonic()) > 0:
            select([self._udp], (), (), left)
            self._from_peers()

    def _counters(self) -> dict[str, Any]:
        for port in self._ports.values():
            port.count_overflow()
        rows = [(port.link, port.overflow, port.tally.missing) for port in self._ports.values()]
        return {"links": rows, "refused": self._refused}


def _more_than(count: int, found: list[tuple[float, float]]) -> bool:
    return len(found) > count


def main() -> None:
    """Serve the tunnel that holds the other end of standard input; the first argument is the UDP socket's number."""
    raise_descriptor_limit()
    gc.disable()  # no cycles are made while frames are carried, and a collection would delay them
    worker = Worker(socket.socket(fileno=os.dup(sys.stdin.fileno())), socket.socket(fileno=int(sys.argv[1])))
    worker.run()


if __name__ == "__main__":
    main()
