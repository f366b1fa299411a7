"""The service's checks through all its roles, in the twin: room at the head, on disks and in memory, and slots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scs_twin import GB, MB, Platform, function, times

from roles.serverless_compute.messages import REGISTER, Progress, Register, Registered


def registered(platform: Platform, **fields: Any) -> Registered:
    """The answer to a registration beside the experiment's own."""
    request = Register(**{"function": "more", "image": "f-image", "image_bytes": 100 * MB, "code": "f", **fields})

    async def story() -> Registered:
        return await platform.ask(REGISTER, request)  # type: ignore[no-any-return]

    return platform.run(story)


@pytest.mark.parametrize(("disk", "state"), [("611MB", "refused"), ("612MB", "completed")])
def test_a_function_must_fit_the_disk_with_its_image(disk: str, state: str) -> None:
    (answer,) = Platform(node={"disk": disk}).calls(0)
    assert answer.state == state
    assert (answer.cause, answer.detail[:5]) == (("not_allowed", "disk:") if state == "refused" else ("", ""))


@pytest.mark.parametrize(("memory", "state"), [(901 * MB, "refused"), (900 * MB, "completed")])
def test_a_function_must_fit_the_memory_with_its_image(memory: int, state: str) -> None:
    (answer,) = Platform(function(memory_bytes=memory), node={"memory": "1GB"}).calls(0)
    assert answer.state == state
    assert (answer.cause, answer.detail[:4]) == (("not_allowed", "ram:") if state == "refused" else ("", ""))


def test_a_registration_that_fits_no_node_is_refused_with_its_resource() -> None:
    answer = registered(Platform(node={"disk": "612MB"}), storage_bytes=600 * MB)
    assert (answer.registration, answer.cause) == ("", "not_allowed") and answer.detail.startswith("disk")


def test_registering_twice_gives_two_registrations() -> None:
    assert registered(Platform(), function="f").registration == "f#2"


def test_a_full_head_refuses_a_call_and_nothing_else_suffers() -> None:
    first, second = Platform(function("a"), function("b"), storage="150MB").calls((0, "a"), (1, "b"))
    assert times(first) == (10, 10.5, 11.5)
    assert (second.state, second.cause, second.invocation) == ("refused", "cannot_admit_now", 0)


def test_a_full_head_may_queue_calls_and_is_looked_at_again_after_a_dispatch() -> None:
    platform = Platform(function("a"), function("b"), storage="150MB", head_full="queue")
    first, second = platform.calls((0, "a"), (1, "b"))
    assert times(first) == (10, 10.5, 11.5)
    assert (second.t_admit, second.t_schedulable, *times(second)) == (10, 18, 20, 20.5, 21.5)


@pytest.mark.parametrize(
    ("disk", "idle", "second"),
    [("1000MB", "60s", (21.5, 21.5, 22.5)), ("1000MB", 0, (21.5, 22.0, 23.0)), ("1224MB", "60s", (20.0, 20.5, 21.5))],
)
def test_a_node_s_disk_limits_its_containers(disk: str, idle: Any, second: tuple[float, ...]) -> None:
    platform = Platform(function(image_bytes=200 * MB), nodes=["n1"], node={"disk": disk}, idle_timeout=idle)
    both = platform.calls(0, 0)
    assert [times(each) for each in both] == [(20, 20.5, 21.5), second]


def test_a_cached_image_goes_by_its_last_use(tmp_path: Path) -> None:
    functions = [function(name, storage_bytes=10 * MB) for name in "abc"]
    options: dict[str, Any] = {"nodes": ["n1"], "node": {"disk": "250MB"}, "resident": "head", "idle_timeout": 0}
    platform = Platform(*functions, folder=tmp_path, **options)

    async def story() -> list[float]:
        ends = [0.0]
        for name in "abcac":
            ends.append(round((await platform.call(ends[-1], name)).t_end or 0, 6))
        return ends

    assert platform.run(story) == [0, 3.5, 7, 10.5, 14, 15.5]
    copied = [each["image"][0] for each in platform.rows("h", "sc_transfers") if each["stage"] == "copy"]
    assert "".join(copied) == "abca"


@pytest.mark.parametrize(
    ("idle", "evicts", "second"),
    [(0, True, (9.5, 10, 15)), ("60s", True, (9.5, 10, 15)), ("60s", False, (69.5, 70, 75))],
)
def test_the_image_of_a_busy_container_stays_that_of_an_idle_one_may_go(
    idle: Any, evicts: bool, second: tuple[float, ...]
) -> None:
    functions = [function(name, 5, storage_bytes=10 * MB) for name in "ab"]
    platform = Platform(*functions, nodes=["n1"], node={"disk": "150MB"}, resident="head", idle_timeout=idle,
                        evict_idle_for_images=evicts)  # fmt: skip
    both = platform.calls((0, "a"), (3, "b"))
    assert [times(each) for each in both] == [(2, 2.5, 7.5), second]


@pytest.mark.parametrize(("policy", "ended"), [("lru", [0, 1, 2, 3, 4, 5, 6]), ("ram", [9, 6])])
def test_idle_containers_go_by_the_policy_until_there_is_memory(policy: str, ended: list[int], tmp_path: Path) -> None:
    sizes = [1, 1, 1, 1, 2, 3, 4, 5, 6, 7]
    shared = {"image": "shared", "image_bytes": 33 * GB}
    functions = [function(f"f{i}", memory_bytes=size * GB, **shared) for i, size in enumerate(sizes)]
    wanting = function("wanting", memory_bytes=11 * GB, **shared)
    node = {"slots": 16, "memory": "64GB"}
    platform = Platform(*functions, wanting, nodes=["n1"], node=node, resident="memory", eviction=policy,
                        folder=tmp_path)  # fmt: skip
    *_, last = platform.calls(*((i, f"f{i}") for i in range(10)), (20, "wanting"))
    assert times(last) == (20, 20.5, 21.5)
    events = [(each["event"], int(each["container"])) for each in platform.rows("n1", "sc_containers")
              if 20 <= float(each["t"]) - 4 < 21]  # fmt: skip
    assert [number - 1 for event, number in events if event == "end"] == ended


@pytest.mark.parametrize(("idle", "second"), [("60s", (50.5, 50.5, 100.5)), (0, (50.5, 51, 101))])
def test_a_second_wave_runs_when_the_first_is_done(idle: Any, second: tuple[float, ...]) -> None:
    platform = Platform(function("f", 50), nodes=["n1"], node={"slots": 10}, resident="memory", idle_timeout=idle)
    answers = platform.calls(*[0] * 20)
    assert [times(each) for each in answers] == [(0, 0.5, 50.5)] * 10 + [second] * 10


def test_two_waves_fill_the_nodes_in_their_order() -> None:
    platform = Platform(function("f", 10), node={"slots": 10}, resident="memory", cold_start="5s", idle_timeout=0)
    answers = platform.calls(*[0] * 34)

    def placed(some: list[Progress]) -> list[tuple[str, float | None]]:
        return [(each.node, each.t_start) for each in some]

    assert placed(answers[:20]) == [("n1", 5)] * 10 + [("n2", 5)] * 10
    assert placed(answers[20:]) == [("n1", 20)] * 10 + [("n2", 20)] * 4


def test_memory_lets_four_of_ten_slots_work() -> None:
    given = function("f", 50, image_bytes=60 * GB, memory_bytes=1 * GB)
    platform = Platform(given, nodes=["n1"], node={"slots": 10, "memory": "64GB"}, resident="memory", cold_start=0)
    ends = [round(each.t_end or 0, 6) for each in platform.calls(*[0] * 20)]
    assert ends == [50] * 4 + [100] * 4 + [150] * 4 + [200] * 4 + [250] * 4


def test_disk_lets_three_run_and_then_two() -> None:
    given = function("f", 50, image_bytes=60 * GB, storage_bytes=12 * GB)
    platform = Platform(given, nodes=["n1"], node={"slots": 10, "disk": "100GB"}, resident="memory", cold_start=0)
    assert [round(each.t_end or 0, 6) for each in platform.calls(*[0] * 5)] == [50, 50, 50, 100, 100]
