"""The way between two nodes: limited links one by one, and unlimited ones in one step."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from testbed.twin.link import Lane
from testbed.twin.train import GOAL, Stop, Train

if TYPE_CHECKING:
    from testbed.twin.loop import VirtualLoop


class Stretch:
    """Consecutive links on which a packet meets nothing but a delay; ``counts`` is False where traffic costs nothing.

    A train that is on it keeps the delays that were in force when it came; a cut loses it if it is on the link then.
    """

    def __init__(self, loop: VirtualLoop, lanes: Sequence[Lane], *, counts: bool) -> None:
        self._loop, self._lanes, self._counts = loop, tuple(lanes), counts
        self._delay = sum(lane.shape.delay for lane in lanes)
        self._delays = tuple(lane.shape.delay for lane in lanes)

    def take(self, train: Train) -> None:
        """Send the train over all links at once."""
        if self._delay == 0.0 and len(train.stops) > 2:  # a limited link makes the event
            self._pass(train)
            return
        due = train.first = train.first + self._delay
        train.last += self._delay
        self._loop.at(due, self._pass, train)

    def _pass(self, train: Train) -> None:
        for lane in self._lanes:
            if lane.cuts and self._is_lost(train):
                return
            if self._counts:
                lane.packets += train.count
                lane.size_bytes += train.wire
        train.hop = hop = train.hop + 1
        train.stops[hop].take(train)

    def _is_lost(self, train: Train) -> bool:
        enters = train.first - self._delay
        for lane, delay in zip(self._lanes, self._delays, strict=True):
            if lane.was_down(enters, enters + delay):
                lane.dropped_down += train.count if self._counts else 0
                return True
            enters += delay
        return False


class Path:
    """From one node to another. ``stops`` is what a train passes now, ``free`` the way of what costs nothing."""

    stops: tuple[Stop, ...]
    free: tuple[Stop, ...]

    def __init__(self, loop: VirtualLoop, lanes: Sequence[Lane], *, is_free: bool) -> None:
        self._loop, self.lanes, self._is_free = loop, tuple(lanes), is_free
        self.refresh()

    @property
    def delay(self) -> float:
        """The sum of the one-way delays, in seconds."""
        return sum(lane.shape.delay for lane in self.lanes)

    def refresh(self) -> None:
        """Follow a change of a link's shape; trains under way keep the stops they set out with."""
        self.free = (Stretch(self._loop, self.lanes, counts=False), GOAL)
        self.stops = self.free if self._is_free else (*self._grouped(), GOAL)

    def _grouped(self) -> list[Stop]:
        if not self.lanes:
            return [Stretch(self._loop, (), counts=False)]
        stops: list[Stop] = []
        for is_simple, group in groupby(self.lanes, lambda lane: lane.is_simple):
            lanes = tuple(group)
            stops += [Stretch(self._loop, lanes, counts=True)] if is_simple else lanes
        return stops
