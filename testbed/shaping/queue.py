"""What one direction of one link does to packets: a pure model, the same in the relay and in the twin.

It answers four questions: take this packet in (:meth:`Direction.take`); what is due (:meth:`Direction.due`); when is
the next one due (:attr:`Direction.next_due`); is nothing left (:attr:`Direction.finished`)? Clock and randomness come
from outside, so equal calls give equal answers everywhere.

Choices where link emulators differ: packets keep their order whatever the jitter, and also when the delay becomes
shorter, unless ``reorder`` lets a packet overtake; a packet that is being serialised no longer counts against the
queue; the queue limit applies where there is a rate; packets that wait for the rate follow a change of the shape, those
that have left the queue do not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from math import inf, sqrt
from random import Random
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:  # at run time the relay's processes do without pydantic, which would triple their start-up
    from testbed.topology.shape import Shape

Packet = TypeVar("Packet")
Jitter = Callable[[Random], float]

# Pareto with index 3 has mean 3/2 and standard deviation sqrt(3)/2 (for a minimum of 1).
_PARETO_INDEX, _PARETO_MEAN, _PARETO_SPREAD = 3.0, 1.5, sqrt(3) / 2

JITTERS: dict[str, Jitter] = {
    "normal": lambda rng: rng.gauss(0.0, 1.0),
    "uniform": lambda rng: rng.uniform(-1.0, 1.0),
    "pareto": lambda rng: (rng.paretovariate(_PARETO_INDEX) - _PARETO_MEAN) / _PARETO_SPREAD,
}


@dataclass(frozen=True, slots=True)
class Treatment:
    """A :class:`~testbed.topology.shape.Shape` as plain values: seconds, shares, bits per second, packets and bytes."""

    delay: float = 0.0
    jitter: float = 0.0
    distribution: str = "normal"
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    corrupt: float = 0.0
    rate: float | None = None
    queue_packets: int | None = 1000
    queue_bytes: int | None = None
    burst_bytes: int = 0

    @classmethod
    def of(cls, shape: Shape) -> Treatment:
        """The treatment that ``shape`` asks for."""
        return cls(
            shape.delay, shape.jitter, shape.distribution, shape.loss, shape.duplicate, shape.reorder, shape.corrupt,
            shape.rate, shape.queue.packets, shape.queue.size_bytes, shape.burst,
        )  # fmt: skip

    @property
    def credit(self) -> float:
        """Seconds by which a packet may leave earlier than the rate allows, after a pause."""
        return self.burst_bytes * 8 / self.rate if self.rate is not None else 0.0

    @property
    def is_plain(self) -> bool:
        """Whether packets pass untouched and at once."""
        return self.rate is None and not (self.delay or self.jitter or self.duplicate or self.loss or self.corrupt)


class _Held(NamedTuple, Generic[Packet]):
    """A packet under way; tuples compare by time, then by order of arrival."""

    due: float
    order: int
    starts: float  # when its serialisation begins; until then it waits in the queue
    size: int
    segments: int
    packet: Packet


class Direction(Generic[Packet]):
    """The packets that leave one end of one link, from their arrival at the link to their delivery.

    Times are seconds on any one clock and sizes bytes on the wire. ``corrupt`` returns the packet with one bit flipped,
    or None where the caller's receivers drop damaged packets.
    """

    __slots__ = (
        "_corrupt", "_credit", "_free_at", "_held", "_last_due", "_order", "_rng", "_shape", "_waiting",
        "_waiting_bytes", "_waiting_packets", "dropped_down", "dropped_loss", "dropped_queue", "next_due", "packets",
        "size_bytes", "up",
    )  # fmt: skip

    def __init__(
        self, shape: Treatment, rng: Random, corrupt: Callable[[Packet, Random], Packet | None] | None = None
    ) -> None:
        self._shape, self._rng, self._corrupt = shape, rng, corrupt
        self._credit = shape.credit
        self._held: list[_Held[Packet]] = []
        self._waiting: deque[tuple[float, int, int]] = deque()  # (starts, size, segments), first to leave first
        self._waiting_packets = self._waiting_bytes = self._order = 0
        self._free_at = self._last_due = -inf
        self.next_due = inf  # when something is due; inf while nothing is held
        self.up = True
        self.packets = self.size_bytes = self.dropped_queue = self.dropped_loss = self.dropped_down = 0

    @property
    def finished(self) -> bool:
        """Whether no packet is under way."""
        return not self._held

    @property
    def passes(self) -> bool:
        """Whether a packet may go straight through: nothing is asked for and nothing is before it."""
        return not self._held and self.up and self._shape.is_plain

    def take(self, now: float, packet: Packet, size: int, segments: int = 1) -> None:
        """A packet arrives at the link. ``segments`` > 1: one buffer that stands for so many packets on the wire."""
        if not self.up:
            self.dropped_down += segments
            return
        shape, draw = self._shape, self._rng.random
        if shape.loss and draw() < shape.loss:
            self.dropped_loss += segments
            return
        copies = 2 if shape.duplicate and draw() < shape.duplicate else 1
        for _ in range(copies):
            mine: Packet | None = packet
            if shape.corrupt and draw() < shape.corrupt and self._corrupt is not None:
                mine = self._corrupt(packet, self._rng)
            if mine is None:
                self.dropped_loss += segments
            elif self._has_room(now, size, segments):
                self._schedule(now, mine, size, segments)
            else:
                self.dropped_queue += segments

    def due(self, now: float) -> list[tuple[float, Packet]]:
        """The packets to deliver by ``now``, each with the time for which it was due, in order; they are gone then."""
        held, ready = self._held, []
        while held and held[0][0] <= now:
            due, _, _, size, segments, packet = heappop(held)
            self.packets += segments
            self.size_bytes += size
            ready.append((due, packet))
        self.next_due = held[0][0] if held else inf
        return ready

    def passed(self, size: int, segments: int = 1) -> None:
        """Count a packet that went straight through (see :attr:`passes`)."""
        self.packets += segments
        self.size_bytes += size

    def reshape(self, now: float, shape: Treatment) -> None:
        """Put another shape in force while packets are under way; none of them is lost."""
        credit, self._shape, self._credit = self._credit, shape, shape.credit
        waiting = sorted((each.starts, each) for each in self._held if each.starts > now)
        if waiting:
            self._free_at = waiting[0][0] + credit  # the packet being serialised ends as it began
            self._held = [each for each in self._held if each.starts <= now]
            heapify(self._held)
        self._last_due = max((each.due for each in self._held), default=-inf)
        self._forget_waiting()
        for _, each in waiting:
            self._schedule(now, each.packet, each.size, each.segments)
        self.next_due = self._held[0].due if self._held else inf

    def connect(self, up: bool) -> None:
        """Cut the direction, which loses what is under way, or mend it."""
        self.up = up
        if not up:
            self.dropped_down += sum(each.segments for each in self._held)
            self._held.clear()
            self._forget_waiting()
            self._free_at = self._last_due = -inf
            self.next_due = inf

    def _forget_waiting(self) -> None:
        self._waiting.clear()
        self._waiting_packets = self._waiting_bytes = 0

    def _has_room(self, now: float, size: int, segments: int) -> bool:
        shape, waiting = self._shape, self._waiting
        while waiting and waiting[0][0] <= now:
            _, gone_bytes, gone = waiting.popleft()
            self._waiting_packets -= gone
            self._waiting_bytes -= gone_bytes
        if shape.rate is None or self._free_at - self._credit <= now:
            return True
        if shape.queue_packets is not None:
            return self._waiting_packets + segments <= shape.queue_packets
        return shape.queue_bytes is None or self._waiting_bytes + size <= shape.queue_bytes

    def _schedule(self, now: float, packet: Packet, size: int, segments: int) -> None:
        shape = self._shape
        leaves = starts = max(now, self._free_at - self._credit)
        if shape.rate is not None:
            self._free_at = max(now, self._free_at) + size * 8 / shape.rate
            leaves = max(now, self._free_at - self._credit)
            if starts > now:
                self._waiting.append((starts, size, segments))
                self._waiting_packets += segments
                self._waiting_bytes += size
        if shape.reorder and self._rng.random() < shape.reorder:
            due = leaves
        else:
            due = leaves + shape.delay
            if shape.jitter:
                due = max(leaves, due + shape.jitter * JITTERS[shape.distribution](self._rng))
            due = self._last_due = max(due, self._last_due)
        self._order += 1
        heappush(self._held, _Held(due, self._order, starts, size, segments, packet))
        self.next_due = self._held[0][0]
