"""What the core refuses, whom it sends away, and what it does when things break."""

from __future__ import annotations

import math
from typing import Any

import pytest
from scs_driver import GB, MB, Code, World, function, image, platform, times

from roles.serverless_compute import causes, events
from roles.serverless_compute.cluster import REST_S, SERVICE
from roles.serverless_compute.eviction import DropFromRam, End, Evict, plan
from roles.serverless_compute.model import FunctionSpec, Image, NodeSpec, ServiceConfig, State
from roles.serverless_compute.state import Container, Node, NodeImage, Registration, Stage


@pytest.mark.parametrize("config, sentence", [
    (ServiceConfig(()), "at least one node"),
    (ServiceConfig((NodeSpec("a", -1),)), "The node 'a' has -1 slots; give 0 or more."),
    (ServiceConfig((NodeSpec("a", 1), NodeSpec("a", 1))), "The node 'a' is given twice."),
    (ServiceConfig((NodeSpec("a", 1, -5.0),)), "The disk_bytes of node 'a' is -5.0; give 0 or more."),
    (ServiceConfig((NodeSpec("a", 1, memory_bytes=math.nan),)), "The memory_bytes of node 'a' is nan"),
    (platform(idle_timeout_s=-1), "The idle_timeout_s of service is -1"),
    (platform(max_queue=-1), "The max_queue of service is -1"),
    (platform(eviction="fifo"), "eviction is 'fifo'; give lru or ram."),
    (platform(head_full="wait"), "head_full is 'wait'; give reject or queue."),
    (platform(timeout_scope="all"), "timeout_scope is 'all'; give code or dispatch."),
])  # fmt: skip
def test_refuses_a_configuration_that_makes_no_sense(config: ServiceConfig, sentence: str) -> None:
    with pytest.raises(causes.BadInput) as caught:
        World(config)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("asked, kind, sentence", [
    (function(""), causes.BadInput, "need a name"),
    (function(storage_bytes=-1), causes.BadInput, "The storage_bytes of function 'f' is -1"),
    (function(of=Image("A", -1)), causes.BadInput, "The size_bytes of image 'A' is -1"),
    (function(time_limit_s=math.nan), causes.BadInput, "not a number"),
    (function("known", code="another"), causes.AlreadyRegistered, "registered here with other code"),
    (function(of=image(size=5)), causes.AlreadyRegistered, "known here with another size"),
    (function(storage_bytes=2 * GB), causes.NotAllowed, "disk: no node has room for the function 'f'"),
    (function(memory_bytes=2 * GB), causes.NotAllowed, "ram: no node has room"),
    (function(of=image("B", 900 * MB, 1), storage_bytes=0), causes.NotAllowed, "larger than the head's store"),
])  # fmt: skip
def test_refuses_a_function_and_works_on(asked: FunctionSpec, kind: type, sentence: str) -> None:
    world = World(platform(NodeSpec("N1", 2, GB, GB), head_bytes=800 * MB))
    known = world.register(function("known"))
    with pytest.raises(kind, match=sentence):
        world.register(asked)
    assert world.calls([0], known)[0].state is State.COMPLETED


@pytest.mark.parametrize("node, settings, short", [
    (NodeSpec("N1", 2, 611 * MB), {}, "disk"), (NodeSpec("N1", 2, 612 * MB), {}, None),
    (NodeSpec("N1", 2, memory_bytes=GB), {"memory_bytes": 901 * MB}, "ram"),
    (NodeSpec("N1", 2, memory_bytes=GB), {"memory_bytes": 900 * MB}, None),
    (NodeSpec("N1", 0), {}, "slots"),
])  # fmt: skip
def test_a_function_fits_to_the_byte_or_is_refused(node: NodeSpec, settings: Any, short: str | None) -> None:
    world = World(platform(node))
    if short is None:
        assert world.calls([0], world.register(function(**settings)))[0].state is State.COMPLETED
    else:
        with pytest.raises(causes.NotAllowed, match=f"^{short}: no node has room"):
            world.register(function(**settings))


def test_a_function_may_fit_one_node_only_and_runs_there() -> None:
    world = World(platform(NodeSpec("small", 4, 200 * MB), NodeSpec("large", 1)))
    records = world.calls([0, 0], world.register(function()))
    assert [each.node for each in records] == ["large", "large"] and not world.notes


def test_disk_and_memory_of_two_nodes_do_not_add_up() -> None:
    world = World(platform(NodeSpec("disk", 1, memory_bytes=1), NodeSpec("memory", 1, 1)))
    with pytest.raises(causes.NotAllowed, match="disk and ram together"):
        world.register(function())


def test_the_same_function_registered_twice_is_two_registrations() -> None:
    world = World(platform())
    assert [world.register(function()), world.register(function())] == ["f#1", "f#2"]


def test_what_is_not_registered_is_not_found_and_leaves_no_trace() -> None:
    world = World(platform())
    request = world.call(0, "g#1")
    world.run()
    assert world.answers[request] == events.Answer(request, cause=causes.FunctionNotFound(
        "Nothing is registered here as 'g#1'."))  # fmt: skip
    assert [type(effect) for _, effect in world.effects] == [events.Answer]


def test_records_end_when_their_functions_do() -> None:
    world = World(platform(NodeSpec("N1", 4)))
    name = world.register(function())
    requests = [world.call(0, name, str(seconds)) for seconds in (1, 2, 3)]
    world.run()
    assert [times(world.of(each))[2] for each in requests] == [11.5, 12.5, 13.5]


def test_storage_that_is_full_fails_one_invocation_and_the_next_has_it_all() -> None:
    full = causes.EphemeralStorageFull("512000000 bytes are full.")
    world = World(platform(NodeSpec("N1", 1, 700 * MB), idle_timeout_s=math.inf), codes={"f": Code(3, full)})
    first, second = world.calls([0, 20], world.register(function()))
    assert (first.state, first.cause, times(first)[2]) == (State.FAILED, full, 13.5)
    assert second.start_kind == "hot" and world.core.cluster.nodes[0].free_disk == 88 * MB


def idle_node() -> Node:
    """A node of 64 GB, all taken: an image of 33 GB and idle containers of 1, 1, 1, 1, 2, 3, 4, 5, 6 and 7 GB."""
    node = Node(NodeSpec("N1", 20, memory_bytes=64 * GB), 0, 1)
    node.clear()
    entry = NodeImage(Image("A", 0, 33 * GB), Stage.IN_RAM, 1, idle=10)
    node.images["A"] = entry
    for number, size in enumerate([1, 1, 1, 1, 2, 3, 4, 5, 6, 7]):
        kept = Registration(f"f{number}", FunctionSpec(f"f{number}", entry.image, storage_bytes=0,
                                                       memory_bytes=size * GB), 1)  # fmt: skip
        node.idle[kept.name] = {number: Container(number, node, kept, entry, idle_since=float(number))}
    node.free_ram = 0.0
    return node


@pytest.mark.parametrize("policy, gone", [("lru", [0, 1, 2, 3, 4, 5, 6]), ("ram", [9, 6])])
def test_idle_containers_go_by_age_or_by_size(policy: str, gone: list[int]) -> None:
    victims = plan(idle_node(), 0, 11 * GB, {"A"}, policy, True)  # type: ignore[arg-type]
    assert [each.container.id for each in victims or () if isinstance(each, End)] == gone
    assert len(victims or ()) == len(gone)


def test_nobody_goes_if_the_room_cannot_be_made() -> None:
    assert plan(idle_node(), 0, 32 * GB, {"A"}, "lru", True) is None
    assert plan(idle_node(), 0, 1, {"A"}, "lru", False) is None
    everybody = plan(idle_node(), 0, 32 * GB, (), "lru", True)
    assert everybody is not None and everybody[-1] == DropFromRam(everybody[-1].image)  # type: ignore[union-attr]


def test_cached_images_go_before_idle_containers() -> None:
    node = idle_node()
    node.images["B"] = cached = NodeImage(Image("B", 0, 5 * GB), Stage.IN_RAM, 2)
    assert plan(node, 0, 4 * GB, {"A"}, "lru", True) == [DropFromRam(cached)]
    node.free_disk = 0
    node.images["B"] = cached = NodeImage(Image("B", 10, 5 * GB), Stage.IN_RAM, 2)
    assert plan(node, 10, 4 * GB, {"A"}, "lru", True) == [Evict(cached)]


def test_an_image_leaves_memory_and_comes_back_from_disk() -> None:
    world = World(platform(NodeSpec("N1", 1, memory_bytes=150 * MB), idle_timeout_s=0.0))
    a, b = world.register(function("f")), world.register(function("g", image("B")))
    at = [world.call(0, a), world.call(20, b), world.call(40, a)]
    world.run()
    assert (20 + 8 + 1, events.Unload("A", "N1")) in [(round(at, 9), each) for at, each in world.effects]
    assert times(world.of(at[2])) == (41, 41.5, 42.5)  # loaded again, not copied


def test_a_lost_node_fails_what_runs_there_and_the_rest_goes_elsewhere() -> None:
    world = World(platform(NodeSpec("N1", 1), NodeSpec("N2", 1)), codes={"f": Code(5)})
    name = world.register(function())
    requests = [world.call(0, name) for _ in range(3)]
    world.at(12, events.NodeDown("N1"))
    world.at(13, events.NodeUp("N1"))
    world.run()
    first, second, third = (world.of(each) for each in requests)
    assert (first.state, first.t_end, first.node) == (State.FAILED, 12, "N1")
    assert isinstance(first.cause, causes.NodeLost)
    assert second.state is third.state is State.COMPLETED and second.node == "N2"
    assert (third.node, third.start_kind) == ("N1", "cold")  # N1 came back empty: copied and loaded anew from 13
    assert times(third) == (15, 15.5, 20.5)


def test_a_copy_that_was_under_way_to_a_lost_node_does_not_count_when_it_ends() -> None:
    world = World(platform(NodeSpec("N1", 1)))
    name = world.register(function())
    request = world.call(0, name)
    world.at(8.4, events.NodeDown("N1"))
    world.at(8.5, events.NodeUp("N1"))
    world.run()
    copies = [each.transfer for _, each in world.effects if isinstance(each, events.StartCopy)]
    assert len(copies) == 2 and times(world.of(request))[1] > 10.5
    assert len(world.records) == 1


def test_a_transfer_that_failed_is_tried_again_after_a_rest() -> None:
    world = World(platform(NodeSpec("N1", 1)))
    name = world.register(function())
    core, request = world.core, events.Invoke(9, name)
    world.preload(image())
    (answer, copy) = core.handle(request, 0)
    assert isinstance(answer, events.Answer) and isinstance(copy, events.StartCopy)
    lost = core.handle(events.CopyDone(copy.transfer, causes.FunctionError("reset")), 1)
    assert [type(each) for each in lost] == [events.ArmTimer, events.Note]
    assert lost[0] == events.ArmTimer(SERVICE, 1 + REST_S)
    early = core.handle(events.Invoke(10, name), 1.5)
    assert [type(each) for each in early] == [events.Answer, events.Note]
    again = core.handle(events.IdleTimer(SERVICE), 1 + REST_S)
    assert [type(each) for each in again] == [events.StartCopy] and core.waiting == 2


def test_a_container_that_does_not_start_fails_its_invocation_only() -> None:
    world = World(platform(NodeSpec("N1", 1)))
    name = world.register(function())
    first, second = world.call(0, name), world.call(0, name)
    world.at(10.2, lambda: world.handle(events.ContainerFailed(3, causes.ContainerNotStarted("no such file"))))
    world.run()
    assert (world.of(first).cause, world.of(first).t_end) == (causes.ContainerNotStarted("no such file"), 10.2)
    assert world.of(second).state is State.COMPLETED and times(world.of(second)) == (10.2, 10.7, 11.7)


def test_calls_are_called_off_wherever_they_are() -> None:
    world = World(platform(NodeSpec("N1", 1), head_bytes=150 * MB, head_full="queue"), codes={"f": Code(50)})
    a, b = world.register(function()), world.register(function("g", image("B")))
    running, waiting, new, last = world.call(0, a), world.call(0, a), world.call(1, b), world.call(30, a)
    for at, number in ((12, 3), (15, 2), (20, 1), (21, 1), (22, 77)):
        world.at(at, events.Cancel(number))
    world.run()
    ended = [world.of(each) for each in (running, waiting, new)]
    assert [(each.state, each.t_end) for each in ended] == [
        (State.CANCELLED, 20), (State.CANCELLED, 15), (State.CANCELLED, 12)]  # fmt: skip
    assert (20, events.Terminate(3, "N1")) in world.effects  # what it did is ended with its container
    assert world.of(last).state is State.COMPLETED and world.core.waiting == 0


def test_a_stopped_service_fails_all_that_waits_or_runs_and_refuses_the_rest() -> None:
    world = World(platform(NodeSpec("N1", 1)), codes={"f": Code(50)})
    name = world.register(function())
    requests = [world.call(0, name), world.call(0, name)]
    world.at(12, events.Stop())
    late = world.call(13, name)
    world.run()
    assert [(world.of(each).state, world.of(each).t_end) for each in requests] == [(State.FAILED, 12)] * 2
    assert all(isinstance(world.of(each).cause, causes.ServiceStopped) for each in requests)
    assert isinstance(world.answers[late].cause, causes.ServiceStopped)
    with pytest.raises(causes.ServiceStopped):
        world.register(function("g"))


def test_states_are_told_on_the_way() -> None:
    world = World(platform(NodeSpec("N1", 1)))
    name = world.register(function())
    world.call(0, name)
    world.call(0, name)
    seen = []
    for at in (4, 9, 10.2, 10.7, 12):
        world.run(at)
        seen.append((world.core.state(1), world.core.state(2)))
    assert seen == [(State.ADMITTED, State.ADMITTED), (State.SCHEDULABLE, State.SCHEDULABLE),
                    (State.STARTING, State.SCHEDULABLE), (State.RUNNING, State.SCHEDULABLE),
                    (None, State.RUNNING)]  # fmt: skip


@pytest.mark.parametrize("event, sentence", [
    (events.Preload(Image("A", 200 * MB)), "does not fit the head"),
    (events.Preload(Image("A", 200 * MB), "N1"), "does not fit node 'N1'"),
    (events.Preload(Image("A", 20 * MB), "N9"), "'N9', which is no node"),
    (events.Preload(Image("B", 2)), "two sizes"),
])  # fmt: skip
def test_refuses_an_image_that_cannot_be_there_from_the_start(event: events.Preload, sentence: str) -> None:
    world = World(platform(NodeSpec("N1", 1, 100 * MB), head_bytes=100 * MB))
    world.preload(Image("B", 1))
    with pytest.raises(causes.BadInput, match=sentence):
        world.handle(event)


def test_causes_travel_as_a_code_and_a_sentence() -> None:
    for kind in (causes.NotAllowed, causes.InvocationTimeout, causes.NodeLost):
        assert causes.cause(kind.code, "why") == kind("why") and isinstance(causes.cause(kind.code), kind)
    assert causes.cause("odd", "why") == causes.FunctionError("odd: why")
