"""How far two clocks are apart, from readings of one sent to the other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from testbed.substrate.remote_clock import Clocks, Reading, best


def reading(offset: float, there_s: float, back_s: float, at: float = 100.0) -> Reading:
    """Asked at ``at``; their clocks lack ``offset`` to ours; our wall clock is 1000 s ahead of our monotonic one."""
    return Reading(at, at + there_s + back_s, 1000.0, at + there_s - offset, at + there_s + 1000.0 - offset)


delays = st.floats(0, 0.5)


@given(st.floats(-1e4, 1e4), st.lists(st.tuples(delays, delays), min_size=1, max_size=20))
def test_the_offset_is_never_farther_off_than_the_error_says(offset: float, ways: list[tuple[float, float]]) -> None:
    found = best(reading(offset, there, back) for there, back in ways)
    assert abs(found.monotonic_s - offset) <= found.error_s + 1e-6
    assert abs(found.wall_s - offset) <= found.error_s + 1e-6
    assert found.error_s <= min(there + back for there, back in ways) / 2 + 1e-6


@given(st.floats(-100, 100), st.floats(-0.1, 0.1), delays, delays)
def test_what_drifted_until_the_end_is_within_the_error(offset: float, drift: float, there: float, back: float) -> None:
    clocks = Clocks()
    clocks.begin([reading(offset, there, back)])
    clocks.follow([reading(offset + drift, back, there, at=500.0)])
    assert abs(clocks.now.monotonic_s - offset) <= clocks.now.error_s + 1e-6
    assert abs(clocks.now.monotonic_s - (offset + drift)) <= clocks.now.error_s + 1e-6
    assert clocks.row()["error_s"] == clocks.now.error_s


def test_before_anything_is_read_clocks_are_taken_as_one() -> None:
    assert (Clocks().now.monotonic_s, Clocks().now.error_s) == (0.0, 0.0)
