"""The roles as an experiment has them: other systems' experiments, parameters and their errors, outcomes, real code."""

from __future__ import annotations

import asyncio
import csv
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from scs_twin import MB, Platform, function

from roles.serverless_compute import messages
from roles.serverless_compute.client import outcome
from roles.serverless_compute.messages import Progress
from roles.serverless_compute.options import ClientOptions, HeadOptions, NodeOptions, located
from testbed.conduct import Quiet
from testbed.errors import InputError, TestbedError
from testbed.experiment.load import load
from testbed.places import home
from testbed.roles.api import Invocation, Outcome, Site
from testbed.run import perform
from testbed.substrate.find import named

SITE = Site("c", "client", 1, {"c": "10.0.0.1", "h": "10.0.0.2", "v6": "fd00::1"}, {"head": ("h",)}, {})
POLICY = "def schedule(pending, view):\n    return []\n\nother = 5\n"
EXPERIMENT = """
name: small
topology: {name: net, nodes: {r: {}, h: {kind: router}, n: {}, c: {}},
           links: [{ends: [r, h], rate: 1Gbit}, [h, n], [h, c]]}
system: serverless_compute
place: {control: r, gateway: h, worker: n, client: c}
functions: {f: {service: 10ms, image: one}, g: {code: words.py, image: one}}
settings: {serverless_compute: {head: {scheduler: "policy.py:schedule", cold_start: 50ms}}}
workload: {duration: 3s, timeout: 2s, traffic: [{arrivals: {model: poisson, rate: 20/s}}]}
"""


def run(path: Path, out: Path, *sets: str) -> Path:
    return perform(load(path, sets), named("twin"), out, Quiet())


def rows(folder: Path, table: str) -> list[dict[str, str]]:
    with (folder / f"{table}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    (tmp_path / "policy.py").write_text(POLICY)
    (tmp_path / "words.py").write_text("def code(ctx, payload):\n    ctx.compute(0.02)\n    return str(len(payload))\n")
    path = tmp_path / "small.yaml"
    path.write_text(EXPERIMENT)
    return path


def test_an_experiment_of_another_system_runs_with_one_word_changed(tmp_path: Path) -> None:
    quickstart = home() / "experiments" / "quickstart.yaml"
    folder = run(quickstart, tmp_path, "system=serverless_compute", "workload.duration=5s", "timeline=[]")
    found = rows(folder, "invocations")
    assert {row["status"] for row in found} == {"ok"} and {row["node"] for row in found} <= {"w1", "w2"}
    assert {row["cold"] for row in found} == {"0", "1"} and {row["hops"] for row in found} == {"2"}
    assert len(rows(folder, "sc_invocations")) == len(found)


def test_moments_and_shares_of_time_agree_in_all_datasets(small: Path, tmp_path: Path) -> None:
    folder = run(small, tmp_path / "runs", "settings.serverless_compute.head.scheduler=fcfs")
    told = {row["t_submit"]: row for row in rows(folder, "sc_invocations")}
    assert {row["start_kind"] for row in told.values()} == {"cold", "warm_image", "hot"}
    for row in rows(folder, "invocations"):
        inside = sum(float(row[name]) for name in ("queue_s", "init_s", "exec_s"))
        assert -1e-6 < float(row["response_time_s"]) - inside < 0.01
    assert min(float(row["t"]) for row in rows(folder, "sc_transfers")) > 0


def test_a_policy_beside_the_experiment_decides(small: Path, tmp_path: Path) -> None:
    folder = run(small, tmp_path / "runs")  # it never dispatches anything
    assert {row["status"] for row in rows(folder, "invocations")} == {"timeout"}


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        ("policy.py:shedule", "a function that policy.py defines (schedule)"),
        ("nowhere.py:schedule", "a Python file, its path relative to the experiment"),
        ("broken.py:schedule", "Python that compiles"),
        ("lifo", "fcfs, random, balancing, or FILE.py:FUNCTION with a policy of your own"),
    ],
)
def test_what_is_wrong_with_a_policy_is_told_with_its_line(small: Path, scheduler: str, expected: str) -> None:
    (small.parent / "broken.py").write_text("def schedule(:\n")
    small.write_text(EXPERIMENT.replace("policy.py:schedule", scheduler))
    with pytest.raises(InputError) as caught:
        load(small)
    (problem,) = caught.value.problems
    assert expected in str(problem) and "settings.serverless_compute.head.scheduler" in str(problem)
    assert f"{small}:8" in str(problem)


@pytest.mark.parametrize(
    ("model", "given", "words"),
    [
        (HeadOptions, {"disk_read": "100Mbit"}, "a disk speed in bytes per second, such as 100MB/s"),
        (HeadOptions, {"disk_read": "0MB/s"}, "a disk speed"),
        (HeadOptions, {"idle_timeout": "soon"}, "a time with its unit"),
        (HeadOptions, {"expire_after": 0}, "greater than 0"),
        (HeadOptions, {"storage": 5}, "a size with its unit"),
        (NodeOptions, {"slots": 0}, "greater than or equal to 1"),
        (NodeOptions, {"port": 70_000}, "a port from 1 to 65535"),
        (ClientOptions, {"heads": "h"}, "Extra inputs"),
    ],
)  # fmt: skip
def test_parameters_that_make_no_sense_are_refused(model: Any, given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        model.model_validate(given)


def test_parameters_travel_to_agents_as_they_are(small: Path) -> None:
    given = {"scheduler": "policy.py:schedule", "disk_read": "12.5MB/s", "storage": "150MB", "idle_timeout": "never"}
    made = HeadOptions.model_validate(given, context={"folder": small.parent})
    assert HeadOptions.model_validate(json.loads(json.dumps(made.model_dump(mode="json")))) == made
    assert made.scheduler.source == POLICY  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (None, "10.0.0.2:8090"), ("c", "10.0.0.1:8090"), ("h:99", "10.0.0.2:99"), ("10.0.0.1", "10.0.0.1:8090"),
        ("v6", "[fd00::1]:8090"), ("[fd00::1]:99", "[fd00::1]:99"), ("fd00::1", "[fd00::1]:8090"),
    ],
)  # fmt: skip
def test_a_head_is_found_by_its_node_or_address(text: str | None, address: str) -> None:
    assert located(SITE, "head", text, 8090) == address


def test_a_head_that_nobody_has_is_told() -> None:
    with pytest.raises(TestbedError, match="client on c is told to use the head 'x', which is neither"):
        located(SITE, "head", "x", 8090)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Progress("completed", 1, "n", "hot", "äb", "", "", 1.0, 1.0, 1.0, 1.5, 1.75, 2.0),
         Outcome("ok", "", "n", 2, 0.25, 0.5, 0.25, False, response_bytes=3, output="äb")),
        (Progress("timed_out", 1, "n", "cold", "", "invocation_timeout", "no result within 1 s", 1, 1, 1, 2, 2, 3),
         Outcome("error", "invocation_timeout: no result within 1 s", "n", 2, 0, 1, 1, True, response_bytes=0)),
        (Progress("failed", 1, cause="image_fetch_failed", detail="x", t_submit=1, t_admit=1, t_end=2),
         Outcome("error", "image_fetch_failed: x", hops=1, response_bytes=0)),
        (Progress("refused", cause="cannot_admit_now", detail="x"), Outcome("rejected", "cannot_admit_now: x", hops=1)),
        (Progress("refused", cause="not_allowed", detail="x"), Outcome("error", "not_allowed: x", hops=1)),
    ],
)  # fmt: skip
def test_the_end_of_an_invocation_is_an_outcome(answer: Progress, expected: Outcome) -> None:
    assert outcome(answer) == expected


def test_a_client_that_waits_no_longer_has_a_timeout_and_without_a_head_an_error() -> None:
    platform = Platform()

    async def story() -> list[str]:
        role: Any = platform.client.role
        invocation = Invocation(0, 0.0, "c", "f", "")
        late = await role.invoke(platform.client.env, invocation, 5.0)
        platform.world.kill("h", "head")
        gone = await role.invoke(platform.client.env, invocation, 5.0)
        return [late.status, gone.status]

    assert platform.run(story) == ["timeout", "error"]


def test_a_registered_function_runs_the_code_it_names_within_its_own_limits() -> None:
    platform = Platform(function("f", 5))
    registry = platform.client.site.endpoint("r", 8092)

    async def story() -> tuple[Any, ...]:
        added = await platform.client.env.call(registry, messages.ADD_IMAGE, messages.AddImage("big", 50 * MB))
        more = messages.Register("more", "big", 50 * MB, code="f", time_limit_s=2.0, storage_bytes=MB)
        made = await platform.ask(messages.REGISTER, more)
        unknown = await platform.ask(messages.REGISTER, messages.Register("other", "big", 50 * MB))
        sizes = await platform.ask(messages.REGISTER, messages.Register("third", "big", 60 * MB, code="f"))
        return added.cause, made.registration, unknown.cause, sizes.cause, await platform.call(1, "more#2")

    *answers, ended = platform.run(story)
    assert answers == ["", "more#2", "bad_input", "already_registered"]
    assert (ended.state, ended.t_schedulable, ended.t_start, ended.t_end) == ("timed_out", 5, 6.5, 8.5)


def test_an_image_of_another_size_than_was_said_is_not_taken() -> None:
    platform = Platform()

    async def story() -> Progress:
        more = messages.Register("more", "f-other", 5 * MB, code="f")
        registry = platform.client.site.endpoint("r", 8092)
        await platform.client.env.call(registry, messages.ADD_IMAGE, messages.AddImage("f-other", 6 * MB))
        await platform.ask(messages.REGISTER, more)
        return await platform.call(1, "more")

    answer = platform.run(story)
    assert answer.cause == "image_fetch_failed" and "6000000 bytes instead of 5000000" in answer.detail


def test_two_heads_share_the_nodes_by_nearness(tmp_path: Path) -> None:
    path = tmp_path / "two.yaml"
    path.write_text("""
name: two
topology: {name: net, nodes: {h1: {kind: router}, h2: {kind: router}, n1: {}, n2: {}, c1: {}, c2: {}},
           links: [[h1, h2], [h1, n1], [h2, n2], [h1, c1], [h2, c2]]}
system: serverless_compute
place: {gateway: [h1, h2], worker: [n1, n2], client: [c1, c2]}
functions: {f: {service: 10ms}}
workload: {duration: 2s, timeout: 2s, traffic: [{arrivals: {model: poisson, rate: 20/s}}]}
""")
    found = {(row["client"], row["node"], row["status"]) for row in rows(run(path, tmp_path), "invocations")}
    assert found == {("c1", "n1", "ok"), ("c2", "n2", "ok")}


def test_a_burst_of_calls_beyond_the_queue_is_refused_and_the_rest_served() -> None:
    platform = Platform(nodes=["n1"], resident="memory", max_queue=3)
    answers = platform.calls(*[0] * 8)
    assert [each.state for each in answers].count("completed") == 5
    assert {each.cause for each in answers if each.state == "refused"} == {"cannot_admit_now"}


def test_hundreds_of_calls_under_way_at_once_all_end() -> None:
    platform = Platform(node={"slots": 200}, resident="head")

    async def story() -> list[Progress]:
        return list(await asyncio.gather(*(asyncio.ensure_future(platform.call(0)) for _ in range(500))))

    assert {each.state for each in platform.run(story)} == {"completed"}
