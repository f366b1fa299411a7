"""The scheduling policies: where calls go, in what order, and what a user's own function may answer."""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

import pytest
from scs_driver import MB, Code, World, function, image, platform, times

from roles.serverless_compute import events
from roles.serverless_compute.causes import BadInput
from roles.serverless_compute.core import Core
from roles.serverless_compute.model import NodeSpec, ServiceConfig, State
from roles.serverless_compute.policies import NAMES, Copy, Dispatch, Load, Terminate, policy


def resident(world: World, *names: str, **settings: Any) -> list[str]:
    """Functions whose images are at the head and in all nodes' memory."""
    found = []
    for name in names:
        world.preload(image(name.upper()))
        for node in world.config.nodes:
            world.preload(image(name.upper()), node.name, True)
        found.append(world.register(function(name, image(name.upper()), **settings)))
    return found


def nodes(count: int, slots: int) -> tuple[NodeSpec, ...]:
    return tuple(NodeSpec(f"N{number}", slots) for number in range(1, count + 1))


def test_policies_go_by_name_and_unknown_ones_are_refused() -> None:
    for name in NAMES:
        assert callable(policy(name, random.Random(1)).schedule)
    with pytest.raises(BadInput, match=r"There is no scheduler 'best'\. Give one of fcfs, random, balancing"):
        policy("best", random.Random(1))


def test_first_come_prefers_an_idle_container_to_an_earlier_node() -> None:
    world = World(platform(*nodes(2, 1)), codes={"f": Code(1), "g": Code(5)})
    f, g = resident(world, "f", "g")
    first, blocker = world.call(0, f), world.call(0, g)
    again, hot = world.call(6, f), world.call(6, g)
    world.run()
    assert [world.of(each).node for each in (first, blocker, again, hot)] == ["N1", "N2", "N1", "N2"]
    assert world.of(hot).start_kind == "hot"


def test_first_come_prefers_an_image_in_memory_to_an_earlier_node() -> None:
    world = World(platform(*nodes(2, 1)))
    world.preload(image())
    world.preload(image(), "N2", True)
    (record,) = world.calls([0], world.register(function()))
    assert (record.node, record.start_kind) == ("N2", "warm_image") and times(record)[0] == 0


def test_calls_that_wait_for_an_image_run_where_a_slot_with_it_falls_free_first() -> None:
    world = World(platform(*nodes(2, 1)), lan=12.5 * MB, codes={"f": Code(2)})
    world.preload(image())
    world.preload(image(), "N1", True)
    first, second = world.calls([0, 0], world.register(function()))
    assert (first.node, times(first)) == ("N1", (0, 0.5, 2.5))
    assert (second.node, times(second), second.start_kind) == ("N1", (2.5, 2.5, 4.5), "hot")  # the copy to N2 ends at 8


def test_a_call_that_has_no_place_does_not_stop_those_behind_it() -> None:
    world = World(platform(NodeSpec("small", 1, 700 * MB), NodeSpec("large", 1)), codes={"f": Code(9), "g": Code(1)})
    world.preload(image())
    large = world.register(function("f", storage_bytes=900 * MB))
    small = world.register(function("g"))
    at = [world.call(0, large), world.call(0, large), world.call(0, small)]
    world.run()
    assert [world.of(each).node for each in at] == ["large", "large", "small"]
    assert times(world.of(at[2]))[2] < times(world.of(at[1]))[0]


def test_the_random_policy_draws_evenly_and_the_seed_decides() -> None:
    def draw(seed: int) -> list[str]:
        world = World(platform(*nodes(4, 100)), "random", seed)
        return [each.node for each in world.calls([0] * 200, resident(world, "f")[0])]

    assert draw(1) == draw(1) != draw(2)
    counts = Counter(node for seed in range(10) for node in draw(seed))
    assert all(400 < counts[f"N{number}"] < 600 for number in range(1, 5))


def test_the_random_policy_finds_the_only_free_nodes_among_many() -> None:
    world = World(platform(*[NodeSpec(f"N{number}", int(number in (3, 97))) for number in range(100)]), "random")
    records = world.calls([0, 0, 0], resident(world, "f")[0])
    assert {each.node for each in records[:2]} | {records[2].node} == {"N3", "N97"}


def test_balancing_gives_slots_in_proportion_to_the_work_that_waits() -> None:
    world = World(platform(*nodes(2, 4)), "balancing", codes={"f": Code(3), "g": Code(3)})
    for node in ("N1", "N2"):
        world.preload(image(), node, True)
    f, g = world.register(function("f", time_limit_s=30.0)), world.register(function("g", time_limit_s=10.0))
    for name in (f, g) * 12:
        world.call(0, name)
    world.run(8.1)  # the image has come to the head, and all 24 calls were planned at once
    runs = Counter((each.registration, each.node) for _, each in world.effects if isinstance(each, events.Run))
    assert runs == {(f, "N1"): 4, (f, "N2"): 2, (g, "N2"): 2}  # ceil(3/4 of 8), the larger share first; ceil(1/4 of 8)
    world.run()
    assert len(world.records) == 24 and all(each.state is State.COMPLETED for each in world.records.values())


def test_balancing_takes_the_emptiest_node_and_the_youngest_call() -> None:
    world = World(platform(NodeSpec("N1", 2), NodeSpec("N2", 3)), "balancing", codes={"f": Code(10)})
    (name,) = resident(world, "f")
    requests = [world.call(at, name) for at in (0, 1, 2, 3, 4, 5, 6)]
    world.run()
    records = [world.of(each) for each in requests]
    assert [each.node for each in records[:5]] == ["N2", "N1", "N2", "N1", "N2"]
    assert records[6].t_dispatch < records[5].t_dispatch  # type: ignore[operator]


def scripted(*rounds: list[Any], call: int = 1) -> Callable[[Any, Any], Any]:
    """A policy that gives these answers once ``call`` is the first that waits; else it packs on N1."""
    left = list(rounds)

    def schedule(pending: Any, view: Any) -> Any:
        if left and pending[0].invocation == call:
            return left.pop(0)
        node = view.nodes["N1"]
        stage = {call.image: node.image(call.image) for call in pending}
        return [Dispatch(call.invocation, "N1") for call in pending if stage[call.image] == "in_ram"] + [
            (Copy if found == "absent" else Load)(name, "N1") for name, found in stage.items()
            if found in ("absent", "on_disk")]  # fmt: skip

    return schedule


@pytest.mark.parametrize("decision, sentence", [
    (Dispatch(1, "N1"), "the image is not in the node's memory"),
    (Dispatch(1, "N9"), "there is no such node"),
    (Dispatch(7, "N1"), "the invocation is not pending"),
    (Dispatch(1, "N1", 5), "the container is not an idle one of this registration"),
    (Load("A", "N1"), "it is not on disk there"),
    (Load("Z", "N1"), "it is not on disk there"),
    (Copy("Z", "N1"), "the image is not at the head"),
    (Copy("A", "N9"), "there is no such node"),
    (Terminate(5), "there is no such container"),
    (Dispatch("1", "N1"), "which is no decision"),  # type: ignore[arg-type]
    (Copy("A", ["N1"]), "which is no decision"),  # type: ignore[arg-type]
    ("go", "which is no decision"), (None, "which is no decision"),
])  # fmt: skip
def test_what_a_user_s_policy_cannot_mean_is_left_out_with_a_remark(decision: Any, sentence: str) -> None:
    world = World(platform(), scripted([decision]))
    first, second = world.calls([0, 9], world.register(function()))
    assert [sentence in note for note in world.notes] == [True]
    assert first.state is second.state is State.COMPLETED


def test_a_second_copy_is_left_out() -> None:
    world = World(platform(), scripted([Copy("A", "N1"), Copy("A", "N1")]))
    (record,) = world.calls([0], world.register(function()))
    assert world.notes == ["Copy(image='A', node='N1') left out: it is there or on its way."]
    assert times(record) == (10, 10.5, 11.5)


def test_a_busy_container_and_a_second_dispatch_are_left_out_and_the_call_waits_on() -> None:
    busy = [Dispatch(2, "N1", 3), Terminate(3)]
    world = World(platform(NodeSpec("N1", 2)), scripted(busy, [Dispatch(2, "N1"), Dispatch(2, "N1")], call=2),
                  codes={"f": Code(5)})  # fmt: skip
    name = world.register(function())
    first, second = world.call(0, name), world.call(12, name)
    world.run(12)
    assert list(world.core.cluster.containers) == [3] and world.core.state(2) is State.SCHEDULABLE
    world.run()
    assert [note.partition(" left out: ")[2] for note in world.notes] == [
        "it is busy.", "the container is not an idle one of this registration.", "the invocation is not pending.",
    ]  # fmt: skip
    assert times(world.of(first))[2] == times(world.of(second))[0] == 15.5


@pytest.mark.parametrize("broken", [lambda pending, view: 1 / 0, lambda pending, view: None, lambda: [],
                                    lambda pending, view: iter(lambda: Copy("A", "N1"), None)])  # fmt: skip
def test_a_policy_that_raises_or_never_ends_loses_nothing(broken: Any) -> None:
    world = World(platform(NodeSpec("N1", 1)), broken)
    request = world.call(0, world.register(function()))
    world.run()
    assert 1 <= len(world.notes) <= 22 * 3 and world.core.waiting == 1
    world.handle(events.Stop())
    assert world.of(request).state is State.FAILED


def test_a_user_s_policy_sees_the_cluster_and_ends_idle_containers() -> None:
    seen: list[Any] = []

    def schedule(pending: Any, view: Any) -> Any:
        node = view.nodes["N1"]
        seen.append((view.now, node.free_slots, node.idle, node.images("in_ram"), node.free_memory_bytes))
        yield from (Terminate(each) for each in node.idle)
        yield from (Dispatch(call.invocation, "N1") for call in pending)

    world = World(platform(NodeSpec("N1", 2, memory_bytes=10**9), idle_timeout_s=60.0), schedule)
    (name,) = resident(world, "f", memory_bytes=MB)
    records = world.calls([0, 5], name)
    assert [each.start_kind for each in records] == ["warm_image", "warm_image"]
    assert seen[-1] == (5.0, 2, {1: "f#1"}, ("F",), 10**9 - 101 * MB)


def waits(servers: int, load: float, count: int) -> tuple[float, float]:
    """The share of calls that wait, and the mean wait, of Poisson arrivals and exponential service on one node."""
    config = ServiceConfig((NodeSpec("N1", servers),), idle_timeout_s=float("inf"))
    core = Core(config, policy("fcfs", random.Random(1)))
    core.handle(events.Preload(image()), 0)
    core.handle(events.Preload(image(), "N1", True), 0)
    core.handle(events.Register(0, function()), 0)
    rng, calendar, now, waited, total = random.Random(5), [], 0.0, 0, 0.0
    heappush(calendar, (0.0, 0, 0, events.Invoke(0, "f#1")))
    for number in range(1, 10**9):
        if not calendar:
            break
        now, _, _, event = heappop(calendar)
        for effect in core.handle(event, now):
            if isinstance(effect, events.Run):
                end = now + rng.expovariate(1.0)
                heappush(calendar, (end, 0, number, events.ExecDone(effect.invocation, now, end)))
            elif isinstance(effect, events.Notify):
                wait = (effect.record.t_dispatch or 0) - effect.record.t_submit
                waited, total = waited + (wait > 0), total + wait
        if isinstance(event, events.Invoke) and event.request < count:
            following = events.Invoke(event.request + 1, "f#1")
            heappush(calendar, (now + rng.expovariate(load * servers), 4, number, following))
    return waited / count, total / count


def test_waiting_follows_erlang() -> None:
    share, mean = waits(8, 0.8, 60_000)
    assert share == pytest.approx(0.4576, rel=0.1) and mean == pytest.approx(0.2860, rel=0.2)


@pytest.mark.long
def test_waiting_follows_erlang_within_two_per_cent() -> None:
    share, mean = waits(8, 0.8, 1_000_000)
    assert share == pytest.approx(0.4576, rel=0.02) and mean == pytest.approx(0.2860, rel=0.02)


def test_a_call_costs_no_more_on_a_thousand_nodes_than_on_ten() -> None:
    """Counted in steps of the interpreter, which no other work on the machine disturbs."""

    def steps(count: int) -> int:
        core = Core(ServiceConfig(nodes(count, 2), idle_timeout_s=60.0), policy("fcfs", random.Random(1)))
        core.handle(events.Preload(image()), 0)
        for node in core.config.nodes:
            core.handle(events.Preload(image(), node.name, True), 0)
        core.handle(events.Register(0, function()), 0)
        lines = [0]

        def trace(frame: Any, event: str, argument: Any) -> Any:
            lines[0] += event == "line"
            return trace

        for number in range(1, 30):
            sys.settrace(trace if number > 10 else None)
            core.handle(events.Invoke(number, "f#1"), number)
            core.handle(events.ExecDone(number, number, number + 0.5), number + 0.5)
        sys.settrace(None)
        return lines[0]

    assert steps(1000) <= 1.2 * steps(10)
