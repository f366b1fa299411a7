"""What a calibration is made of, in its pure parts, and the runs that it refuses."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
import synthetic_run

from testbed.calibrate import Answer, Story, calibrated, differences, fitting_share, parts, positive
from testbed.errors import UsageError
from testbed.experiment.load import load
from testbed.twin.calibration import Spread

HELLO = """\
name: hello
topology: topologies/two-hosts.yaml
system: serverless_on_edge
place: {control: h1, gateway: h1, worker: h2, client: h1}
functions: {square: {service: 2ms}}
workload: {duration: 1s, traffic: [{arrivals: {model: deterministic, rate: 20/s}}]}
"""


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"substrate": "twin"}, "is a run of the twin"),
        ({"state": "failed"}, "did not come to its end"),
        ({"state": "interrupted"}, "did not come to its end"),
        ({"verdict": synthetic_run.INVALID}, "is invalid"),
        ({"verdict": None}, "is invalid"),
        ({"rows": 0}, "no invocation that was answered well"),
    ],
)
def test_a_run_that_nothing_can_be_learnt_from_is_refused(tmp_path: Path, more: dict[str, Any], why: str) -> None:
    path = tmp_path / "hello.yaml"
    path.write_text(HELLO)
    folder = synthetic_run.make(tmp_path, **more)
    with pytest.raises(UsageError, match=why):
        calibrated(folder, load(path))


@pytest.mark.parametrize("count", [2, 3])
def test_the_parts_of_what_is_left_add_up_to_it(count: int) -> None:
    rng = Random(1)
    wanted = Spread.of([0.002 + rng.expovariate(500) for _ in range(2000)])
    part = parts(wanted, count)
    sums = Spread.of([sum(part.draw(rng) for _ in range(count)) for _ in range(20_000)])
    for place in (10, 50, 90, 95):
        assert sums.at[place] == pytest.approx(wanted.at[place], rel=0.08), place


@pytest.mark.parametrize(
    ("at", "found"),
    [
        ((1.0, 2.0, 3.0), (1.0, 2.0, 3.0)),
        ((-1.0, 2.0, 5.0), (0.0, 1.5, 4.5)),
        ((-6.0, 2.0, 7.0), (0.0, 0.0, 3.0)),
        ((-3.0, 0.0, 1.0), (0.0, 0.0, 0.0)),
        ((-2.0, -1.0), (0.0, 0.0)),
        ((0.0,), (0.0,)),
    ],
)
def test_cutting_what_is_negative_keeps_the_mean(at: tuple[float, ...], found: tuple[float, ...]) -> None:
    assert positive(Spread(at=at)).at == pytest.approx(found)


def story(*network_s: float | None, node: str = "w1", phase: str = "measure", hops: int = 2) -> Story:
    answers = {number: Answer(phase, "f", node, "0", hops, each, 0.001, 0.0) for number, each in enumerate(network_s)}
    return Story(answers, {}, {})


@pytest.mark.parametrize(
    ("ours", "theirs", "found"),
    [
        (story(0.5, 0.75), story(0.25, 0.25), [(0.25, 2), (0.5, 2)]),
        (story(0.5, None), story(0.25, 0.25), [(0.25, 2)]),
        (story(0.5, 0.75), story(0.25), [(0.25, 2)]),
        (story(0.5), story(0.25, node="w2"), []),
        (story(0.5), story(0.25, hops=1), []),
        (story(0.5, phase="warmup"), story(0.25), []),
    ],
)
def test_only_invocations_that_went_the_same_way_are_compared(
    ours: Story, theirs: Story, found: list[tuple[float, int]]
) -> None:
    assert differences(ours, theirs) == found


@pytest.mark.parametrize(
    ("left", "busy", "share"),
    [
        ([4.0] * 20, [2.0] * 20, 1.0),
        ([1.0] * 20, [2.0] * 20, 0.5),
        ([-1.0] * 20, [2.0] * 20, 0.0),
        ([1.0] * 20, [0.0] * 20, 1.0),
        ([], [], 1.0),
    ],
)
def test_agents_are_not_busier_than_invocations_have_time_for(
    left: list[float], busy: list[float], share: float
) -> None:
    assert fitting_share([(each, 2) for each in left], [(each, 2) for each in busy]) == share
