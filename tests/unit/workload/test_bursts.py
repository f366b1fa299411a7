"""Arrivals in bursts: how they are distributed."""

from __future__ import annotations

import math
from collections import Counter
from statistics import fmean, pstdev

import pytest
from plans import gaps, times


def test_batches_come_at_once_and_are_poisson_in_number_and_size() -> None:
    sizes = [Counter(times({"model": "batches", "every": "100ms", "size": 4}, seed)) for seed in range(5)]
    counts = [count for each in sizes for count in each.values()]
    share = 1 - math.exp(-4)  # those without any leave no trace
    assert len(counts) == pytest.approx(5 * 1000 * share, rel=0.05)
    assert fmean(counts) == pytest.approx(4 / share, rel=0.05)
    assert pstdev(counts) == pytest.approx(2.0, rel=0.1)


def test_gaps_while_on_are_as_asked_for() -> None:
    short = {"model": "onoff", "rate": "100/s", "on": "1s", "off": "10s", "spread": "constant"}
    inside = {kind: [gap for gap in gaps(times(short | {"gaps": kind})) if gap < 5]
              for kind in ("exponential", "uniform", "constant")}  # fmt: skip
    assert max(inside["uniform"]) < 0.0201 and pstdev(inside["uniform"]) == pytest.approx(0.01 / math.sqrt(3), rel=0.1)
    assert inside["constant"] == pytest.approx([0.01] * len(inside["constant"]))
    assert pstdev(inside["exponential"]) == pytest.approx(0.01, rel=0.15)
