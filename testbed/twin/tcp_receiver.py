"""The receiving half of a TCP connection's end: order, delivery of messages, acknowledgements."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any

from testbed.twin.link_path import Path
from testbed.twin.tcp import Costs, Message, Range, joined
from testbed.twin.train import Train

if TYPE_CHECKING:
    from testbed.twin.loop import VirtualLoop
    from testbed.twin.tcp_sender import Sender

DELAYED_ACK = 0.04  # Linux: TCP_DELACK_MIN
QUICK_ACKS = 16  # packets at the beginning that are acknowledged one by one (Linux: TCP_MAX_QUICKACKS)


class Receiver:
    """Receives payload from the sender at the other end; ``back`` is the way of its acknowledgements.

    ``beside`` is the sender at this end, for whom acknowledgements come with what arrives.
    """

    __slots__ = (
        "_ack_by", "_ack_set", "_back", "_came", "_costs", "_handed", "_loop", "beside", "early", "far", "is_closed",
        "messages", "quick", "received", "unacked",
    )  # fmt: skip

    beside: Sender
    far: Receiver  # at the other end

    def __init__(self, loop: VirtualLoop, back: Path, costs: Costs) -> None:
        self._loop, self._back, self._costs = loop, back, costs
        self.messages: deque[Message] = deque()  # sent and not all here
        self.received = self.unacked = 0  # bytes that are here without a hole; packets that wait for company
        self.early: list[Range] = []  # what is here beyond a hole
        self.quick = QUICK_ACKS
        self._handed = self._ack_by = self._came = -inf
        self._ack_set = self.is_closed = False

    def arrive(self, train: Train) -> None:
        """The first packet of a train has come: it may acknowledge, and it may carry payload."""
        if self.is_closed:
            return
        if train.sack or train.ack > 0:
            self.beside.acknowledged(train)
        if train.start == train.end:
            return
        if train.start == self.received and not self.early:
            self.received = train.end
            pending = self.unacked + train.count
            if self.quick:
                self._came = self._loop.now
                self.quick = max(0, self.quick - train.count)
                self._acknowledge(train, train.count, 0)
                self._hand_over(train)
            elif pending == 1:
                self.unacked = 1
                self._hand_over(train)
                if self.unacked:
                    self._acknowledge_later()
            else:
                self._acknowledge(train, pending // 2, pending % 2)
                self._hand_over(train)
        else:
            self._sort_in(train)

    def replied(self, now: float) -> None:
        """This end sends payload: soon after some came, both talk in turns and answers carry acknowledgements."""
        if now - self._came < DELAYED_ACK:
            self.quick = 0

    def _sort_in(self, train: Train) -> None:
        """A packet that came twice, before its turn, or fills a hole is acknowledged at once."""
        if train.end > self.received:
            self.early = joined([*self.early, (max(train.start, self.received), train.end)])
            if self.early[0][0] <= self.received:
                self.received = self.early.pop(0)[1]
        self._acknowledge(train, max(1, train.count // 2), 0)
        self._hand_over(train)

    def _hand_over(self, train: Train) -> None:
        """Tell of the messages that are whole now, each when its last packet arrives."""
        messages, received, now, when = self.messages, self.received, self._loop.now, self._loop.now
        while messages and messages[0][0] <= received:
            end, arrived, args = messages.popleft()
            if train.count > 1:
                when = self._time_of(end, train)
            if when < self._handed:
                when = self._handed
            self._handed = when
            if when <= now:
                arrived(*args)
            else:
                self._loop.at(when, self._tell, arrived, args)

    def _time_of(self, end: int, train: Train) -> float:
        """When the packet arrives that holds the byte before ``end``."""
        if not train.start < end < train.end:
            return train.last
        number = (end - train.start - 1) // train.step
        return train.first + (train.last - train.first) * number / (train.count - 1)

    def _tell(self, arrived: Callable[..., object], args: tuple[Any, ...]) -> None:
        if not self.is_closed:
            arrived(*args)

    def _acknowledge(self, train: Train, count: int, left: int) -> None:
        """Send ``count`` acknowledgements while the train arrives; ``left`` packets wait for company."""
        self.unacked = left
        if left:
            self._acknowledge_later()
        gap = (train.last - train.first) / (train.count - 1) if train.count > 1 else 0.0
        first = train.first + gap * (count < train.count)
        if first > self._loop.now:
            self._loop.at(first, self._send_acks, count, max(first, train.last - gap * left))
        else:
            self._send_acks(count, train.last)

    def _send_acks(self, count: int, last: float) -> None:
        if self.is_closed:
            return
        header = self._costs.header
        acks = Train(0, 0, count, 0, header, header, self._loop.now)
        acks.last, acks.ack = max(last, acks.first), self.received
        acks.sack = tuple(self.early)
        acks.target = self.far
        acks.stops = stops = self._back.stops if header else self._back.free
        stops[0].take(acks)

    def _acknowledge_later(self) -> None:
        self._ack_by = self._loop.now + DELAYED_ACK
        if not self._ack_set:
            self._ack_set = True
            self._loop.at(self._ack_by, self._wake)

    def _wake(self) -> None:
        self._ack_set = False
        if not self.unacked or self.is_closed:
            return
        if self._loop.now < self._ack_by:
            self._ack_set = True
            self._loop.at(self._ack_by, self._wake)
        else:
            self.unacked = 0
            self._send_acks(1, self._loop.now)
