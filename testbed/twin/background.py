"""Background traffic in virtual time: packets at the times of the same schedule, TCP as transfers without end.

What costs too much to reckon is bounded, and :meth:`TwinBackground.doubts` says so: no flow of iperf3 gets more than
``MOST_RATE``, and datagrams that come very fast travel in small trains.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from math import ceil
from typing import Protocol

from testbed.background import iperf, schedule
from testbed.background.flows import Flow, Note, Outcome, described, entries
from testbed.background.spec import HEADERS, Iperf3, Packets
from testbed.twin.loop import VirtualLoop
from testbed.twin.network import TwinNetwork
from testbed.twin.train import Train
from testbed.twin.transport import Connection

MOST_RATE = 1e9  # bits/s that a flow of iperf3 offers, whatever was asked for
MOST_TRAINS = 5000.0  # a second, of one flow of datagrams
BUFFER = 4 << 20  # bytes that a TCP connection takes from a program and that have not arrived (Linux: tcp_wmem)
_RESET = HEADERS["tcp"]  # what a host answers to a segment that nobody waits for


class _Stream(Protocol):
    """One flow under way."""

    outcome: Outcome

    def begin(self) -> None:
        """Send from now on."""

    def end(self) -> None:
        """Send nothing any more."""

    def settle(self) -> None:
        """Complete the outcome."""


class _Datagrams:
    """A flow whose packets nobody sends again: each at its time, counted where it arrives."""

    def __init__(self, network: TwinNetwork, loop: VirtualLoop, flow: Flow, seed: int) -> None:
        self.outcome = Outcome(flow)
        self._network, self._loop = network, loop
        self._protocol, (self._source, self._target) = flow.what.protocol, flow.ways
        self._header = HEADERS[self._protocol]
        self._counts_frames = isinstance(flow.what, Packets)
        self._due = schedule.packets(flow, seed) if isinstance(flow.what, Packets) else _paced(flow, flow.what)
        self._together = _together(flow.what) if isinstance(flow.what, Iperf3) else 1
        self._start = 0.0
        self._sent = self._sent_bytes = self._came = 0
        self._came_bytes = 0.0

    def begin(self) -> None:
        """Send the first when it is due; the schedule counts from the start of the workload."""
        self._start = self._loop.now - self.outcome.flow.begin
        self._await(next(self._due, None))

    def _await(self, packet: tuple[float, int] | None) -> None:
        if packet is not None:
            self._loop.at(self._start + packet[0], self._send, packet[1])

    def _send(self, size: int) -> None:
        if self.outcome.ended is not None:
            return
        wire, count = size + self._header, self._together
        self._sent += count
        self._sent_bytes += count * (wire if self._counts_frames else size)
        self._network.throw(self._source, self._target, count, wire, self)
        self._await(next(self._due, None))

    def arrive(self, train: Train) -> None:
        """Some are there; the host may answer."""
        self._came += train.count
        self._came_bytes += train.wire - (0 if self._counts_frames else self._header * train.count)
        if self._protocol == "icmp":
            self._network.throw(self._target, self._source, train.count, train.head, _NOBODY)
        elif self._protocol == "tcp":
            self._network.throw(self._target, self._source, train.count, _RESET, _NOBODY)

    def end(self) -> None:
        """The schedule has come to its end by itself, or the run has."""

    def settle(self) -> None:
        """Complete the outcome."""
        outcome = self.outcome
        outcome.sent_packets, outcome.sent_bytes = self._sent, self._sent_bytes
        outcome.received_packets, outcome.received_bytes = self._came, round(self._came_bytes)
        if self._counts_frames:
            outcome.planned_packets = self._sent
            outcome.late = (0.0, 0.0, 0.0) if self._sent else None


class _Nobody:
    def arrive(self, train: Train) -> None:
        """An answer that nobody asked for."""


_NOBODY = _Nobody()


def _together(what: Iperf3) -> int:
    """Datagrams that travel as one train."""
    return ceil(_rate(what) / 8 / what.size / MOST_TRAINS)


def _paced(flow: Flow, what: Iperf3) -> Iterator[tuple[float, int]]:
    """Datagrams at even gaps."""
    gap, number = _together(what) * what.size * 8 / _rate(what), 0
    while (t := flow.begin + number * gap) < flow.end:
        yield t, what.size
        number += 1


def _rate(what: Iperf3) -> float:
    return min(MOST_RATE, what.rate if what.rate is not None else MOST_RATE)


class _Transfer:
    """A flow of TCP: connections into which their programs write as long as there is room, at the rate asked for."""

    def __init__(self, network: TwinNetwork, loop: VirtualLoop, flow: Flow) -> None:
        self.outcome = Outcome(flow)
        what = flow.what
        assert isinstance(what, Iperf3)
        self._loop, self._from = loop, flow.ways[0]
        self._block = iperf.block(what)
        self._gap = self._block * 8 / (_rate(what) / what.connections)
        self._connections = [network.connection(flow.source, flow.target, lambda: True)
                             for _ in range(what.connections)]  # fmt: skip
        self._written = [0] * what.connections

    def begin(self) -> None:
        """Open all connections and write when they are open."""
        for number, connection in enumerate(self._connections):
            connection.open(partial(self._opened, number))

    def _opened(self, number: int, is_open: bool) -> None:
        if is_open:
            self._write(number, self._loop.now)

    def _write(self, number: int, due: float) -> None:
        """Write a block if there is room, and come again; what was held up is made good as iperf3 does."""
        if self.outcome.ended is not None:
            return
        connection = self._connections[number]
        if self._written[number] - connection.arrived(self._from) + self._block <= BUFFER:
            self._written[number] += self._block
            connection.send(self._from, self._block, _nothing)
            due += self._gap
            self._loop.at(due, self._write, number, due)
        else:
            later = self._loop.now + self._gap
            self._loop.at(later, self._write, number, due if self._is_paced else later)

    @property
    def _is_paced(self) -> bool:
        what = self.outcome.flow.what
        return isinstance(what, Iperf3) and what.rate is not None

    def end(self) -> None:
        """Close the connections; what has not arrived by then never does."""
        for connection in self._connections:
            self._count(connection)
            connection.close()

    def _count(self, connection: Connection) -> None:
        outcome, sender = self.outcome, connection.sender(self._from)
        outcome.received_bytes = (outcome.received_bytes or 0) + connection.arrived(self._from)
        outcome.retransmits = (outcome.retransmits or 0) + sender.resent

    def settle(self) -> None:
        """Complete the outcome."""
        self.outcome.sent_bytes = sum(self._written)


def _nothing() -> None:
    """A block has arrived."""


class TwinBackground:
    """All flows of a run; ``note`` is told of their beginnings and ends."""

    def __init__(self, network: TwinNetwork, loop: VirtualLoop, flows: Sequence[Flow], seed: int, note: Note) -> None:
        self._network, self._loop, self._note = network, loop, note
        self._t0 = 0.0
        self._streams = {flow.number: self._made(flow, seed) for flow in flows}
        self._entries = dict(entries(flows))

    def _made(self, flow: Flow, seed: int) -> _Stream:
        if isinstance(flow.what, Packets) or flow.what.protocol == "udp":
            return _Datagrams(self._network, self._loop, flow, seed)
        return _Transfer(self._network, self._loop, flow)

    def begin(self, t0: float) -> None:
        """The workload begins at ``t0``, virtual seconds."""
        self._t0 = t0
        for entry, flows in self._entries.items():
            self._loop.at(t0 + flows[0].begin, self._turn, entry, True)
            self._loop.at(t0 + flows[0].end, self._turn, entry, False)

    def _turn(self, entry: str, is_start: bool) -> None:
        flows = self._entries[entry]
        for flow in flows:
            stream = self._streams[flow.number]
            if is_start:
                stream.outcome.began = self._now()
                stream.begin()
            else:
                self._over(stream)
        at = flows[0].begin if is_start else flows[0].end
        self._note("background" if is_start else "background_end", entry, described(flows), at)

    def _over(self, stream: _Stream) -> None:
        if stream.outcome.began is not None and stream.outcome.ended is None:
            stream.end()
            stream.outcome.ended = self._now()

    def _now(self) -> float:
        return round(self._loop.now - self._t0, 9)

    def end(self) -> list[Outcome]:
        """The workload is over: what became of each flow, in their order."""
        for stream in self._streams.values():
            self._over(stream)
            stream.settle()
        return [stream.outcome for stream in self._streams.values()]

    def doubts(self) -> list[str]:
        """What this model bounds though a machine would not."""
        found = []
        for stream in self._streams.values():
            flow = stream.outcome.flow
            what = flow.what
            if isinstance(what, Iperf3) and (what.rate is None or what.rate > MOST_RATE):
                least = self._network.narrowest(*flow.ways)
                if least is None or least > MOST_RATE:
                    found.append(f"more than {MOST_RATE / 1e9:g} Gbit/s of the background {flow.name}")
        return found
