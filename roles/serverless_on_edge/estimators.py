"""How a dispatcher predicts what a call would take at each destination: rtt, util, delay (probe asks instead).

Times are seconds, sizes characters of input, loads percent. Predictions come from moving windows of what was seen; an
empty window predicts zero, so that a destination not heard of for long is tried again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from roles.serverless_on_edge.tables import Key

MOST_WINDOWS = 10_000  # one for each size of input that was seen


class Seen(NamedTuple):
    """What a call that ended well told: its total time, the part on the computer, and the computer's load."""

    size: int
    total: float
    ptime: float
    load: int


class Estimate(NamedTuple):
    """A prediction: the network's part and the computer's; their sum is what counts."""

    network: float
    processing: float

    @property
    def total(self) -> float:
        """Both together."""
        return self.network + self.processing


class Window:
    """A moving window of points with a line through them by least squares."""

    def __init__(self, size: int, stale_after: float = float("inf")) -> None:
        self._points: deque[tuple[float, float, float]] = deque(maxlen=size)
        self._stale_after = stale_after

    def add(self, x: float, y: float, now: float) -> None:
        """Take a point; the oldest goes when the window is full."""
        self._points.append((x, y, now))

    def predict(self, x: float, now: float) -> float:
        """The line's value at ``x``, never negative; the mean where all points have one x; 0 without points."""
        while self._points and now - self._points[0][2] > self._stale_after:
            self._points.popleft()
        n = len(self._points)
        if not n:
            return 0.0
        mean_x = sum(p[0] for p in self._points) / n
        mean_y = sum(p[1] for p in self._points) / n
        spread = sum((p[0] - mean_x) ** 2 for p in self._points)
        if spread == 0:
            return mean_y
        slope = sum((p[0] - mean_x) * (p[1] - mean_y) for p in self._points) / spread
        return max(0.0, mean_y + slope * (x - mean_x))


class Estimator(ABC):
    """Learns from calls and predicts the next."""

    @abstractmethod
    def estimate(self, key: Key, size: int, now: float) -> Estimate:
        """What a call would take."""

    @abstractmethod
    def learn(self, key: Key, seen: Seen, now: float) -> None:
        """A call has ended well."""

    @abstractmethod
    def forget(self, key: Key) -> None:
        """A destination of a function is gone."""


@dataclass
class RttEstimator(Estimator):
    """The network's part (total less time on the computer) as a line over the size of the input."""

    window_size: int
    stale_period: float
    _windows: dict[Key, Window] = field(default_factory=dict)

    def estimate(self, key: Key, size: int, now: float) -> Estimate:
        """The network alone."""
        window = self._windows.get(key)
        return Estimate(window.predict(size, now) if window else 0.0, 0.0)

    def learn(self, key: Key, seen: Seen, now: float) -> None:
        """A point of the line."""
        window = self._windows.setdefault(key, Window(self.window_size, self.stale_period))
        window.add(seen.size, max(0.0, seen.total - seen.ptime), now)

    def forget(self, key: Key) -> None:
        """Drops its window."""
        self._windows.pop(key, None)


@dataclass
class _ByLoad:
    """One line over the load for each (function, destination, exact size); a load is forgotten after a time.

    Of more sizes than MOST_WINDOWS those seen last count.
    """

    window_size: int
    load_timeout: float
    _windows: dict[tuple[Key, int], Window] = field(default_factory=dict)
    _loads: dict[str, tuple[int, float]] = field(default_factory=dict)

    def predict(self, key: Key, size: int, now: float) -> float:
        load, at = self._loads.get(key.destination, (0, now))
        window = self._windows.get((key, size))
        return window.predict(load if now - at <= self.load_timeout else 0, now) if window else 0.0

    def learn(self, key: Key, size: int, load: int, seconds: float, now: float) -> None:
        self._loads[key.destination] = (load, now)
        window = self._windows.pop((key, size), None) or Window(self.window_size)
        self._windows[key, size] = window  # those used last are last
        window.add(load, seconds, now)
        if len(self._windows) > MOST_WINDOWS:
            del self._windows[next(iter(self._windows))]

    def forget(self, key: Key) -> None:
        self._windows = {of: window for of, window in self._windows.items() if of[0] != key}


class UtilEstimator(Estimator):
    """The network's part as ``rtt`` does, the computer's as a line over its load."""

    def __init__(self, rtt: RttEstimator, window_size: int, load_timeout: float) -> None:
        self._rtt, self._ptime = rtt, _ByLoad(window_size, load_timeout)

    def estimate(self, key: Key, size: int, now: float) -> Estimate:
        """Both parts."""
        return Estimate(self._rtt.estimate(key, size, now).network, self._ptime.predict(key, size, now))

    def learn(self, key: Key, seen: Seen, now: float) -> None:
        """A point of each line."""
        self._rtt.learn(key, seen, now)
        self._ptime.learn(key, seen.size, seen.load, seen.ptime, now)

    def forget(self, key: Key) -> None:
        """Drops both."""
        self._rtt.forget(key)
        self._ptime.forget(key)


class DelayEstimator(Estimator):
    """The total as a line over the computer's load."""

    def __init__(self, window_size: int, load_timeout: float) -> None:
        self._total = _ByLoad(window_size, load_timeout)

    def estimate(self, key: Key, size: int, now: float) -> Estimate:
        """The total, told as the computer's part."""
        return Estimate(0.0, self._total.predict(key, size, now))

    def learn(self, key: Key, seen: Seen, now: float) -> None:
        """A point of the line."""
        self._total.learn(key, seen.size, seen.load, seen.total, now)

    def forget(self, key: Key) -> None:
        """Drops its windows."""
        self._total.forget(key)
