"""Measured beside published values: the judgement follows the stated tolerance and nothing else."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from testbed.experiment.claims import Published
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


def test_refuses_a_published_zero_to_which_no_tolerance_can_be_relative() -> None:
    with pytest.raises(ValidationError, match="expected a number other than 0"):
        claims(values=[{"name": "lost", "metric": "failed", "value": 0, "tolerance": 0.1}])


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


def test_a_rise_is_that_between_two_points() -> None:
    between = [{"size": "1MB"}, {"size": "5MB"}]
    rise = {"name": "slope", "metric": P90, "between": between, "value": 0.4, "tolerance": 0.2}
    points = [({"payload.size": size}, {P90: value}) for size, value in [("1MB", 0.2), ("2MB", 0.9), ("5MB", 0.65)]]
    told = compare(claims(rises=[rise]), points)
    assert told["reproduced"] and told["rows"][0]["measured"] == pytest.approx(0.45)
    assert not compare(claims(rises=[rise]), points[:2])["reproduced"]


@pytest.mark.parametrize(
    ("other", "where"), [([0.5, 0.5, 0.5], 17.5), ([0.1, 0.1, 0.9], 10.0), ([2.0] * 3, None), ([0.0] * 3, None)]
)
def test_two_curves_cross_where_they_change_places(other: list[float], where: float | None) -> None:
    crossing = {"name": "cross", "metric": P90, "over": "users", "between": [{"share": 0}, {"share": 1}],
                "value": 17.5, "tolerance": 0.001}  # fmt: skip
    curves = [[0.1, 0.3, 1.1], other]
    points = [({"share": share, "a.users": users}, {P90: value}) for share, curve in enumerate(curves)
              for users, value in zip([10, 15, 25], curve, strict=True)]  # fmt: skip
    told = compare(claims(crossings=[crossing]), points)
    assert told["rows"][0]["measured"] == (None if where is None else pytest.approx(where))
    assert told["reproduced"] is (where == 17.5)


def test_points_with_other_seeds_are_repetitions_whose_mean_counts() -> None:
    value = {"name": "v", "metric": P90, "value": 2.0, "tolerance": 0.01, "at": {"users": "10Mbit"}}
    points = [({"seed": seed, "a.users": "10Mbit"}, {P90: seed}) for seed in (1, 2, 3)]
    assert compare(claims(values=[value]), points)["rows"][0]["measured"] == 2.0


@pytest.mark.parametrize(("of_seeds", "measured"), [("mean", 4.0), ("median", 2.0), ("min", 1.0), ("max", 9.0)])
def test_a_value_may_be_another_than_the_mean_of_all_seeds(of_seeds: str, measured: float) -> None:
    value = {"name": "v", "metric": P90, "value": 2.0, "tolerance": 0.01, "of_seeds": of_seeds}
    points = [({"seed": seed}, {P90: seed}) for seed in (1, 9, 2)]
    assert compare(claims(values=[value]), points)["rows"][0]["measured"] == measured


def test_curves_run_along_amounts_as_well_as_numbers() -> None:
    crossing = {"name": "cross", "metric": P90, "over": "rate", "between": [{"m": "a"}, {"m": "b"}],
                "value": 15.0, "tolerance": 0.001}  # fmt: skip
    points = [({"m": m, "x.rate": rate, "seed": seed}, {P90: value + seed})
              for seed in (0, 5) for m, rate, value in (("a", "10Mbit", 1), ("a", "20Mbit", 3),
                                                        ("b", "10Mbit", 2), ("b", "20Mbit", 2))]  # fmt: skip
    assert compare(claims(crossings=[crossing]), points)["rows"][0]["measured"] == pytest.approx(15.0)


@pytest.mark.parametrize(
    ("values", "reproduced"), [([1, 2, 5], True), ([1, 2, 3], False), ([2, 1, 5], False), ([1], False)]
)
def test_an_order_holds_for_all_its_points(values: list[float], reproduced: bool) -> None:
    order = {"name": "more", "metric": P90, "rising": [{"n": 0}, {"n": 1}, {"n": 2}], "factor": 1.6}
    points = [({"n": number}, {P90: value}) for number, value in enumerate(values)]
    assert compare(claims(orders=[order]), points)["reproduced"] is reproduced
