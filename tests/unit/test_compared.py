"""Validation as data: which points count, which windows there are, where published values belong; the words for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.cli.validation import assignments
from testbed.compared import LoadPoint, compared, windows
from testbed.conduct import Quiet
from testbed.errors import InputError, UsageError
from testbed.experiment.load import load
from testbed.experiment.model import Experiment
from testbed.substrate.find import named
from testbed.validate import Validation, validate

TEXT = """\
name: hello
topology: topologies/two-hosts.yaml
system: serverless_on_edge
place: {control: h1, gateway: h1, worker: h2, client: h1}
functions: {square: {service: 2ms}}
workload: {warmup: 1s, duration: 9s, traffic: [{arrivals: {model: deterministic, rate: 20/s}}]}
timeline:
  - {at: 4s, do: cut, link: h1-h2}
  - {at: 5s, do: mend, link: h1-h2}
  - {at: 500ms, do: shape, link: h1-h2, change: {delay: 1ms}}
published:
  source: a paper
  values:
    - {name: own, metric: response_time_p50_s, value: 0.02, tolerance: 0.1}
    - {name: named, metric: response_time_p95_s, value: 0.03, tolerance: 0.1, at: {rate: 40/s}}
    - {name: elsewhere, metric: response_time_p50_s, value: 0.04, tolerance: 0.1, at: {rate: 80/s}}
    - {name: other, metric: throughput, value: 20, tolerance: 0.1}
sweep: {seed: [1, 2]}
"""
RATE = "workload.traffic[0].arrivals.rate"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "hello.yaml").write_text(TEXT)
    return tmp_path / "hello.yaml"


def asked(path: Path, *words: str) -> Experiment:
    return load(path, assignments(*words))


def test_the_command_s_words_become_the_section_of_the_file(path: Path) -> None:
    found = asked(path, f"{RATE}=20/s, 40/s", "40/s").file.validation
    assert found is not None
    assert (found.over, found.calibrate) == ({RATE: ["20/s", "40/s"]}, "40/s")
    assert assignments("", "") == []


@pytest.mark.parametrize(
    ("over", "at", "why"),
    [
        (f"{RATE}=20/s,40/s", "30/s", "one of the values"),
        (f"{RATE}=20/s", "20/s", "at least two"),
        (f"{RATE}=20/s,40/s", "", "the key calibrate"),
        ("", "20/s", "the key over"),
    ],
)
def test_words_that_ask_for_no_validation_are_refused(path: Path, over: str, at: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        asked(path, over, at)


def test_an_experiment_without_load_points_is_told_how_to_name_them(path: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--over PATH=V1,V2"):
        validate(load(path), named("netns"), tmp_path / "runs", 1, Quiet(), lambda _: None)
    assert not (tmp_path / "runs").exists()


def test_the_twin_is_not_validated_against_itself(path: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="against itself"):
        validate(asked(path, f"{RATE}=20/s,40/s", "20/s"), named("twin"), tmp_path, 1, Quiet(), lambda _: None)


def work(path: Path, repeat: int = 1) -> Validation:
    experiment = asked(path, f"{RATE}=20/s,40/s", "20/s")
    return Validation(experiment, named("netns"), path.parent, repeat, Quiet(), lambda _: None)


def test_each_repetition_has_a_seed_of_its_own_and_no_sweep(path: Path) -> None:
    first, second = work(path, repeat=2).points
    assert [(each.seed, each.file.sweep) for each in second.experiments] == [(1, {}), (2, {})]
    assert (first.role, second.role) == ("calibration", "test")
    assert LoadPoint(1, [], True, left_out="why").role == "left out"


def test_windows_lie_between_the_events_of_the_phase_that_counts(path: Path) -> None:
    assert windows(load(path)) == [(1.0, 4.0), (4.0, 5.0), (5.0, 10.0)]
    assert windows(load(path, ["timeline=[]"])) == []


def test_published_values_stand_at_the_point_that_they_name_or_that_the_file_asks_for(path: Path) -> None:
    plan = work(path)
    found = compared(plan.experiment, plan.path, plan.latency, plan.points)
    assert [(each["name"], each["metric"], each["at"]) for each in found["published"]] == [
        ("own", "p50", "20/s"), ("named", "p95", "40/s"),
    ]  # fmt: skip


def test_points_that_have_not_run_have_no_errors_and_are_in_no_mean(path: Path) -> None:
    plan = work(path)
    found = compared(plan.experiment, plan.path, plan.latency, plan.points)
    assert not any("metrics" in each for each in found["points"])
    assert {mean["points"] for means in found["bands"].values() for mean in means.values()} == {0}
    assert {each["met"] for each in found["reaches"]} == {None}


def test_a_closed_loop_counts_from_the_moment_of_sending(path: Path) -> None:
    assert work(path).latency == "response_time_s"
    path.write_text(TEXT.replace("{model: deterministic, rate: 20/s}", "{model: closed, pace: 100ms}"))
    experiment = asked(path, "workload.duration=9s,8s", "9s")
    found = Validation(experiment, named("netns"), path.parent, 1, Quiet(), lambda _: None)
    assert found.latency == "service_latency_s"
