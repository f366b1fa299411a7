"""What a run says in a few numbers: one row for each function and one for all, over the phase ``measure``.

Percentiles interpolate linearly between the two nearest ranks (the default of NumPy and pandas, so that figures drawn
from ``invocations.csv`` show the same values). A 99th percentile needs a thousand rows to mean anything and stays
empty below. Times are those of good answers; what failed is counted, not timed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from testbed.tables import Row

ROWS_FOR_P99 = 1000
Record = Mapping[str, Any]


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The value below which ``share`` (0 to 1) of the ascending ``ordered`` lies; None of no values."""
    if not ordered:
        return None
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def summarise(rows: Iterable[Record], phase_s: float | None = None) -> Iterator[Row]:
    """The rows of ``summary.csv``: ``*`` for all first, then each function by name.

    ``phase_s`` is the length of the phase ``measure``; without it, the time from its first scheduled invocation to the
    last answer counts.
    """
    measured = [row for row in rows if row["phase"] == "measure"]
    span = phase_s or _span(measured)
    yield _summary("*", measured, span)
    for name in sorted({row["function"] for row in measured}):
        yield _summary(name, [row for row in measured if row["function"] == name], span)


def _span(rows: Sequence[Record]) -> float:
    starts = [row["t_scheduled"] for row in rows if row.get("t_scheduled") is not None]
    ends = [row["t_done"] for row in rows if row.get("t_done") is not None]
    return max(ends) - min(starts) if starts and ends else 0.0


def _summary(function: str, rows: Sequence[Record], span: float) -> Row:
    good = [row for row in rows if row["status"] == "ok"]
    response = _ascending(good, "response_time_s")
    service = _ascending(good, "service_latency_s")
    cold = [row["cold"] for row in good if row.get("cold") is not None]
    return {
        "function": function,
        "scheduled": len(rows),
        "ok": len(good),
        "failed": len(rows) - len(good),
        "throughput": len(good) / span if span > 0 else None,
        "cold_share": sum(cold) / len(cold) if cold else None,
        "response_time_mean_s": math.fsum(response) / len(response) if response else None,
        "response_time_p50_s": percentile(response, 0.50),
        "response_time_p90_s": percentile(response, 0.90),
        "response_time_p95_s": percentile(response, 0.95),
        "response_time_p99_s": percentile(response, 0.99) if len(response) >= ROWS_FOR_P99 else None,
        "service_latency_p50_s": percentile(service, 0.50),
        "service_latency_p90_s": percentile(service, 0.90),
    }


def _ascending(rows: Iterable[Record], name: str) -> list[float]:
    return sorted(row[name] for row in rows if row.get(name) is not None)
