"""Trains of packets, and what they can come to on their way.

A :class:`Train` is a run of packets of one connection that leave together. It moves with its first packet: each limited
link costs one event, at which the times of its first and last packet at the next stop are known. Losses cut a train
into the runs of packets that are left.
"""

from __future__ import annotations

from typing import Protocol

Ranges = tuple[tuple[int, int], ...]


class Stop(Protocol):
    """What a train can come to on its way: a limited link, a stretch of unlimited ones, or its goal."""

    def take(self, train: Train) -> None:
        """The first packet of ``train`` is here, at the time ``train.first``."""


class Target(Protocol):
    """Who receives a train at the end of its way."""

    def arrive(self, train: Train) -> None:
        """The first packet of ``train`` has arrived, at ``train.first``; the last one does at ``train.last``."""


class _Goal:
    def take(self, train: Train) -> None:
        train.target.arrive(train)


GOAL = _Goal()
"""The end of every way."""


class Train:
    """``count`` packets in a row: all of ``head`` bytes on the wire but the last, which has ``tail``.

    The last packet comes ``closing`` seconds after the one before it, the others at equal distances. They carry the
    payload from offset ``start`` to ``end`` of their stream, ``step`` bytes each but the last,
    and the acknowledgement of the other direction: all before ``ack``, and the ranges ``sack`` beyond it.
    """

    __slots__ = (
        "ack", "born", "closing", "count", "end", "first", "head", "hop", "last", "sack", "sent", "start", "starts",
        "step", "stops", "tail", "target", "wire",
    )  # fmt: skip

    stops: tuple[Stop, ...]
    target: Target

    def __init__(self, start: int, end: int, count: int, step: int, head: float, tail: float, first: float) -> None:
        self.start, self.end, self.count, self.step = start, end, count, step
        self.head, self.tail = head, tail
        self.wire = head * (count - 1) + tail
        self.first = self.last = self.born = self.sent = self.starts = first
        self.ack = self.hop = 0
        self.closing = 0.0
        self.sack: Ranges = ()

    def run(self, begin: int, stop: int) -> Train:
        """The packets from number ``begin`` to before ``stop``, as a train of their own at the same place."""
        is_last = stop == self.count
        end = self.end if is_last else min(self.end, self.start + stop * self.step)
        start = min(self.end, self.start + begin * self.step)
        piece = Train(start, end, stop - begin, self.step, self.head, self.tail if is_last else self.head, self.first)
        gap = (self.last - self.first) / (self.count - 1) if self.count > 1 else 0.0
        piece.first, piece.last = self.first + gap * begin, self.last if is_last else self.first + gap * (stop - 1)
        piece.closing = self.closing if is_last else gap
        piece.ack, piece.sack, piece.sent = self.ack, self.sack, self.sent
        piece.stops, piece.hop, piece.target = self.stops, self.hop, self.target
        return piece
