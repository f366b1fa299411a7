"""Evidence in, verdict out: a table."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy
import pytest
from rows_as_columns import Rows

from testbed.collect.sampler import Cost
from testbed.fidelity.evidence import Evidence, Firing, LinkUse, firing, link_uses
from testbed.fidelity.limits import LIMITS, reference
from testbed.fidelity.verdict import CHECKS, judge
from testbed.fidelity.watch import MachineSample
from testbed.shaping.base import Counters
from testbed.topology.model import End
from testbed.topology.shape import Shape

CALM_FIRING = Firing(1000, 1000, 0.0004, 0.002, 0.01, 0.05)
CALM_SECOND = MachineSample(1.0, 1.0, 0.3, 0.0, 0.1, 0.0, 0.1, 0.1, 100, 0.0001, 0.001, 0.004)
CALM_LINK = LinkUse("a-b", "a", 10_000, 0, 101, 0, 0.01, 0.01, False, False)
CALM_PATH = {"from": "a", "to": "b", "asked_delay_s": 0.01, "measured_p50_s": 0.0102, "asked_rate": 1e7,
             "measured_rate": 0.99e7}
CALM_SAMPLING = Cost(20, 0, 0.5, 0.6, 0.05, 10.0)
CALM = Evidence(CALM_FIRING, {"worker on w1": 0.002}, (CALM_SECOND,) * 20, (CALM_LINK,), (CALM_PATH,), (), (), (),
                CALM_SAMPLING, 0.01, {"c": 0.001})


SPECIAL = {"unwatched", "event_late", "uncalibrated", "background_failed", "background_late", "outside", "unshaped",
           "clock_error"}

REAL = {"between_machines": "real", "asked_loss": 0.0, "asked_jitter_s": 0.0, "clock_error_s": 0.0002}
SHAPED = {"between_machines": "shaped", "clock_error_s": 0.001}


def busy(**more: Any) -> tuple[MachineSample, ...]:
    return (replace(CALM_SECOND, **more),) * 20


def path(**more: Any) -> tuple[dict[str, Any], ...]:
    return ({**CALM_PATH, **more},)


def event(late: float) -> tuple[dict[str, Any], ...]:
    return ({"t_planned": 5.0, "t_actual": 5.0 + late, "kind": "cut", "subject": "a-b", "detail": ""},)


def flow(**more: Any) -> tuple[dict[str, Any], ...]:
    return ({"name": "noise", "error": "", "send_delay_p99_s": 0.001, **more},)


FLAGGED = [
    ("shortfall", "suspect", {"firing": replace(CALM_FIRING, issued=995)}),
    ("shortfall", "invalid", {"firing": replace(CALM_FIRING, issued=980)}),
    ("send_delay_p50", "suspect", {"firing": replace(CALM_FIRING, delay_p50_s=0.003)}),
    ("send_delay_p50", "invalid", {"firing": replace(CALM_FIRING, delay_p50_s=0.05)}),
    ("send_delay_p99", "suspect", {"firing": replace(CALM_FIRING, delay_p99_s=0.02)}),
    ("send_delay_p99", "invalid", {"firing": replace(CALM_FIRING, delay_p99_s=0.2)}),
    ("unwatched", "suspect", {"firing": None}),
    ("agent_lag", "suspect", {"lags": {"worker on w1": 0.001, "router on r1": 0.1}}),
    ("agent_lag", "invalid", {"lags": {"router on r1": 0.5}}),
    ("saturation", "suspect", {"machine": busy(busy=0.995)}),
    ("saturation", "suspect", {"machine": busy()[:16] + busy(busy=1.0)[:4]}),
    ("pressure", "suspect", {"machine": busy(pressure=0.7)}),
    ("steal", "suspect", {"machine": busy(steal=0.05)}),
    ("steal", "invalid", {"machine": busy(steal=0.3)}),
    ("throttled", "suspect", {"machine": busy(throttled_s=0.05)}),
    ("relay_late_p50", "suspect", {"machine": busy(relay_late_p50_s=0.003)}),
    ("relay_late_p99", "suspect", {"machine": busy(relay_late_p99_s=0.02)}),
    ("relay_late_p99", "invalid", {"machine": busy(relay_late_p99_s=0.2)}),
    ("own_load", "suspect", {"machine": busy(own_busiest=0.99)}),
    ("unwatched", "suspect", {"machine": ()}),
    ("relay_overload", "suspect", {"links": (replace(CALM_LINK, dropped_relay=5),)}),
    ("relay_overload", "invalid", {"links": (replace(CALM_LINK, dropped_relay=5000),)}),
    ("unasked_drops", "suspect", {"links": (replace(CALM_LINK, dropped_queue=20),)}),
    ("loss", "suspect", {"links": (replace(CALM_LINK, dropped_loss=0),)}),
    ("loss", "suspect", {"links": (replace(CALM_LINK, dropped_loss=200),)}),
    ("loss", "suspect", {"links": (replace(CALM_LINK, loss_min=0.0, loss_max=0.0),)}),
    ("loss", "suspect", {"links": (replace(CALM_LINK, dropped_loss=0, dropped_queue=200, counts_together=True),)}),
    ("delay_error", "suspect", {"calibration": path(measured_p50_s=0.0125)}),
    ("delay_error", "invalid", {"calibration": path(measured_p50_s=0.03)}),
    ("rate_error", "suspect", {"calibration": path(measured_rate=0.9e7)}),
    ("rate_error", "invalid", {"calibration": path(measured_rate=0.5e7)}),
    ("unmeasured", "suspect", {"calibration": path(measured_p50_s=None)}),
    ("unshaped", "suspect", {"calibration": path(**REAL, measured_p50_s=0.0002)}),
    ("unshaped", "suspect", {"calibration": path(**REAL, measured_rate=9e7)}),
    ("unshaped", "suspect", {"calibration": path(**REAL, measured_rate=None)}),
    ("unshaped", "suspect", {"calibration": path(**{**REAL, "asked_loss": 0.1})}),
    ("unwatched", "suspect", {"calibration": path(**SHAPED, asked_loss=0.1)}),
    ("delay_error", "suspect", {"calibration": path(**SHAPED, asked_loss=0.0, measured_p50_s=0.0132)}),
    ("clock_error", "suspect", {"clocks": {"lab1": 0.0001, "lab2": 0.007}}),
    ("clock_error", "invalid", {"clocks": {"lab1": 0.2}}),
    ("event_late", "suspect", {"events": event(0.3)}),
    ("event_late", "invalid", {"events": event(3.0)}),
    ("exits", "invalid", {"exits": ("worker on w1 exited with status 1",)}),
    ("refused", "invalid", {"refused": ("outcomes.csv: a second outcome of invocation 4",)}),
    ("client_throttled", "suspect", {"throttled": {"c": 0.3}}),
    ("watch_gap", "suspect", {"sampling": replace(CALM_SAMPLING, gap_max_s=3.0)}),
    ("unwatched", "suspect", {"sampling": replace(CALM_SAMPLING, failure="OSError: the relay is gone")}),
    ("unwatched", "suspect", {"sampling": None}),
    ("background_failed", "invalid", {"background": flow(error="ended too early")}),
    ("background_late", "suspect", {"background": flow(send_delay_p99_s=0.03)}),
    ("background_late", "invalid", {"background": flow(send_delay_p99_s=0.3)}),
    ("outside", "suspect", {"outside": "through r1 by a program"}),
    ("uncalibrated", "suspect", {"virtual": True, "machine": (), "doubts": ("the Python of the function f",)}),
]

ACCEPTED = [
    {"virtual": True, "machine": ()},
    {"firing": replace(CALM_FIRING, response_p50_s=2.0, delay_p99_s=0.1)},
    {"machine": busy()[:19] + busy(busy=1.0)[:1]},
    {"machine": busy(pressure=None)},
    {"machine": busy(relay_packets=0, relay_late_p50_s=None, relay_late_p99_s=None)},
    {"links": (replace(CALM_LINK, dropped_queue=900, has_rate=True),)},
    {"links": (replace(CALM_LINK, dropped_queue=9000, dropped_loss=191, has_rate=True),), "background": flow(loss=0.5)},
    {"links": (replace(CALM_LINK, packets=50, dropped_loss=5),)},
    {"links": (replace(CALM_LINK, dropped_loss=300, loss_min=0.0, loss_max=0.05),)},
    {"links": (replace(CALM_LINK, dropped_loss=0, dropped_queue=100, counts_together=True),)},
    {"calibration": path(asked_delay_s=0.1, measured_p50_s=0.104)},
    {"calibration": path(measured_rate=None)},
    {"calibration": path(**REAL)},
    {"calibration": path(**SHAPED, asked_loss=0.0, measured_p50_s=0.0118), "clocks": {"lab1": 0.001}},
    {"firing": replace(CALM_FIRING, response_p50_s=2.0), "clocks": {"lab1": 0.1}},
    {"events": event(0.05)},
    {"sampling": replace(CALM_SAMPLING, period_s=5.0, gap_max_s=10.0)},
]


def test_a_calm_run_is_valid_and_shows_every_figure() -> None:
    verdict = judge(CALM)
    assert (verdict.level, verdict.reasons) == ("valid", ())
    assert verdict.figures.keys() == {limit.check for limit in LIMITS} - SPECIAL


@pytest.mark.parametrize(("check", "level", "change"), FLAGGED)
def test_flags_each_kind_of_disturbance_and_nothing_else(check: str, level: str, change: dict[str, Any]) -> None:
    verdict = judge(replace(CALM, **change))
    assert [(reason.check, reason.level) for reason in verdict.reasons] == [(check, level)]
    assert verdict.level == level


@pytest.mark.parametrize("change", ACCEPTED)
def test_accepts_what_does_not_matter(change: dict[str, Any]) -> None:
    assert judge(replace(CALM, **change)).reasons == ()


def test_every_check_has_a_case_that_it_flags() -> None:
    assert {check for check, _, _ in FLAGGED} == {limit.check for limit in LIMITS}
    assert len(CHECKS) == 11


def test_the_worst_of_many_links_is_named_and_the_others_are_counted() -> None:
    links = tuple(replace(CALM_LINK, node=node, dropped_relay=count) for node, count in (("a", 5), ("b", 9), ("c", 0)))
    reason = judge(replace(CALM, links=links)).reasons[0]
    assert "at link a-b leaving b" in reason.what
    assert "the same holds for 1 more" in reason.what


def test_an_invalid_reason_comes_first_and_decides() -> None:
    verdict = judge(replace(CALM, machine=busy(steal=0.05), exits=("x",)))
    assert [reason.level for reason in verdict.reasons] == ["invalid", "suspect"]
    assert verdict.level == "invalid"


def test_a_reason_says_what_was_seen_with_its_figure_and_what_to_do() -> None:
    reason = judge(replace(CALM, firing=replace(CALM_FIRING, issued=980))).reasons[0]
    assert reason.what == (
        "2 % of the scheduled invocations were never sent (limit for invalid: 1 %). Raise the in-flight limit if it "
        "stopped them; else: lower the rate, use more client nodes, or use a machine with more processors.")
    assert reason.figures == {"value": pytest.approx(0.02), "limit": 0.01}


def test_no_evidence_at_all_is_not_valid() -> None:
    assert judge(Evidence()).level == "suspect"


def test_the_documentation_has_a_line_for_every_limit() -> None:
    text = reference()
    assert all(f"`{limit.check}`" in text for limit in LIMITS)
    assert "2 ms, or 2 % of the median response time if that is more" in text


def row(number: int, **more: Any) -> dict[str, Any]:
    return {"invocation_id": number, "client": "c1", "phase": "measure", "status": "ok", "send_delay_s": 0.001,
            "response_time_s": 0.1} | more


def judged_firing(rows: list[dict[str, Any]], excused: Collection[str] = (), waiting: Collection[int] = ()) -> Firing:
    return firing(Rows(rows), numpy.array([each["invocation_id"] in waiting for each in rows]), excused)


def test_one_late_invocation_among_a_few_dozen_does_not_make_the_99th_percentile() -> None:
    found = judged_firing([row(number) for number in range(59)] + [row(59, send_delay_s=0.5)])
    assert (found.delay_p99_s, found.delay_max_s) == (0.001, 0.5)


def test_invocations_of_a_client_that_the_timeline_killed_are_excused() -> None:
    rows = [row(0), row(1, client="c2", status="unsent", send_delay_s=None), row(2, status="dropped")]
    found = judged_firing(rows, excused={"c2"})
    assert (found.scheduled, found.issued) == (2, 1)


def test_invocations_that_waited_for_their_users_earlier_answer_do_not_count_as_late() -> None:
    rows = [row(0), row(1, send_delay_s=3.0), row(2, status="unsent", send_delay_s=None)]
    found = judged_firing(rows, waiting={1, 2})
    assert (found.scheduled, found.issued, found.delay_max_s) == (1, 1, 0.001)


def test_link_use_is_what_happened_between_two_readings_under_all_shapes_in_force() -> None:
    end = End("a-b", "a")
    shapes = [Shape.model_validate({"loss": "1%"}), Shape.model_validate({"loss": "5%", "rate": "1Mbit"})]
    uses = link_uses({end: Counters(100, 0, 1, 2, 0, 3)}, {end: Counters(300, 0, 2, 4, 0, 6)}, {"a-b": "relay"},
                     {end: shapes})
    assert uses == [LinkUse("a-b", "a", 200, 1, 2, 3, 0.01, 0.05, True, False, True)]


def test_a_closed_loop_is_no_lack_of_evidence() -> None:
    found = judged_firing([row(0), row(1, status="unsent", send_delay_s=None)], waiting={0, 1})
    assert (found.scheduled, found.set_aside) == (0, 2)
    assert judge(replace(CALM, firing=found)).level == "valid"
