"""Intervals of a round length, rates in them, and counters turned into growth."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import bins


@pytest.mark.parametrize(
    ("span", "step"), [(60, 1.0), (61, 2.0), (3, 0.1), (0.2, 0.1), (0, 0.1), (599, 10.0), (86400, 2000.0)]
)
def test_the_step_is_the_shortest_round_one(span: float, step: float) -> None:
    assert bins.width(span) == pytest.approx(step)


TIMES = st.lists(st.integers(-(10**10), 10**12).map(lambda micro: micro / 1e6), min_size=1, max_size=50)


@given(TIMES, st.integers(2, 100))
def test_no_time_is_left_out_of_the_intervals(times: list[float], most: int) -> None:
    borders = bins.edges(pd.Series(times), most)
    counted = (bins.rates(pd.Series(times), borders) * (borders[1:] - borders[:-1])).sum()
    assert counted == pytest.approx(len(times))
    assert len(borders) <= most + 3


def test_growth_counts_from_zero_where_an_agent_was_started_anew() -> None:
    samples = pd.DataFrame({"t": [0.0, 1.0, 2.0, 3.0], "agent": "a", "cpu_s": [1.0, 4.0, 0.5, 1.5]})
    assert bins.increments(samples, ["agent"], "cpu_s")["grown"].tolist() == [3.0, 0.5, 1.0]


def test_growth_keeps_the_series_apart() -> None:
    samples = pd.DataFrame({"t": [0.0, 0.0, 2.0, 2.0], "link": ["a", "b", "a", "b"], "n": [0, 100, 10, 300]})
    grown = bins.increments(samples, ["link"], "n").set_index("link")
    assert grown["grown"].to_dict() == {"a": 10.0, "b": 200.0}
    assert grown["dt"].to_dict() == {"a": 2.0, "b": 2.0}
