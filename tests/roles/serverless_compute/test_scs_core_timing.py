"""The timed checks of the service, on the core alone: exact to a nanosecond on an ideal platform."""

from __future__ import annotations

import pytest
from scs_driver import GB, MB, Code, World, failing, function, image, platform, times

from roles.serverless_compute.causes import CannotAdmitNow, FunctionError, ImageFetchFailed, InvocationTimeout
from roles.serverless_compute.events import (
    ArmTimer,
    RemoveFromHead,
    RemoveFromNode,
    Run,
    StartCopy,
    StartFetch,
    StartLoad,
)
from roles.serverless_compute.model import InvocationRecord, NodeSpec, State
from roles.serverless_compute.policies import Copy, Dispatch, Load


def when(world: World, kind: type, **fields: object) -> list[float]:
    """When effects of a kind (with these fields) were asked for."""
    return [round(at, 9) for at, each in world.effects
            if isinstance(each, kind) and all(_name(getattr(each, key)) == value for key, value in fields.items())]


def _name(value: object) -> object:
    return getattr(value, "name", value)


def spread(pending, view):  # type: ignore[no-untyped-def]
    """A user's policy: calls go to the nodes in turn, and what they need is brought there."""
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


def test_a_cold_call_is_downloaded_copied_loaded_and_started() -> None:
    world = World(platform())
    (record,) = world.calls([0], world.register(function()))
    assert times(record) == (10, 10.5, 11.5)
    assert (record.state, record.node, record.start_kind, record.output) == (State.COMPLETED, "N1", "cold", "done")
    assert (record.t_submit, record.t_admit, round(record.t_schedulable or 0, 9)) == (0, 0, 8)
    assert (when(world, StartFetch), when(world, StartCopy), when(world, StartLoad)) == ([0], [8], [9])


def test_a_second_call_is_hot_and_moves_nothing() -> None:
    world = World(platform())
    _, second = world.calls([0, 20], world.register(function()))
    assert times(second) == (20, 20, 21) and second.start_kind == "hot"
    assert len(when(world, StartFetch) + when(world, StartCopy) + when(world, StartLoad)) == 3


def test_without_idle_time_a_second_call_gets_a_new_container_with_the_image_kept() -> None:
    world = World(platform(idle_timeout_s=0.0))
    _, second = world.calls([0, 20], world.register(function()))
    assert times(second) == (20, 20.5, 21.5) and second.start_kind == "warm_image"


def test_two_calls_at_once_pack_on_the_first_node() -> None:
    world = World(platform())
    records = world.calls([0, 0], world.register(function()))
    assert [(each.node, *times(each)) for each in records] == [("N1", 10, 10.5, 11.5)] * 2
    assert when(world, StartCopy, node="N2") == []


def test_a_users_policy_spreads_two_calls_and_the_head_s_disk_is_shared() -> None:
    world = World(platform(), spread)
    records = world.calls([0, 0], world.register(function()))
    assert [(each.node, *times(each)) for each in records] == [("N1", 11, 11.5, 12.5), ("N2", 11, 11.5, 12.5)]
    assert world.wan_bytes == pytest.approx(100 * MB) and not world.notes


@pytest.mark.parametrize("idle, fifth", [(60.0, (12.5, 12.5, 13.5)), (0.0, (12.5, 13.0, 14.0))])
def test_five_calls_fill_two_nodes_and_the_fifth_runs_after_them(idle: float, fifth: tuple[float, ...]) -> None:
    world = World(platform(idle_timeout_s=idle))
    records = world.calls([0] * 5, world.register(function()))
    assert [each.node for each in records] == ["N1", "N1", "N2", "N2", "N1"]
    assert [times(each) for each in records[:4]] == [(11, 11.5, 12.5)] * 4
    assert times(records[4]) == fifth
    assert (when(world, StartCopy), when(world, StartLoad)) == ([8, 8], [10, 10])


def test_calls_of_one_function_share_one_download() -> None:
    world = World(platform())
    records = world.calls([0, 1, 2], world.register(function()))
    assert [round(each.t_schedulable or 0, 9) for each in records] == [8, 8, 8]
    assert world.downloads == ["A"] and world.wan_bytes == pytest.approx(100 * MB)


def test_two_downloads_share_the_link_fairly() -> None:
    world = World(platform())
    first, second = world.register(function("f")), world.register(function("g", image("B")))
    a, b = world.call(0, first), world.call(4, second)
    world.run()
    assert (world.of(a).t_schedulable, world.of(b).t_schedulable) == (pytest.approx(12), pytest.approx(16))
    assert [times(world.of(each))[1:] for each in (a, b)] == [(14.5, 15.5), (18.5, 19.5)]


def test_the_time_limit_excludes_the_start() -> None:
    world = World(platform(), codes={"f": Code(50)})
    first, second = world.calls([0, 20.5], world.register(function(time_limit_s=10)))
    assert times(first) == (10, 10.5, 20.5) and first.state is State.TIMED_OUT
    assert first.output is None and isinstance(first.cause, InvocationTimeout)
    assert times(second)[0] == 20.5 and second.start_kind == "hot"


def test_the_time_limit_may_include_the_start() -> None:
    world = World(platform(timeout_scope="dispatch"), codes={"f": Code(50)})
    (record,) = world.calls([0], world.register(function(time_limit_s=10)))
    assert times(record) == (10, 10.5, 20)
    world = World(platform(timeout_scope="dispatch", cold_start_s=30.0), codes={"f": Code(50)})
    (record,) = world.calls([0], world.register(function(time_limit_s=10)))
    assert times(record) == (10, 20, 20) and record.state is State.TIMED_OUT


def test_a_full_head_refuses_a_call_and_nothing_else_suffers() -> None:
    world = World(platform(head_bytes=150 * MB))
    a, b = world.register(function("f")), world.register(function("g", image("B")))
    first, second = world.call(0, a), world.call(1, b)
    world.run()
    assert isinstance(world.answers[second].cause, CannotAdmitNow) and world.answers[second].invocation == 0
    assert times(world.of(first)) == (10, 10.5, 11.5) and len(world.records) == 1


def test_a_full_head_may_queue_calls_and_is_looked_at_again_after_a_dispatch() -> None:
    world = World(platform(head_bytes=150 * MB, head_full="queue"))
    a, b = world.register(function("f")), world.register(function("g", image("B")))
    first, second = world.call(0, a), world.call(1, b)
    world.run()
    assert times(world.of(first))[0] == 10 and when(world, RemoveFromHead, image="A") == [10]
    record = world.of(second)
    assert (record.t_submit, round(record.t_admit or 0, 9), round(record.t_schedulable or 0, 9)) == (1, 10, 18)
    assert when(world, StartLoad, image="B") == [19] and times(record) == (20, 20.5, 21.5)


@pytest.mark.parametrize("disk, idle, second", [
    (1000, 60.0, (21.5, 21.5, 22.5)), (1000, 0.0, (21.5, 22.0, 23.0)), (1224, 60.0, (20.0, 20.5, 21.5)),
])  # fmt: skip
def test_a_node_s_disk_limits_its_containers(disk: int, idle: float, second: tuple[float, ...]) -> None:
    world = World(platform(NodeSpec("N1", 2, disk * MB), idle_timeout_s=idle))
    records = world.calls([0, 0], world.register(function(of=image(size=200 * MB))))
    assert [times(each) for each in records] == [(20, 20.5, 21.5), second]


def test_a_cached_image_goes_by_its_last_use() -> None:
    world = World(platform(NodeSpec("N1", 2, 250 * MB), idle_timeout_s=0.0))
    for name in "ABC":
        world.preload(image(name))
    ids = {name: world.register(function(name, image(name), storage_bytes=10 * MB)) for name in "ABC"}
    records, at = [], 0.0
    for name in "ABCAC":
        records += world.calls([at], ids[name])
        at = records[-1].t_end
    assert [round(each.t_end, 9) for each in records] == [3.5, 7, 10.5, 14, 15.5]
    assert when(world, RemoveFromNode, image="A") == [7] and when(world, RemoveFromNode, image="B") == [10.5]


@pytest.mark.parametrize("idle, evict, start", [(0.0, True, 7.5), (60.0, False, 67.5), (60.0, True, 7.5)])
def test_the_image_of_a_busy_container_stays_that_of_an_idle_one_may_go(
    idle: float, evict: bool, start: float
) -> None:
    world = World(platform(NodeSpec("N1", 2, 150 * MB), idle_timeout_s=idle, evict_idle_for_images=evict),
                  codes={"f": Code(5), "g": Code(5)})  # fmt: skip
    world.preload(image("A"))
    world.preload(image("B"))
    a = world.register(function("f", storage_bytes=10 * MB))
    b = world.register(function("g", image("B"), storage_bytes=10 * MB))
    first, second = world.call(0, a), world.call(3, b)
    world.run()
    assert times(world.of(first)) == (2, 2.5, 7.5)
    assert when(world, StartCopy, image="B") == [start]
    assert times(world.of(second)) == (start + 2, start + 2.5, start + 7.5)


@pytest.mark.parametrize("at, expected", [(71.0, (71, 71, 72)), (71.5, (71.5, 72, 73)), (72.0, (72, 72.5, 73.5))])
def test_an_idle_container_ends_at_its_time_and_not_before(at: float, expected: tuple[float, ...]) -> None:
    world = World(platform())
    assert times(world.calls([0, at], world.register(function()))[1]) == expected


def test_an_old_alarm_does_not_end_a_container_that_was_used_since() -> None:
    world = World(platform())
    records = world.calls([0, 60, 100], world.register(function()))
    assert [times(each) for each in records[1:]] == [(60, 60, 61), (100, 100, 101)]
    assert when(world, ArmTimer) == [11.5, 71.5, 121.0]  # never two of one container under way


def test_registrations_share_an_image_and_no_container() -> None:
    world = World(platform())
    first, second = world.register(function("f")), world.register(function("g"))
    a, b = world.call(0, first), world.call(20, second)
    world.run()
    assert times(world.of(a))[2] == 11.5 and times(world.of(b)) == (20, 20.5, 21.5)


def test_a_function_s_error_ends_its_invocation_and_not_its_container() -> None:
    world = World(platform(), codes={"f": Code(0.3, failing("no such file"))})
    first, second = world.calls([0, 20], world.register(function()))
    assert (first.state, times(first)[2], first.cause) == (State.FAILED, 10.8, FunctionError("no such file"))
    assert second.start_kind == "hot" and times(second)[:2] == (20, 20)


def test_a_lost_download_fails_all_who_wait_for_it_and_gives_its_room_back() -> None:
    world = World(platform(head_bytes=150 * MB))
    name = world.register(function())
    first, second, third = world.call(0, name), world.call(1, name), world.call(20, name)
    world.at(5, world.cut_wan)
    world.run(10)
    for each in (first, second):
        assert isinstance(world.of(each).cause, ImageFetchFailed) and world.of(each).t_end == 5
        assert world.of(each).t_dispatch is None
    assert world.core.head.free == 150 * MB and not world.core.head.images
    world.run()
    assert world.of(third).t_schedulable == pytest.approx(28) and world.downloads == ["A", "A"]


def test_the_head_spends_its_processing_time_one_call_after_the_other() -> None:
    world = World(platform(NodeSpec("N1", 4), processing_s=1.0), codes={"f": Code(5)})
    name = resident(world)
    records = world.calls([0, 0, 0], name)
    assert [(each.t_submit, *times(each)) for each in records] == [
        (1, 1, 1.5, 6.5), (2, 2, 2.5, 7.5), (3, 3, 3.5, 8.5)]  # fmt: skip


def resident(world: World, **settings: object) -> str:
    """A function whose image is at the head and in all nodes' memory."""
    of = settings.pop("of", image())
    world.preload(of)  # type: ignore[arg-type]
    for node in world.config.nodes:
        world.preload(of, node.name, True)  # type: ignore[arg-type]
    return world.register(function(of=of, **settings))  # type: ignore[arg-type]


@pytest.mark.parametrize("idle, second", [(60.0, (50.5, 50.5, 100.5)), (0.0, (50.5, 51.0, 101.0))])
def test_a_second_wave_runs_when_the_first_is_done(idle: float, second: tuple[float, ...]) -> None:
    world = World(platform(NodeSpec("N1", 10), idle_timeout_s=idle), codes={"f": Code(50)})
    records = world.calls([0] * 20, resident(world))
    assert [times(each) for each in records] == [(0, 0.5, 50.5)] * 10 + [second] * 10


def test_two_waves_fill_the_nodes_in_their_order() -> None:
    world = World(platform(NodeSpec("N1", 10), NodeSpec("N2", 10), cold_start_s=5.0), codes={"f": Code(10)})
    records = world.calls([0] * 34, resident(world))
    assert [each.node for each in records] == ["N1"] * 10 + ["N2"] * 10 + ["N1"] * 10 + ["N2"] * 4
    assert [times(each)[1:] for each in records] == [(5, 15)] * 20 + [(15, 25)] * 14


def ends(records: list[InvocationRecord]) -> list[float]:
    return [round(each.t_end, 9) for each in records]


@pytest.mark.parametrize("idle", [0.0, 60.0])
def test_memory_lets_four_of_ten_slots_work(idle: float) -> None:
    node = NodeSpec("N1", 10, memory_bytes=64 * GB)
    world = World(platform(node, cold_start_s=0.0, idle_timeout_s=idle), codes={"f": Code(50)})
    records = world.calls([0] * 20, resident(world, of=image(size=60 * GB), memory_bytes=GB))
    assert ends(records) == [wave for wave in (50, 100, 150, 200, 250) for _ in range(4)]


def test_disk_lets_three_run_and_then_two() -> None:
    node = NodeSpec("N1", 10, disk_bytes=100 * GB)
    world = World(platform(node, cold_start_s=0.0), codes={"f": Code(50)})
    records = world.calls([0] * 5, resident(world, of=image(size=60 * GB, ram=0), storage_bytes=12 * GB))
    assert ends(records) == [50, 50, 50, 100, 100]


def test_an_image_is_used_again_by_the_same_and_by_another_registration() -> None:
    world = World(platform(cold_start_s=10.0), wan=20 * MB, codes={"f": Code(5), "g": Code(5)})
    same, other = world.register(function("f")), world.register(function("g"))
    at = [world.call(0, same), world.call(30, same), world.call(60, other)]
    world.run()
    assert [round(world.of(each).t_end - world.of(each).t_submit, 9) for each in at] == [22, 5, 15]


def test_runs_say_how_they_start() -> None:
    world = World(platform(hot_start_s=0.25))
    world.calls([0, 20], world.register(function()))
    runs = [each for _, each in world.effects if isinstance(each, Run)]
    assert [(each.kind, each.overhead_s, each.hot) for each in runs] == [("cold", 0.5, False), ("hot", 0.25, True)]
