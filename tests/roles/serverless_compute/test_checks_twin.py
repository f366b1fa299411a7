"""The service's checks through all its roles, in the twin, exact to a microsecond: how a call comes to its end."""

from __future__ import annotations

from pathlib import Path

import pytest
from scs_twin import MB, Platform, function, times

POLICY = """
from roles.serverless_compute.policies import Copy, Dispatch, Load

def spread(pending, view):
    nodes = list(view.nodes.values())
    for call in pending:
        node = nodes[call.invocation % len(nodes) - 1]
        stage = node.image(call.image)
        if stage == "in_ram":
            yield Dispatch(call.invocation, node.name)
        elif stage == "on_disk":
            yield Load(call.image, node.name)
        elif stage == "absent":
            yield Copy(call.image, node.name)

def careless(pending, view):
    for call in pending:
        yield Dispatch(call.invocation, "nowhere")
        yield Dispatch(call.invocation, "n1", 7)
        yield Dispatch(99, "n1")
        yield Copy(call.image, "n1")
        yield Copy(call.image, "n1")
        yield "nonsense"
    yield from spread(pending, view)
"""


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    path = tmp_path / "policies.py"
    path.write_text(POLICY)
    return path


def test_a_cold_call_is_downloaded_copied_loaded_and_started(tmp_path: Path) -> None:
    platform = Platform(folder=tmp_path)
    (answer,) = platform.calls(0)
    assert times(answer) == (10, 10.5, 11.5)
    assert (answer.state, answer.node, answer.start_kind) == ("completed", "n1", "cold")
    assert (answer.t_submit, answer.t_admit, answer.t_schedulable) == (0, 0, 8)
    moved = [(each["stage"], each["node"], float(each["t"]) - 4, float(each["duration_s"]))
             for each in platform.rows("h", "sc_transfers")]  # fmt: skip
    assert moved == [("fetch", "h", 0, 8), ("copy", "n1", 8, 1), ("load", "n1", 9, 1)]


def test_a_second_call_is_hot_and_moves_nothing() -> None:
    platform = Platform()
    first, second = platform.calls(0, 20)
    assert times(second) == (20, 20, 21) and (first.start_kind, second.start_kind) == ("cold", "hot")
    assert (platform.carried("r", "r-h"), platform.carried("h", "h-n1")) == (100 * MB, 100 * MB)


def test_without_idle_time_a_second_call_gets_a_new_container_with_the_image_kept() -> None:
    _, second = Platform(idle_timeout=0).calls(0, 20)
    assert times(second) == (20, 20.5, 21.5) and second.start_kind == "warm_image"


def test_two_calls_at_once_pack_on_the_first_node() -> None:
    platform = Platform()
    both = platform.calls(0, 0)
    assert [(each.node, *times(each)) for each in both] == [("n1", 10, 10.5, 11.5)] * 2
    assert platform.carried("h", "h-n2") == 0


def test_a_users_policy_spreads_two_calls_and_the_head_s_disk_is_shared(policies: Path) -> None:
    platform = Platform(scheduler=f"{policies}:spread")
    both = platform.calls(0, 0)
    assert [(each.node, *times(each)[1:]) for each in both] == [("n1", 11.5, 12.5), ("n2", 11.5, 12.5)]
    assert platform.carried("r", "r-h") == 100 * MB


def test_what_a_policy_asks_for_in_vain_is_left_out_and_the_call_stays(policies: Path) -> None:
    both = Platform(scheduler=f"{policies}:careless").calls(0, 0)
    assert [each.state for each in both] == ["completed"] * 2


@pytest.mark.parametrize(("idle", "fifth"), [("60s", (12.5, 12.5, 13.5)), (0, (12.5, 13.0, 14.0))])
def test_five_calls_fill_two_nodes_and_the_fifth_runs_after_them(
    idle: str | int, fifth: tuple[float, float, float]
) -> None:
    *four, last = Platform(idle_timeout=idle).calls(0, 0, 0, 0, 0)
    assert [(each.node, *times(each)) for each in four] == [("n1", 11, 11.5, 12.5)] * 2 + [("n2", 11, 11.5, 12.5)] * 2
    assert (last.node, *times(last)) == ("n1", *fifth)


def test_calls_of_one_function_share_one_download() -> None:
    platform = Platform()
    answers = platform.calls(0, 1, 2)
    assert [each.t_schedulable for each in answers] == [8, 8, 8]
    assert platform.carried("r", "r-h") == 100 * MB


def test_two_downloads_share_the_link_fairly() -> None:
    first, second = Platform(function("a"), function("b")).calls((0, "a"), (4, "b"))
    assert [round(each.t_schedulable or 0, 6) for each in (first, second)] == [12, 16]
    assert (times(first)[1:], times(second)[1:]) == ((14.5, 15.5), (18.5, 19.5))


def test_the_time_limit_excludes_the_start() -> None:
    first, _, _ = Platform(function("f", 50, time_limit_s=10), nodes=["n1"], node={"slots": 1}).calls(0, 1, 20.5)
    assert times(first) == (10, 10.5, 20.5)
    assert (first.state, first.cause, first.output) == ("timed_out", "invocation_timeout", "")


def test_the_slot_of_a_call_that_took_too_long_is_free_at_once() -> None:
    platform = Platform(function("f", 50, time_limit_s=10), nodes=["n1"], node={"slots": 1})
    _, second = platform.calls(0, 1)
    assert times(second) == (20.5, 20.5, 30.5)


def test_the_time_limit_may_include_the_start() -> None:
    (answer,) = Platform(function("f", 50, time_limit_s=10), timeout_scope="dispatch").calls(0)
    assert times(answer) == (10, 10.5, 20)


@pytest.mark.parametrize(("at", "expected"), [(71.0, (71, 71, 72)), (71.5, (71.5, 72, 73)), (72.0, (72, 72.5, 73.5))])
def test_an_idle_container_ends_at_its_time_and_not_before(at: float, expected: tuple[float, float, float]) -> None:
    _, second = Platform().calls(0, at)
    assert times(second) == expected


def test_an_old_alarm_does_not_end_a_container_that_was_used_since() -> None:
    *_, third = Platform().calls(0, 60, 100)
    assert times(third) == (100, 100, 101)


def test_functions_share_an_image_and_no_container() -> None:
    platform = Platform(function("f"), function("g", image="f-image"))
    _, second = platform.calls((0, "f"), (20, "g"))
    assert times(second) == (20, 20.5, 21.5)
    assert platform.carried("r", "r-h") == 100 * MB


def test_an_image_is_used_again_by_the_same_and_by_another_function() -> None:
    both = (function("f", 5), function("g", 5, image="f-image"))
    first, second, third = Platform(*both, rate="160Mbit", cold_start="10s").calls((0, "f"), (30, "f"), (40, "g"))
    assert [round((each.t_end or 0) - (each.t_submit or 0), 6) for each in (first, second, third)] == [22, 5, 15]


def test_a_call_at_the_very_end_of_another_finds_its_container_idle() -> None:
    """Ends of executions go before calls of the same instant, whichever message came first."""
    platform = Platform(nodes=["n1"], node={"slots": 1})
    _, second = platform.calls(0, 11.5)
    assert (times(second), second.start_kind) == ((11.5, 11.5, 12.5), "hot")
