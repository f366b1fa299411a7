"""How long a sender of the twin's TCP waits for an acknowledgement."""

from __future__ import annotations

from testbed.twin.tcp import LEAST_TIMEOUT, MOST_TIMEOUT


class RoundTrips:
    """What a sender knows of the round trips of its connection."""

    __slots__ = ("_backoff", "_smoothed", "_variation")

    def __init__(self) -> None:
        self._smoothed, self._variation, self._backoff = 0.0, 0.0, 1

    def measured(self, round_trip: float) -> None:
        """A round trip took so many seconds."""
        if not self._smoothed:
            self._smoothed, self._variation = round_trip, round_trip / 2
            return
        error = round_trip - self._smoothed
        self._smoothed += error / 8
        self._variation += (abs(error) - self._variation) / 4

    @property
    def timeout(self) -> float:
        """Seconds without an acknowledgement after which everything counts as lost."""
        first = self._smoothed + max(LEAST_TIMEOUT, 4 * self._variation) if self._smoothed else 1.0
        return min(MOST_TIMEOUT, first * self._backoff)
