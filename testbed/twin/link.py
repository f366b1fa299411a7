"""One direction of one link in virtual time: the rules of :mod:`testbed.shaping.queue`, for whole trains of packets."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from heapq import heappush
from math import inf
from random import Random
from typing import TYPE_CHECKING

from testbed.shaping.queue import JITTERS, Treatment
from testbed.twin.train import GOAL, Train

if TYPE_CHECKING:
    from testbed.twin.loop import VirtualLoop


class Lane:
    """What leaves one end of one link. Times are virtual seconds, sizes bytes on the wire."""

    def __init__(self, loop: VirtualLoop, shape: Treatment, rng: Callable[[], Random]) -> None:
        self._loop, self._make_rng = loop, rng
        self._rng: Random | None = None
        self._held: deque[Train] = deque()  # all under way, first to arrive first
        self._waiting: deque[Train] = deque()  # those of them that had to wait for the rate
        self._free_at = self._last_due = -inf
        self.cuts: list[tuple[float, float]] = []  # when it was down: from, until
        self.up, self.transfers = True, 0
        self.packets = self.dropped_queue = self.dropped_loss = self.dropped_down = 0
        self.size_bytes = 0.0
        self._adopt(shape)

    def _adopt(self, shape: Treatment) -> None:
        self.shape, self._credit = shape, shape.credit
        self._set_pace()
        self._spoils = bool(shape.loss or shape.duplicate or shape.corrupt or shape.reorder)
        self._loses_only = bool(shape.loss) and not (shape.duplicate or shape.corrupt or shape.reorder)
        self._set_care()
        if (self._spoils or shape.jitter) and self._rng is None:
            self._rng = self._make_rng()

    def _set_care(self) -> None:
        self._careful = self._spoils or not self.up
        self._delay, self._is_plain = self.shape.delay, not (self._careful or self.shape.jitter)

    def _set_pace(self) -> None:
        rate = self.shape.rate
        self._per_byte = 8 * (self.transfers + 1) / rate if rate is not None else 0.0

    @property
    def is_simple(self) -> bool:
        """Whether packets meet nothing but a constant delay here."""
        return self.shape.rate is None and not (self._spoils or self.shape.jitter)

    def share_with(self, transfers: int) -> None:
        """So many bulk transfers use the link now: trains that come from now on get one share beside them."""
        self.transfers = transfers
        self._set_pace()

    def was_down(self, begin: float, end: float) -> bool:
        """Whether the link was down at any moment from ``begin`` to ``end``."""
        return any(down <= end and begin < up for down, up in self.cuts)

    def take(self, train: Train) -> None:
        """The first packet of ``train`` is at the link."""
        now, free, credit = train.first, self._free_at, self._credit
        if self._is_plain and train.count == 1 and free - credit <= now:
            # Nobody is before this packet and chance has no part: what _admit and _schedule do comes down to this.
            self._free_at = ends = (free if free > now else now) + train.wire * self._per_byte
            due = (ends - credit if ends - credit > now else now) + self._delay
            if due < self._last_due:
                due = self._last_due
            train.starts, train.first, train.last, self._last_due = now, due, due, due
            self._held.append(train)
            loop = self._loop
            heappush(loop.timers, (due, loop.number(), self._deliver, (due,)))
        elif not self._careful:
            self._admit(train)
        elif not self.up:
            self.dropped_down += train.count
        elif train.count == 1 and self._loses_only:
            assert self._rng is not None  # _adopt made it
            if self._rng.random() < self.shape.loss:
                self.dropped_loss += 1
            else:
                self._admit(train)
        else:
            for run in list(self._spoilt(train)):
                self._admit(run)

    def reshape(self, now: float, shape: Treatment) -> None:
        """Put another shape in force: what waits for the rate follows it, what has left the queue does not."""
        waiting = sorted((train for train in self._held if train.starts > now), key=lambda train: train.starts)
        if waiting:
            self._free_at = waiting[0].starts + self._credit  # the packet being serialised ends as it began
            self._held = deque(train for train in self._held if train.starts <= now)
        self._last_due = max((train.first for train in self._held), default=-inf)
        self._waiting.clear()
        self._adopt(shape)
        for train in waiting:
            train.first = train.last = now
            self._schedule(train)

    def connect(self, now: float, up: bool) -> None:
        """Cut the direction, which loses what is under way, or mend it."""
        if up == self.up:
            return
        self.up = up
        self._set_care()
        if up:
            self.cuts[-1] = (self.cuts[-1][0], now)
            return
        self.cuts.append((now, inf))
        self.dropped_down += sum(train.count for train in self._held)
        self._held.clear()
        self._waiting.clear()
        self._free_at = self._last_due = -inf

    def _spoilt(self, train: Train) -> Iterator[Train]:
        """The runs of packets that loss and corruption leave of a train, and the copies that duplication adds."""
        shape, rng = self.shape, self._rng
        assert rng is not None  # _adopt made it
        begin, copies = 0, []
        for number in range(train.count):
            if shape.loss and rng.random() < shape.loss:
                sound = 0
            else:
                wanted = 2 if shape.duplicate and rng.random() < shape.duplicate else 1
                sound = sum(not (shape.corrupt and rng.random() < shape.corrupt) for _ in range(wanted))
                self.dropped_loss += wanted - max(sound, 1)
            if sound == 2:
                copies.append(train.run(number, number + 1))
            if sound == 0:
                self.dropped_loss += 1
            if begin < number and (sound == 0 or shape.reorder):
                yield train.run(begin, number)
            if sound == 0 or shape.reorder:
                begin = number if sound else number + 1
        if begin == 0:
            yield train
        elif begin < train.count:
            yield train.run(begin, train.count)
        yield from copies

    def _admit(self, train: Train) -> None:
        """Take what fits into the queue; the rest is dropped."""
        if self._per_byte and (train.count > 1 or self._free_at - self._credit > train.first):
            fitting = self._room(train)
            if fitting < train.count:
                self.dropped_queue += train.count - max(fitting, 0)
                if fitting <= 0:
                    return
                train = train.run(0, fitting)
        self._schedule(train)

    def _room(self, train: Train) -> int:
        """How many packets of ``train`` find room, counting what leaves while they arrive."""
        shape, now, pace = self.shape, train.first, self._per_byte
        waiting = self._waiting
        while waiting and now >= waiting[0].starts + (waiting[0].count - 1) * waiting[0].head * pace:
            waiting.popleft()
        if shape.queue_packets is None and shape.queue_bytes is None:
            return train.count
        gone = 0
        if waiting and waiting[0].starts <= now:
            gone = 1 + int((now - waiting[0].starts) / (waiting[0].head * pace))
        gone += int((train.last - now) / (train.head * pace)) if train.head else 0
        gone += self._free_at - self._credit <= now
        if shape.queue_packets is not None:
            return shape.queue_packets - sum(each.count for each in waiting) + gone
        assert shape.queue_bytes is not None
        room = shape.queue_bytes - sum(each.wire for each in waiting) + gone * train.head
        return train.count if train.wire <= room else int(room / train.head)

    def _schedule(self, train: Train) -> None:
        now, free, credit, pace = train.first, self._free_at, self._credit, self._per_byte
        begins = free if free > now else now
        self._free_at = ends = begins + train.wire * pace
        train.starts = starts = free - credit if free - credit > now else now
        if train.count == 1:
            leaves = last = ends - credit if ends - credit > now else now
        else:
            head, tail = train.head * pace, train.tail * pace
            leaves = max(now, begins + head - credit)
            before = max(leaves, ends - tail - credit, train.last - train.closing + (0.0 if credit else head))
            last = max(before, train.last) + (0.0 if credit else tail)
            last = max(last, ends - credit)
            train.closing = last - before
        if pace and (starts > now or train.count > 1):
            self._waiting.append(train)
        shape = self.shape
        if shape.jitter or shape.reorder:
            self._jitter(train, leaves, last)
            return
        due = leaves + shape.delay
        if due < self._last_due:
            due = self._last_due
        self._last_due = train.first = due
        train.last = last + shape.delay if last + shape.delay > due else due
        self._held.append(train)
        self._loop.at(due, self._deliver, due)

    def _jitter(self, train: Train, leaves: float, last: float) -> None:
        """Schedule where packets have delays of their own; a reordered one stands alone and overtakes."""
        shape, rng = self.shape, self._rng
        assert rng is not None  # _adopt made it
        if shape.reorder and rng.random() < shape.reorder:
            train.first = train.last = leaves
            place = sum(each.first <= leaves for each in self._held)
            self._held.insert(place, train)
        else:
            gap = (last - leaves) / (train.count - 1) if train.count > 1 else 0.0
            due = max(leaves + self._drawn(rng), self._last_due)
            self._last_due = train.first = train.last = due
            for number in range(1, train.count):
                train.last = max(train.last, leaves + gap * number + self._drawn(rng))
            self._held.append(train)
        self._loop.at(train.first, self._deliver, train.first)

    def _drawn(self, rng: Random) -> float:
        shape = self.shape
        return max(0.0, shape.delay + shape.jitter * JITTERS[shape.distribution](rng)) if shape.jitter else shape.delay

    def _deliver(self, due: float) -> None:
        """Hand on what is due; an event whose train was rescheduled or lost finds nothing."""
        held = self._held
        while held and held[0].first <= due:
            train = held.popleft()
            self.packets += train.count
            self.size_bytes += train.wire
            train.hop = hop = train.hop + 1
            stop = train.stops[hop]
            if stop is GOAL:
                train.target.arrive(train)
            else:
                stop.take(train)
