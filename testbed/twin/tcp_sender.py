"""The sending half of a TCP connection's end: window, slow start, recovery, time-outs.

They follow Linux with the simplifications that ``docs/twin.md`` lists. What the sender knows of the other end has come
in a packet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import ceil, inf
from typing import TYPE_CHECKING, Any

from testbed.twin.link_path import Path
from testbed.twin.tcp import TRAIN, Costs, Message, Range, gaps, length
from testbed.twin.tcp_clock import RoundTrips
from testbed.twin.train import Ranges, Train

if TYPE_CHECKING:
    from testbed.twin.loop import VirtualLoop
    from testbed.twin.tcp_receiver import Receiver

PROBE_MARGIN = 0.012  # two ticks of 4 ms that Linux adds to its tail loss probe, and the one that it has begun
LEFT = 0.7  # of the window after a loss (CUBIC)
SLOW_START, QUEUEING = 16, (0.004, 0.016)  # HyStart: from so many packets on; seconds that tell of a queue
GROWTH = 3 * (1 - LEFT) / (1 + LEFT)  # packets a round trip from then on: as much as Reno would get (RFC 9438, 4.3)


class Sender(RoundTrips):
    """Sends payload to a receiver at the other end. Offsets count bytes from the first; windows count packets.

    ``beside`` is the receiver at this end, whose acknowledgements travel with what is sent. ``resent`` counts packets.
    """

    __slots__ = (
        "_costs", "_deadline", "_end", "_fastest", "_flight", "_judged", "_last_sent", "_loop", "_lost",
        "_messages", "_next", "_path", "_peak", "_peak_until", "_probed", "_recover", "_round", "_sacked",
        "_target", "_threshold", "_una", "_wakes", "_window", "beside", "inflight", "resent",
    )  # fmt: skip

    beside: Receiver

    def __init__(self, loop: VirtualLoop, path: Path, costs: Costs, target: Receiver) -> None:
        super().__init__()
        self._loop, self._path, self._costs, self._target = loop, path, costs, target
        self._messages: deque[Message] = target.messages
        self._flight: deque[Train] = deque()  # sent and not acknowledged
        self._end = self._next = self._una = self.inflight = self.resent = 0
        self._window, self._threshold = float(costs.window), inf
        self._peak = self._peak_until = 0  # most packets in flight in this window
        self._round, self._fastest = 0, inf  # where this round trip of slow start ends; the shortest one
        self._last_sent, self._deadline, self._wakes = -inf, inf, inf
        self._probed = False
        self._lost: list[Range] = []  # to be sent again
        self._sacked: Ranges = ()
        self._recover = self._judged = 0  # where recovery ends; holes before that were found

    def send(self, size: int, arrived: Callable[..., object], args: tuple[Any, ...]) -> None:
        """Hand over a message; ``arrived(*args)`` is called when its last byte is at the other end."""
        start, now = self._end, self._loop.now
        self._end = end = start + (size if size > 0 else 1)
        self._messages.append((end, arrived, args))
        if self._next != start or self._lost:
            return  # acknowledgements of what is under way let it go
        costs, flight = self._costs, self._flight
        if not flight and self._window > costs.window:
            self._restart(now - self._last_sent)
        if end - start > costs.step or self.inflight + 1 > self._window:
            self._push(now, now)
            return
        wire = end - start + costs.header  # one packet at once: what _push and _emit do comes down to this
        train = Train(start, end, 1, costs.step, wire, wire, now)
        self._next, self._last_sent = end, now
        self.inflight += 1
        flight.append(train)
        if len(flight) == 1:
            self._arm(now)
        self._launch(train)
        if self.inflight > self._peak or self._una >= self._peak_until:
            self._peak, self._peak_until = self.inflight, end

    def stop(self) -> None:
        """The connection is closed: no timer does anything any more."""
        self._flight.clear()
        self._lost, self._sacked = [], ()
        self._next = self._end

    def _restart(self, idle: float) -> None:
        """Halve the window for each time-out of silence, down to the first one."""
        timeout, first = self.timeout, self._costs.window
        while idle > timeout and self._window > first:
            idle -= timeout
            self._window = max(first, self._window / 2)

    def _push(self, now: float, last: float) -> None:
        """Send what the window allows, spread from ``now`` to ``last`` like the acknowledgements that allow it."""
        step = self._costs.step
        room = total = int(self._window) - self.inflight
        while room > 0:
            if self._lost:
                start, until = self._lost[0]
            elif self._next < self._end:
                start, until = self._next, self._end
            else:
                break
            count = min(room, TRAIN, -(-(until - start) // step))
            end = min(until, start + count * step)
            first = now + (last - now) * (total - room) / total
            room -= count
            self._emit(start, end, count, first, now + (last - now) * (total - room) / total)
        self._note_peak()

    def _note_peak(self) -> None:
        if self.inflight > self._peak or self._una >= self._peak_until:
            self._peak, self._peak_until = self.inflight, self._next

    def _emit(self, start: int, end: int, count: int, first: float, last: float) -> None:
        step, header = self._costs.step, self._costs.header
        tail = end - start - (count - 1) * step + header
        train = Train(start, end, count, step, step + header if count > 1 else tail, tail, first)
        train.last = train.sent = last
        if start < self._next:
            train.sent = -inf  # sent again: its acknowledgement measures nothing
            self.resent += count
            if self._lost:
                self._lost[:1] = [(end, self._lost[0][1])] if end < self._lost[0][1] else []
        else:
            self._next = end
        self._flight.append(train)
        self.inflight += count
        self._last_sent = last
        if len(self._flight) == 1:
            self._arm(last)
        if first > self._loop.now:
            self._loop.at(first, self._launch, train)
        else:
            self._launch(train)

    def _launch(self, train: Train) -> None:
        """Put a train on its way, with the acknowledgement of what has come from the other end."""
        if self._target.is_closed:
            return
        beside = self.beside
        train.ack, beside.unacked = beside.received, 0
        if beside.quick:
            beside.replied(self._loop.now)
        if beside.early:
            train.sack = tuple(beside.early)
        train.target = self._target
        train.stops = stops = self._path.stops
        stops[0].take(train)

    def acknowledged(self, train: Train) -> None:
        """An acknowledgement has come: one packet, or a train of them up to ``train.last``."""
        ack, now, flight = train.ack, self._loop.now, self._flight
        if ack > self._una and train.count == len(flight) == 1 and ack == self._end and not self._recover:
            self._settle(flight.pop(), ack, now)
            return
        last = train.last if train.start == train.end else now
        if ack > self._una:
            self._una = ack
            self._forget(ack, now, last)
        if train.sack and train.sack[-1][1] > self._una:
            self._hear_of_holes(train.sack, now)
        if self._lost or self._next < self._end:
            self._push(now, last)

    def _settle(self, train: Train, ack: int, now: float) -> None:
        """All has arrived and nothing waits: what :meth:`_forget` does comes down to this."""
        self._una, self._backoff, self._probed = ack, 1, False
        self.inflight -= train.count
        if train.sent > -inf:
            self.measured(now - train.sent)
        window = self._window
        if window < self._threshold:
            if window < 2 * self._peak:
                self._window = min(window + train.count, self._threshold)
            if ack > self._round:
                self._look_for_queue(now - train.born)
        elif window <= self._peak + 1:
            self._window = window + GROWTH * train.count / window

    def _forget(self, ack: int, now: float, last: float) -> None:
        """Drop what has arrived from the books, measure the round trip of its last packet, open the window."""
        flight, count, sent = self._flight, 0, -inf
        born = flight[0].born if flight else -inf
        while flight and flight[0].end <= ack:
            train = flight.popleft()
            count += train.count
            sent = train.sent
        self.inflight -= count
        if sent > -inf:
            self.measured(last - sent)
        if self._recover:
            self._recovering(ack)
        elif self._window < self._threshold:
            if self._window < 2 * self._peak:
                self._window = min(self._window + count, self._threshold)
            if ack > self._round:
                self._look_for_queue(now - born)
        elif self._window <= self._peak + 1:
            self._window += GROWTH * count / self._window
        self._backoff, self._probed = 1, False
        if flight:
            self._arm(last)

    def _look_for_queue(self, round_trip: float) -> None:
        """Leave slow start when the first packet of a window took clearly longer than the fastest (HyStart)."""
        self._round = self._next
        if round_trip < self._fastest:
            self._fastest = round_trip
        elif self._window >= SLOW_START:
            least, most = QUEUEING
            if round_trip > self._fastest + min(max(least, self._fastest / 8), most):
                self._threshold = self._window

    def _hear_of_holes(self, sack: Ranges, now: float) -> None:
        """Later packets are there and earlier ones are not: lost at the third, else a quarter round trip later."""
        self._sacked = tuple(each for each in sack if each[1] > self._una)
        if self._recover:
            self._recount()
        if length(self._sacked) > 2 * self._costs.step:
            self._judge()
        elif self._sacked[-1][1] > self._judged:
            self._loop.at(now + self._smoothed / 4, self._judge_and_push)

    def _judge_and_push(self) -> None:
        self._judge()
        self._push(self._loop.now, self._loop.now)

    def _judge(self) -> None:
        """Take the holes below the last range that is there for lost, and shrink the window once a round trip."""
        if not self._sacked or self._sacked[-1][1] <= max(self._judged, self._una):
            return
        holes = list(gaps(max(self._una, self._judged), self._sacked[-1][1], self._sacked))
        self._judged = self._sacked[-1][1]
        if not holes:
            return
        self._lost += holes
        if not self._recover:
            self._window = self._threshold = max(2.0, self._window * LEFT)
            self._recover = self._next
        self._recount()

    def _recovering(self, ack: int) -> None:
        """Count anew what is under way; recovery is over when all that was sent before it is there."""
        self._lost = [(max(ack, start), end) for start, end in self._lost if end > ack]
        self._flight = deque(train for train in self._flight if train.end > ack)
        self._sacked = tuple(each for each in self._sacked if each[1] > ack)
        if self._window < self._threshold:
            self._window += 1
        self._recount()
        if ack >= self._recover:
            self._recover = self._next if self._lost or self._sacked else 0
        if not self._recover:
            self._flight = deque(sorted(self._flight, key=lambda train: train.end))
            self.inflight = sum(train.count for train in self._flight)

    def _recount(self) -> None:
        """In recovery, what is under way is neither acknowledged, nor known to be there, nor known to be lost."""
        missing = length(gaps(self._una, self._next, self._sacked)) - length(self._lost)
        self.inflight = max(0, ceil(missing / self._costs.step))

    def _arm(self, now: float) -> None:
        """(Re)start the clock of what is under way: a probe of the tail first, then the time-out."""
        due = now + self.timeout
        if self.inflight > 1 and not self._probed and self._smoothed and not self._recover:
            due = min(due, now + 2 * self._smoothed + PROBE_MARGIN)
        self._deadline = due
        if due < self._wakes:
            self._wakes = due
            self._loop.at(due, self._wake, due)

    def _wake(self, due: float) -> None:
        if due != self._wakes:
            return  # an earlier one took its place
        self._wakes, now = inf, self._loop.now
        if not self._flight and not self._lost:
            return
        if now < self._deadline:
            self._wakes = self._deadline
            self._loop.at(self._deadline, self._wake, self._deadline)
        else:
            self._expire(now)

    def _expire(self, now: float) -> None:
        """Nothing came for too long: probe with the last packet, or take all for lost and begin with one packet."""
        if self.inflight > 1 and not self._probed and not self._recover:
            self._probed, end = True, self._flight[-1]
            self._emit(end.start + (end.count - 1) * end.step, end.end, 1, now, now)
        else:
            if not self._recover or self._backoff == 1:
                self._threshold = max(2.0, self._window * LEFT)
            self._flight.clear()
            self._window, self._backoff, self.inflight = 1.0, self._backoff * 2, 0
            self._lost = list(gaps(self._una, self._next, self._sacked))
            self._recover = self._judged = self._next
            self._push(now, now)
        self._arm(now)
