"""How far a client has come, for whoever watches the run: counts and percentiles in constant memory."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from math import ceil, exp, log
from pathlib import Path
from typing import Any

from testbed.store import write_atomically

_STEPS = 40  # buckets for each factor e: percentiles are right to 2.5 %
_SMALLEST = 1e-6
_FIRST = round(log(_SMALLEST) * _STEPS)


class Histogram:
    """Durations in seconds, kept as counts of logarithmic buckets."""

    def __init__(self) -> None:
        self._counts: defaultdict[int, int] = defaultdict(int)
        self._total = 0

    def add(self, seconds: float) -> None:
        """Count one duration; anything below a microsecond counts as that."""
        self._counts[round(log(seconds) * _STEPS) if seconds > _SMALLEST else _FIRST] += 1
        self._total += 1

    def percentile(self, share: float) -> float | None:
        """The duration that ``share`` of all do not exceed; None without any."""
        wanted = ceil(share * self._total)
        for bucket in sorted(self._counts):
            wanted -= self._counts[bucket]
            if wanted <= 0:
                return float(f"{exp(bucket / _STEPS):.3g}")
        return None


@dataclass
class Progress:
    """Counts of one client. ``failed`` are those of ``done`` that did not end well, dropped ones included."""

    scheduled: int = 0
    sent: int = 0
    done: int = 0
    failed: int = 0
    dropped: int = 0
    response_time: Histogram = field(default_factory=Histogram)
    send_delay: Histogram = field(default_factory=Histogram)

    def write(self, folder: Path, t: float) -> None:
        """Replace ``progress.json`` by what :meth:`told` gives."""
        write_atomically(folder / "progress.json", json.dumps(self.told(t)))

    def told(self, t: float) -> dict[str, Any]:
        """All of it as plain data; ``t`` is seconds after the start of the workload."""
        return {
            "t": round(t, 3), "scheduled": self.scheduled, "sent": self.sent, "done": self.done, "failed": self.failed,
            "dropped": self.dropped, "response_time_p50_s": self.response_time.percentile(0.5),
            "response_time_p95_s": self.response_time.percentile(0.95),
            "send_delay_p99_s": self.send_delay.percentile(0.99),
        }
