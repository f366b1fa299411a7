"""Measured beside published values: the judgement follows the stated tolerance and nothing else."""

from __future__ import annotations

import pytest

from testbed.experiment.model import Published
from testbed.published import compare

P90 = "service_latency_p90_s"


def claims(**more: object) -> Published:
    return Published.model_validate({"source": "a paper", **more})


@pytest.mark.parametrize(
    ("measured", "reproduced"), [(1.0, True), (1.1, True), (0.9, True), (1.11, False), (None, False)]
)
def test_a_value_counts_within_its_tolerance(measured: float | None, reproduced: bool) -> None:
    published = claims(values=[{"name": "median", "metric": P90, "value": 1.0, "tolerance": 0.1000001}])
    told = compare(published, [({}, {P90: measured})])
    assert (told["reproduced"], told["rows"][0]["measured"]) == (reproduced, measured)


def test_a_value_belongs_to_the_point_of_a_sweep_that_it_names() -> None:
    value = {"name": "at 3 %", "metric": P90, "value": 0.2, "tolerance": 0.01, "at": {"loss": "3%"}}
    points = [({"links[0].loss": "1%"}, {P90: 0.9}), ({"links[0].loss": "3%"}, {P90: 0.2})]
    assert compare(claims(values=[value]), points)["reproduced"]
    assert not compare(claims(values=[value]), points[:1])["reproduced"]


@pytest.mark.parametrize(
    ("curve", "reproduced"),
    [
        ([0.04, 0.04, 0.04, 0.29, 0.29], True),
        ([0.04, 0.04, 0.04, 0.05, 0.29], False),  # it jumps later
        ([0.04, 0.04, 0.29, 0.90, 0.95], False),  # it jumps before as well
        ([0.04, 0.04, 0.04], False),  # the sweep did not come so far
    ],
)
def test_a_jump_is_where_it_was_published_and_nowhere_before(curve: list[float], reproduced: bool) -> None:
    published = claims(jumps=[{"metric": P90, "between": ["2%", "3%"], "factor": 3}])
    points = [({"loss": f"{number}%"}, {P90: value}) for number, value in enumerate(curve)]
    assert compare(published, points)["reproduced"] is reproduced
