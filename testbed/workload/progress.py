"""How far a client has come, for whoever watches the run: counts and percentiles in constant memory."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

from testbed.store import write_atomically

_STEPS = 40  # buckets for each factor e: percentiles are right to 2.5 %
_SMALLEST = 1e-6


class Histogram:
    """Durations in seconds, kept as counts of logarithmic buckets."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._total = 0

    def add(self, seconds: float) -> None:
        """Count one duration; anything below a microsecond counts as that."""
        bucket = round(math.log(max(seconds, _SMALLEST)) * _STEPS)
        self._counts[bucket] = self._counts.get(bucket, 0) + 1
        self._total += 1

    def percentile(self, share: float) -> float | None:
        """The duration that ``share`` of all do not exceed; None without any."""
        wanted = math.ceil(share * self._total)
        for bucket in sorted(self._counts):
            wanted -= self._counts[bucket]
            if wanted <= 0:
                return float(f"{math.exp(bucket / _STEPS):.3g}")
        return None


@dataclass
class Progress:
    """Counts of one client. ``failed`` are those of ``done`` that did not end well, dropped ones included."""

    scheduled: int
    sent: int = 0
    done: int = 0
    failed: int = 0
    dropped: int = 0
    response_time: Histogram = field(default_factory=Histogram)
    send_delay: Histogram = field(default_factory=Histogram)

    def write(self, folder: Path, t: float) -> None:
        """Replace ``progress.json``; ``t`` is seconds after the start of the workload."""
        record = {
            "t": round(t, 3), "scheduled": self.scheduled, "sent": self.sent, "done": self.done, "failed": self.failed,
            "dropped": self.dropped, "response_time_p50_s": self.response_time.percentile(0.5),
            "response_time_p95_s": self.response_time.percentile(0.95),
            "send_delay_p99_s": self.send_delay.percentile(0.99),
        }
        write_atomically(folder / "progress.json", json.dumps(record))
