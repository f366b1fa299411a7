"""Intervals for losses."""

from __future__ import annotations

import random

import pytest

from testbed.fidelity.binomial import interval


@pytest.mark.parametrize(("trials", "share", "expected"), [
    (0, 0.5, (0, 0)), (100, 0.0, (0, 0)), (100, 1.0, (100, 100)),
    (1000, 0.01, (2, 22)), (1000, 0.1, (70, 132)), (100_000, 0.001, (69, 134)),
    (10_000_000, 0.5, (4_994_797, 5_005_203)),
])
def test_the_interval_is_that_of_the_distribution(trials: int, share: float, expected: tuple[int, int]) -> None:
    assert interval(trials, share) == expected


def test_random_losses_fall_inside_it_almost_always() -> None:
    rng = random.Random(5)
    low, high = interval(500, 0.02, confidence=0.99)
    outside = sum(not low <= sum(rng.random() < 0.02 for _ in range(500)) <= high for _ in range(1000))
    assert outside <= 25
