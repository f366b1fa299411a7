"""How far a machine's clocks are from the driver's, from readings sent to and fro, and how far off that may be.

A reading's answer was written somewhere between question and answer; so half of the time between them is the largest
error of its middle. The quickest of many readings is the best one. Agents are given the offset of the beginning; by how
much the reading at the end differs, since clocks drift, is told as a part of the error.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from testbed.substrate.away import Clock


class Reading(NamedTuple):
    """One question for the time. ``asked`` and ``answered`` on the driver's monotonic clock, the others in seconds.

    ``wall_ahead`` is what the driver's wall clock had over its monotonic one; ``monotonic`` and ``wall`` are theirs.
    """

    asked: float
    answered: float
    wall_ahead: float
    monotonic: float
    wall: float

    @property
    def error_s(self) -> float:
        """The largest error of the middle."""
        return (self.answered - self.asked) / 2

    @property
    def offset(self) -> Clock:
        """What their clocks lack to the driver's, as far as this reading tells."""
        middle = (self.asked + self.answered) / 2
        return Clock(middle - self.monotonic, middle + self.wall_ahead - self.wall, self.error_s)


class Clocks:
    """The clocks of one machine over the time of a run."""

    def __init__(self) -> None:
        self._first = self._last = Clock()

    def begin(self, readings: Iterable[Reading]) -> None:
        """Take the offsets that hold for the run."""
        self._first = self._last = best(readings)

    def follow(self, readings: Iterable[Reading]) -> None:
        """See how far the clocks have come from where they were."""
        self._last = best(readings)

    @property
    def drift_s(self) -> float:
        """How far apart the two readings are; a part of it may be their own errors."""
        return self._last.monotonic_s - self._first.monotonic_s

    @property
    def now(self) -> Clock:
        """The offsets in force, those of the beginning, with all that they may be off up to the last reading."""
        error = max(self._first.error_s, abs(self.drift_s) + self._last.error_s)
        return Clock(self._first.monotonic_s, self._first.wall_s, error)

    def row(self) -> dict[str, float]:
        """What ``run.json`` says of them."""
        return {"offset_s": self._first.monotonic_s, "error_s": self.now.error_s, "drift_s": self.drift_s}


def best(readings: Iterable[Reading]) -> Clock:
    """The offset by the quickest of the readings."""
    return min(readings, key=lambda each: each.error_s).offset
