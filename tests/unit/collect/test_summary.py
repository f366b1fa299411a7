"""A run in a few numbers."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rows_as_columns import Rows

from testbed.collect.schema import SUMMARY
from testbed.collect.summary import percentile, summarise


def row(response: float, **more: Any) -> dict[str, Any]:
    return {"phase": "measure", "function": "f", "status": "ok", "t_scheduled": 0.0, "t_done": response,
            "response_time_s": response, "service_latency_s": response} | more


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.floats(0, 1))
def test_percentiles_are_those_of_numpy(values: list[float], share: float) -> None:
    assert percentile(sorted(values), share) == pytest.approx(numpy.percentile(values, share * 100), rel=1e-9, abs=1e-6)


def test_counts_every_row_and_times_the_good_ones_of_the_phase_measure_only() -> None:
    rows = [row(0.1), row(0.3), row(9.0, status="timeout"), row(5.0, phase="warmup"), row(0.2, function="g")]
    everything, f, g = summarise(Rows(rows), phase_s=10.0)
    assert (everything["function"], everything["scheduled"], everything["ok"], everything["failed"]) == ("*", 4, 3, 1)
    assert everything["throughput"] == pytest.approx(0.3)
    assert (f["response_time_p50_s"], f["response_time_mean_s"]) == (pytest.approx(0.2), pytest.approx(0.2))
    assert (g["scheduled"], g["response_time_p90_s"]) == (1, 0.2)


@pytest.mark.parametrize(("count", "told"), [(999, False), (1000, True)])
def test_a_99th_percentile_needs_a_thousand_rows(count: int, told: bool) -> None:
    total = next(iter(summarise(Rows([row(float(number)) for number in range(count)]))))
    assert (total["response_time_p99_s"] is not None) is told


def test_a_run_without_a_single_answer_has_counts_and_empty_times() -> None:
    total = next(iter(summarise(Rows([row(0.0, status="lost", t_done=None, response_time_s=None)]))))
    assert (total["scheduled"], total["failed"]) == (1, 1)
    assert (total["response_time_p50_s"], total["cold_share"]) == (None, None)
    assert set(total) == set(SUMMARY.header)


def test_the_share_of_cold_starts_counts_answers_that_tell() -> None:
    total = next(iter(summarise(Rows([row(0.1, cold=True), row(0.1, cold=False), row(0.1, cold=None)]))))
    assert total["cold_share"] == pytest.approx(0.5)
