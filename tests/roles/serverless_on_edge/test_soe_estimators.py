"""The dispatcher's predictions."""

from __future__ import annotations

import pytest

from roles.serverless_on_edge.estimators import DelayEstimator, RttEstimator, Seen, UtilEstimator, Window
from roles.serverless_on_edge.tables import Key

A, B = Key("f", "a"), Key("f", "b")


@pytest.mark.parametrize(
    ("points", "x", "expected"),
    [
        ([], 5, 0.0),
        ([(1, 2)], 100, 2.0),
        ([(1, 2), (1, 4)], 7, 3.0),
        ([(0, 1), (10, 2)], 20, 3.0),
        ([(0, 1), (10, 2)], -100, 0.0),
        ([(0, 0), (1, 1), (2, 5)], 1, 2.0),
    ],
)
def test_a_window_predicts_by_least_squares(points: list[tuple[float, float]], x: float, expected: float) -> None:
    window = Window(50)
    for at_x, y in points:
        window.add(at_x, y, 0.0)
    assert window.predict(x, 0.0) == pytest.approx(expected)


def test_a_window_keeps_its_size_and_forgets_what_is_stale() -> None:
    window = Window(3, stale_after=10)
    for now in range(6):
        window.add(1, float(now), float(now))
    assert window.predict(1, 5.0) == 4.0
    assert window.predict(1, 14.5) == 5.0
    assert window.predict(1, 15.5) == 0.0


def test_rtt_predicts_the_network_by_the_size_of_the_input() -> None:
    estimator = RttEstimator(50, 10.0)
    estimator.learn(A, Seen(100, 0.2, 0.1, 0), 0.0)
    estimator.learn(A, Seen(200, 0.3, 0.1, 0), 0.0)
    assert estimator.estimate(A, 300, 1.0) == pytest.approx((0.3, 0.0))
    assert estimator.estimate(B, 300, 1.0).total == 0.0, "a new destination is tried"
    assert estimator.estimate(A, 300, 11.0).total == 0.0, "a stale one is tried again"
    estimator.forget(A)
    assert estimator.estimate(A, 300, 1.0).total == 0.0


def test_util_adds_the_time_on_the_computer_by_its_load() -> None:
    estimator = UtilEstimator(RttEstimator(50, 10.0), 50, 10.0)
    for load, ptime in ((0, 0.1), (50, 0.2)):
        estimator.learn(A, Seen(100, ptime + 0.05, ptime, load), 0.0)
    found = estimator.estimate(A, 100, 1.0)
    assert (found.network, found.processing) == pytest.approx((0.05, 0.2)), "at the last load, which was 50"
    assert estimator.estimate(A, 100, 10.5).processing == pytest.approx(0.1), "a load that is too old counts as none"
    assert estimator.estimate(A, 101, 1.0).processing == 0.0, "each exact size has a line of its own"
    estimator.forget(A)
    assert estimator.estimate(A, 100, 1.0).total == 0.0


def test_delay_predicts_the_total_by_the_load() -> None:
    estimator = DelayEstimator(50, 10.0)
    for load, total in ((0, 0.1), (100, 0.3)):
        estimator.learn(A, Seen(100, total, 0.0, load), 0.0)
    estimator.learn(A, Seen(100, 0.2, 0.0, 50), 0.0)
    assert estimator.estimate(A, 100, 1.0).total == pytest.approx(0.2)
    estimator.forget(A)
    assert estimator.estimate(A, 100, 1.0).total == 0.0


def test_of_more_sizes_than_are_kept_those_seen_last_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roles.serverless_on_edge.estimators.MOST_WINDOWS", 3)
    estimator = DelayEstimator(50, 10.0)
    for size in (1, 2, 3, 1, 4, 5):
        estimator.learn(A, Seen(size, 0.5, 0.1, 0), 0.0)
    assert [estimator.estimate(A, size, 0.0).total for size in range(1, 6)] == [0.5, 0.0, 0.0, 0.5, 0.5]
