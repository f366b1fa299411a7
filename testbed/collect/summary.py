"""What a run says in a few numbers: one row for each function and one for all, over the phase ``measure``.

Percentiles interpolate linearly between the two nearest ranks (the default of NumPy and pandas, so that figures drawn
from ``invocations.csv`` show the same values). A 99th percentile needs a thousand rows to mean anything and stays
empty below. Times are those of good answers; what failed is counted, not timed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy

from testbed.collect.columns import Array, Columns
from testbed.tables import Row

ROWS_FOR_P99 = 1000


def percentile(ordered: Sequence[float] | Array, share: float) -> float | None:
    """The value below which ``share`` (0 to 1) of the ascending ``ordered`` lies; None of no values."""
    if not len(ordered):
        return None
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return float(ordered[low] + (ordered[high] - ordered[low]) * (place - low))


def ascending(values: Array) -> Array:
    """The ``values`` that are known, in order."""
    return numpy.sort(values[~numpy.isnan(values)])


def summarise(invocations: Columns, phase_s: float | None = None) -> Iterator[Row]:
    """The rows of ``summary.csv``: ``*`` for all first, then each function by name.

    ``phase_s`` is the length of the phase ``measure``; without it, the time from its first scheduled invocation to the
    last answer counts.
    """
    table = _Table(invocations, phase_s)
    yield table.row("*", numpy.flatnonzero(table.measured))
    for name, rows in table.by_function():
        yield table.row(name, rows)


class _Table:
    def __init__(self, invocations: Columns, phase_s: float | None) -> None:
        self.measured = invocations.column("phase") == "measure"
        self._function = invocations.column("function")
        self._is_good = invocations.column("status") == "ok"
        self._cold = invocations.column("cold")
        self._response = invocations.column("response_time_s")
        self._service = invocations.column("service_latency_s")
        self._span = phase_s or self._from_start_to_end(invocations)

    def _from_start_to_end(self, invocations: Columns) -> float:
        starts, ends = (ascending(invocations.column(name)[self.measured]) for name in ("t_scheduled", "t_done"))
        return float(ends[-1] - starts[0]) if len(starts) and len(ends) else 0.0

    def by_function(self) -> Iterator[tuple[str, Array]]:
        """The rows of each function that was measured."""
        rows = numpy.flatnonzero(self.measured)
        names = sorted(set(self._function[rows].tolist()))
        numbers = {name: number for number, name in enumerate(names)}
        function = numpy.fromiter(map(numbers.__getitem__, self._function[rows]), numpy.int32, len(rows))
        ends = numpy.cumsum(numpy.bincount(function, minlength=len(names)))
        return zip(names, numpy.split(rows[numpy.argsort(function, kind="stable")], ends[:-1]), strict=True)

    def row(self, function: str, rows: Array) -> Row:
        """What these rows say."""
        good = rows[self._is_good[rows]]
        response, service = ascending(self._response[good]), ascending(self._service[good])
        cold = [value for value in self._cold[good].tolist() if value is not None]
        return {
            "function": function,
            "scheduled": len(rows),
            "ok": len(good),
            "failed": len(rows) - len(good),
            "throughput": len(good) / self._span if self._span > 0 else None,
            "cold_share": sum(cold) / len(cold) if cold else None,
            "response_time_mean_s": math.fsum(response) / len(response) if len(response) else None,
            "response_time_p50_s": percentile(response, 0.50),
            "response_time_p90_s": percentile(response, 0.90),
            "response_time_p95_s": percentile(response, 0.95),
            "response_time_p99_s": percentile(response, 0.99) if len(response) >= ROWS_FOR_P99 else None,
            "service_latency_p50_s": percentile(service, 0.50),
            "service_latency_p90_s": percentile(service, 0.90),
        }
