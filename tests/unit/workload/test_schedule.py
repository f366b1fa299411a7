"""The schedule: its rates and shapes, and that it follows from the seed alone."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tracemalloc
from collections import Counter
from itertools import pairwise
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import CLIENTS, FUNCTIONS, gaps, plan, times, workload

from testbed.errors import UsageError
from testbed.workload import files
from testbed.workload.schedule import Draft, Plan, schedule


def kolmogorov(sample: list[float], mean: float) -> float:
    """The p-value (asymptotic) of the hypothesis that ``sample`` is exponential with ``mean``."""
    ordered, n = sorted(sample), len(sample)
    steps = [1 - math.exp(-x / mean) for x in ordered]
    distance = max(max((i + 1) / n - f, f - i / n) for i, f in enumerate(steps))
    scaled = (math.sqrt(n) + 0.12 + 0.11 / math.sqrt(n)) * distance
    return 2 * sum((-1) ** (k - 1) * math.exp(-2 * (k * scaled) ** 2) for k in range(1, 50))


ALL_ABOUT_20_A_SECOND: list[dict[str, Any]] = [
    {"model": "deterministic", "rate": "20/s"},
    {"model": "poisson", "rate": "20/s"},
    {"model": "uniform", "mean": "50ms"},
    {"model": "gamma", "mean": "50ms", "cv": 2},
    {"model": "weibull", "mean": "50ms", "cv": 1.5},
    {"model": "lognormal", "mean": "50ms", "cv": 2},
    {"model": "onoff", "rate": "40/s", "on": "500ms", "off": "500ms"},
    {"model": "onoff", "rate": "30/s", "idle_rate": "10/s", "on": "1s", "off": "1s", "spread": "constant"},
    {"model": "onoff", "rate": "40/s", "on": "1s", "off": "1s", "gaps": "uniform"},
    {"model": "onoff", "rate": "40/s", "on": "1s", "off": "1s", "gaps": "constant", "spread": "constant"},
    {"model": "batches", "every": "250ms", "size": 5},
    {"model": "mmpp", "states": [{"rate": "10/s", "stay": "200ms"}, {"rate": "20/s", "stay": "200ms"},
                                 {"rate": "30/s", "stay": "200ms"}]},
    {"model": "ramp", "start": "0/s", "end": "40/s", "over": "100s"},
    {"model": "step", "steps": [{"at": "0s", "rate": "10/s"}, {"at": "50s", "rate": "30/s"}]},
    {"model": "sine", "rate": "20/s", "amplitude": "15/s", "period": "10s", "phase": "3s"},
    {"model": "sine", "rate": "20/s", "amplitude": "15/s", "period": "10s", "gaps": "even"},
    {"model": "closed", "users": 4, "pace": "200ms", "spread": "exponential"},
]


@pytest.mark.parametrize("arrivals", ALL_ABOUT_20_A_SECOND, ids=lambda each: each["model"])
def test_the_mean_rate_is_the_one_asked_for(arrivals: dict[str, Any]) -> None:
    counts = [len(times(arrivals, seed)) for seed in range(5)]
    assert fmean(counts) == pytest.approx(2000, rel=0.12)


@pytest.mark.parametrize("arrivals", ALL_ABOUT_20_A_SECOND, ids=lambda each: each["model"])
def test_invocations_come_in_order_inside_the_workload(arrivals: dict[str, Any]) -> None:
    found = times(arrivals)
    assert found == sorted(found) and found[0] >= 0 and found[-1] < 100


def test_poisson_gaps_are_exponential() -> None:
    found = [kolmogorov(gaps(times({"model": "poisson", "rate": "50/s"}, seed)), 0.02) for seed in range(20)]
    assert sum(p > 0.01 for p in found) >= 18
    assert kolmogorov(gaps(times({"model": "deterministic", "rate": "50/s"})), 0.02) < 0.001  # the test can fail


@pytest.mark.parametrize(("arrivals", "cv"), [
    ({"model": "uniform", "mean": "10ms", "cv": 0.3}, 0.3), ({"model": "gamma", "mean": "10ms", "cv": 0.5}, 0.5),
    ({"model": "gamma", "mean": "10ms", "cv": 2}, 2.0), ({"model": "weibull", "mean": "10ms", "cv": 0.5}, 0.5),
    ({"model": "weibull", "mean": "10ms", "cv": 1.5}, 1.5), ({"model": "lognormal", "mean": "10ms", "cv": 1}, 1.0),
    ({"model": "poisson", "rate": "100/s"}, 1.0),
])
def test_gaps_have_the_variation_asked_for(arrivals: dict[str, Any], cv: float) -> None:
    found = gaps(times(arrivals))
    assert fmean(found) == pytest.approx(0.01, rel=0.1)
    assert pstdev(found) / fmean(found) == pytest.approx(cv, rel=0.15)


def test_deterministic_arrivals_keep_their_phase_and_add_no_rounding_up() -> None:
    found = times({"model": "deterministic", "rate": "7/s", "phase": "500ms"})
    assert found[0] == 0.5 and found[-1] == pytest.approx(0.5 + (len(found) - 1) / 7, abs=1e-9)


def test_bursts_are_burstier_than_poisson() -> None:
    def dispersion(found: list[float]) -> float:
        counts = Counter(int(t) for t in found)
        each = [counts[second] for second in range(100)]
        return pstdev(each) ** 2 / fmean(each)

    assert dispersion(times({"model": "poisson", "rate": "20/s"})) < 2
    for spread in ("exponential", "pareto", "constant"):
        onoff = {"model": "onoff", "rate": "100/s", "on": "1s", "off": "4s", "spread": spread}
        assert dispersion(times(onoff)) > 5


def test_a_step_changes_the_rate_at_its_time_and_a_ramp_bit_by_bit() -> None:
    even = {"gaps": "even"}
    step = times({"model": "step", "steps": [{"at": "10s", "rate": "5/s"}, {"at": "20s", "rate": "50/s"}]} | even)
    assert step[0] == pytest.approx(10.2) and sum(10 <= t <= 20 for t in step) == 50
    assert sum(20 < t <= 30 for t in step) == 500
    ramp = times({"model": "ramp", "start": "0/s", "end": "10/s", "over": "10s"} | even)
    assert [sum(a < t <= a + 5 for t in ramp) for a in (0, 5, 10)] == [12, 38, 50]


def test_a_step_to_nothing_ends_the_traffic() -> None:
    found = times({"model": "step", "steps": [{"at": "0s", "rate": "5/s"}, {"at": "2s", "rate": "0/s"}]})
    assert 0 < len(found) < 40 and found[-1] < 2


def test_a_sine_peaks_where_it_should() -> None:
    found = times({"model": "sine", "rate": "50/s", "amplitude": "50/s", "period": "100s"})
    assert sum(15 <= t < 35 for t in found) > 8 * sum(65 <= t < 85 for t in found)


def test_a_paced_user_follows_a_timetable() -> None:
    found = plan({"model": "closed", "users": 2, "pace": "1s"})
    assert {each.user for each in found} == {"c1.0.0", "c1.0.1"}
    assert [each.t_scheduled for each in found if each.user == "c1.0.0"] == [float(n) for n in range(1, 100)]


def test_scattered_users_are_each_at_one_client_and_begin_within_one_pace() -> None:
    spec = workload({"arrivals": {"model": "closed", "users": 40, "pace": "1s", "scattered": True}})
    homes: list[tuple[str, ...]] = []
    for seed in (1, 2):
        plans = schedule(spec, [f"c{number}" for number in range(40)], FUNCTIONS, seed)
        first = {each.user: each for plan in plans.values() for each in reversed(list(plan.invocations))}
        assert sum(each.count for each in plans.values()) == pytest.approx(4000, abs=40) and len(first) == 40
        assert len({round(each.t_scheduled, 3) for each in first.values()}) > 30
        assert all(0 <= each.t_scheduled <= 1 for each in first.values())
        homes.append(tuple(each.client for _, each in sorted(first.items())))
    assert homes[0] != homes[1] and all(15 < len(set(each)) < 36 for each in homes)  # 25.5 different ones on average


def test_thinking_users_get_identifiers_that_nobody_else_has() -> None:
    spec = workload({"arrivals": {"model": "poisson", "rate": "1/s"}},
                    {"arrivals": {"model": "closed", "users": 3, "think": "1s"}},
                    {"arrivals": {"model": "closed", "users": 2, "think": "1s"}, "clients": ["c2"]})
    plans = schedule(spec, CLIENTS, FUNCTIONS, 1)
    total = sum(each.count for each in plans.values())
    begins = [(each.first_id, each.stride) for each in (*plans["c1"].thinking, *plans["c2"].thinking)]
    assert begins == [(total, 8), (total + 3, 8), (total + 6, 8)]


def test_phases_follow_one_another() -> None:
    spec = workload({"arrivals": {"model": "deterministic", "rate": "1/s"}}, duration="5s", warmup="3s", cooldown="2s")
    found = list(schedule(spec, ["c"], ["f"], 1)["c"].invocations)
    assert [each.phase for each in found] == ["warmup"] * 3 + ["measure"] * 5 + ["cooldown"] * 2


def test_traffic_has_its_own_beginning_and_end() -> None:
    found = times({"model": "deterministic", "rate": "1/s"}, start="10s", stop="20s")
    assert found == [float(n) for n in range(10, 20)]


@pytest.mark.parametrize(("functions", "shares"), [
    (None, {"f": 0.5, "g": 0.5}), ("g", {"g": 1.0}), (["f", "g"], {"f": 0.5, "g": 0.5}),
    ({"f": 3, "g": 1}, {"f": 0.75, "g": 0.25}), ({"zipf": 1.0, "of": ["g", "f"]}, {"g": 2 / 3, "f": 1 / 3}),
])
def test_functions_are_mixed_as_asked(functions: Any, shares: dict[str, float]) -> None:
    found = Counter(each.function for each in plan({"model": "poisson", "rate": "40/s"}, functions=functions))
    assert {name: count / found.total() for name, count in found.items()} == pytest.approx(shares, abs=0.04)


@pytest.mark.parametrize(("payload", "lengths"), [
    ({"size": "1kB"}, {1000}), ({"sizes": ["10B", "20B"], "style": "words"}, {10, 20}), ({"text": "this"}, {4}),
    ({"size": "5B", "style": "json"}, {12}), ({"size": "1000B", "style": "json"}, {1000}), ({"size": "0B"}, {0}),
])
def test_payloads_have_the_sizes_asked_for(payload: dict[str, Any], lengths: set[int]) -> None:
    found = plan({"model": "poisson", "rate": "5/s"}, payload=payload)
    assert {len(each.payload.encode()) for each in found} == lengths


def test_sessions_are_drawn_from_as_many_as_asked_for() -> None:
    found = Counter(each.session for each in plan({"model": "poisson", "rate": "10/s"}, sessions={"count": 4}))
    assert set(found) == {"c1-0", "c1-1", "c1-2", "c1-3"} and min(found.values()) > 150


def written(plans: Any, folder: Path) -> bytes:
    folder.mkdir()
    for client, each in plans.items():
        (folder / client).mkdir()
        files.write(each, folder / client)
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*.*")))


MIXED = workload(
    *({"arrivals": arrivals, "functions": {"f": 2, "g": 1}, "payload": {"sizes": ["10B", "1kB"]},
       "sessions": {"count": 3}} for arrivals in ALL_ABOUT_20_A_SECOND), duration="5s",
)


def test_the_same_seed_gives_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib\nsys.path[:0] = sys.argv[1:3]\nimport test_schedule as t\n"
        "t.written(t.schedule(t.MIXED, t.CLIENTS, t.FUNCTIONS, 7), pathlib.Path(sys.argv[3]))"
    )
    here = Path(__file__)
    for number in (1, 2):
        subprocess.run(
            [sys.executable, "-c", program, str(here.parent), str(here.parents[3]), str(tmp_path / f"p{number}")],
            env=os.environ | {"PYTHONHASHSEED": str(number)}, check=True,
        )
    mine = written(schedule(MIXED, CLIENTS, FUNCTIONS, 7), tmp_path / "mine")
    for number in (1, 2):
        assert b"".join(path.read_bytes() for path in sorted((tmp_path / f"p{number}").rglob("*.*"))) == mine
    assert written(schedule(MIXED, CLIENTS, FUNCTIONS, 8), tmp_path / "other") != mine


def asked(each: Plan) -> list[tuple[object, ...]]:
    return [(i.t_scheduled, i.function, i.payload, i.session, i.user) for i in each.invocations]


def test_another_client_leaves_the_draws_of_the_others_as_they_were() -> None:
    alone = schedule(MIXED, ["c1"], FUNCTIONS, 7)["c1"]
    among = schedule(MIXED, ["c0", "c1", "c9"], FUNCTIONS, 7)
    assert asked(alone) == asked(among["c1"])
    assert [each[0] for each in asked(among["c0"])] != [each[0] for each in asked(among["c9"])]


def test_another_mix_leaves_the_times_as_they_were() -> None:
    poisson = {"model": "poisson", "rate": "20/s"}
    assert times(poisson) == times(poisson, functions="g", payload={"sizes": ["1B", "2B"]}, sessions={"count": 9})


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.sampled_from(ALL_ABOUT_20_A_SECOND), min_size=1, max_size=3))
def test_identifiers_count_all_invocations_in_order_of_time(seed: int, models: list[dict[str, Any]]) -> None:
    spec = workload(*({"arrivals": each} for each in models), duration="2s")
    plans = schedule(spec, CLIENTS, FUNCTIONS, seed)
    everything = sorted((each for plan in plans.values() for each in plan.invocations),
                        key=lambda each: each.invocation_id)
    assert [each.invocation_id for each in everything] == list(range(len(everything)))
    assert all(a.t_scheduled <= b.t_scheduled for a, b in pairwise(everything))


def test_what_was_written_is_what_is_read(tmp_path: Path) -> None:
    spec = workload(*MIXED.model_dump(mode="json", exclude_none=True)["traffic"],
                    {"arrivals": {"model": "closed", "users": 2, "think": "10ms"}, "payload": {"text": "é,\"\n;"}},
                    {"arrivals": {"model": "poisson", "rate": "1/s"}, "payload": {"text": "é,\"\n;"}}, duration="3s")
    original = schedule(spec, CLIENTS, FUNCTIONS, 3)["c2"]
    files.write(original, tmp_path)
    read = files.read(tmp_path)
    assert list(read.invocations) == list(original.invocations) == list(read.invocations)
    assert (read.count, read.workload) == (original.count, original.workload)
    assert [(each.traffic, each.functions, each.first_id, each.stride) for each in read.thinking] == [
        (each.traffic, each.functions, each.first_id, each.stride) for each in original.thinking]


def test_refuses_a_client_that_is_none_and_a_schedule_without_measure() -> None:
    with pytest.raises(UsageError, match="c3, which is no client"):
        schedule(workload({"arrivals": {"model": "poisson", "rate": "1/s"}, "clients": ["c3"]}), CLIENTS, FUNCTIONS, 1)
    with pytest.raises(UsageError, match="more than 1,000 invocations"), pytest.MonkeyPatch.context() as patch:
        patch.setattr("testbed.workload.schedule.LIMIT", 1000)
        schedule(workload({"arrivals": {"model": "deterministic", "rate": "100/s"}}), CLIENTS, FUNCTIONS, 1)


def test_a_long_schedule_is_laid_out_without_being_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "HELD", 1000)
    folders = {client: tmp_path / client for client in CLIENTS}
    for folder in folders.values():
        folder.mkdir()

    def traced(rate: str) -> int:
        draft = Draft(workload({"arrivals": {"model": "poisson", "rate": rate}}), CLIENTS, FUNCTIONS, 1)
        tracemalloc.start()
        try:
            files.lay_out(draft, folders)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    few, many = traced("20/s"), traced("200/s")
    assert many < 2 * few
    assert sum(files.read(folder).count for folder in folders.values()) > 35_000


def test_laid_out_files_are_those_of_the_plans_in_memory(tmp_path: Path) -> None:
    plans = schedule(MIXED, CLIENTS, FUNCTIONS, 5)
    folders = {(way, client): tmp_path / way / client for way in ("laid", "written") for client in CLIENTS}
    for folder in folders.values():
        folder.mkdir(parents=True)
    files.lay_out(Draft(MIXED, CLIENTS, FUNCTIONS, 5), {client: folders["laid", client] for client in CLIENTS})
    for client in CLIENTS:
        files.write(plans[client], folders["written", client])
        for name in ("schedule.csv", "workload.json"):
            assert (folders["laid", client] / name).read_bytes() == (folders["written", client] / name).read_bytes()
