"""Routers: what they answer, where they send calls, what they do about failures."""

from __future__ import annotations

import asyncio

import pytest
from routed import FUNCTIONS, destinations, put
from soe_world import World

from roles.serverless_on_edge.messages import (
    ANNOUNCE_ROUTER,
    OK,
    RUN_LAMBDA,
    Action,
    EdgeRouterConf,
    LambdaRequest,
    LambdaResponse,
    TableId,
    Void,
)
from testbed.roles.api import Function


def test_a_function_without_destinations_is_answered_at_once() -> None:
    world = World()

    async def story() -> None:
        router = await world.start("router", "h1")
        before = router.env.now()
        reply = await router.run_lambda(LambdaRequest("f"))
        assert reply.retcode == "No destinations found for the entry 'f'" and router.env.now() == before

    world.run(story())


def test_a_request_that_has_come_too_far_is_a_loop() -> None:
    world = World()

    async def story() -> None:
        router = await world.start("router", "h1")
        assert (await router.run_lambda(LambdaRequest("f", hops=255))).retcode == "loop detected"
        assert "No destinations" in (await router.run_lambda(LambdaRequest("f", hops=254))).retcode

    world.run(story())


def test_tables_are_changed_as_configured() -> None:
    world = World()

    async def story() -> None:
        router = await world.start("router", "h1")
        assert (await router.get_num_tables(Void())).value == 2
        assert (await router.configure(put("a:1", final=False))).msg == OK
        assert (await destinations(router, 0), await destinations(router, 1)) == ([("f", "a:1")], [])
        await router.configure(put("b:1"))
        assert await destinations(router, 0) == [("f", "a:1"), ("f", "b:1")]
        assert await destinations(router, 1) == [("f", "b:1")]
        assert await destinations(router, 7) == []
        await router.configure(EdgeRouterConf(Action.REMOVE, "f", "b:1"))
        assert (await destinations(router, 0), await destinations(router, 1)) == ([("f", "a:1")], [])
        await router.configure(put("b:1"))
        await router.configure(EdgeRouterConf(Action.FLUSH))
        assert (await destinations(router, 0), await destinations(router, 1)) == ([], [])

    world.run(story())


@pytest.mark.parametrize("change", [put("a:1", weight=0.0), put("a:1", weight=-1.0), put("")])
def test_a_change_that_makes_no_sense_is_an_error(change: EdgeRouterConf) -> None:
    world = World()

    async def story() -> None:
        router = await world.start("router", "h1")
        assert (await router.configure(change)).msg.startswith("Error")
        assert await destinations(router, 0) == []

    world.run(story())


def test_a_forwarded_request_goes_to_final_destinations_only() -> None:
    world = World(functions=FUNCTIONS).place(router="h1", computer="h2")

    async def story() -> None:
        await world.start("computer", "h2")
        router = await world.start("router", "h1")
        await router.configure(put("10.0.0.9:6473", final=False))
        assert "No destinations" in (await router.run_lambda(LambdaRequest("f", forward=True))).retcode
        assert world.of(RUN_LAMBDA) == []
        await router.configure(put("10.0.0.2:10000"))
        for _ in range(20):
            assert (await router.run_lambda(LambdaRequest("f", forward=True))).retcode == OK

    world.run(story())


def test_hops_count_each_agent_that_a_call_passes() -> None:
    world = World(functions=FUNCTIONS).place(computer="h2")

    async def story() -> tuple[LambdaResponse, LambdaResponse, LambdaResponse]:
        computer = await world.start("computer", "h2")
        direct = await computer.run_lambda(LambdaRequest("f"))
        near, far = await world.start("router", "h1"), await world.start("router", "h3")
        await near.configure(put("10.0.0.2:10000"))
        await far.configure(put("10.0.0.1:6473", final=False))
        return direct, await near.run_lambda(LambdaRequest("f")), await far.run_lambda(LambdaRequest("f"))

    direct, one, two = world.run(story())
    assert [each.hops for each in (direct, one, two)] == [1, 2, 3]
    assert {each.responder for each in (direct, one, two)} == {"10.0.0.2:10000"}
    assert [message.forward for message in world.of(RUN_LAMBDA)] == [True] * 3


def test_dry_is_not_passed_on() -> None:
    world = World(functions=FUNCTIONS).place(computer="h2")

    async def story() -> None:
        await world.start("computer", "h2")
        router = await world.start("router", "h1")
        await router.configure(put("10.0.0.2:10000"))
        await router.run_lambda(LambdaRequest("f", dry=True))
        assert world.of(RUN_LAMBDA)[0].dry is False

    world.run(story())


def test_calls_to_one_destination_wait_for_a_slot_and_their_wait_counts() -> None:
    world = World(functions={"f": Function(name="f", service_s=1.0, concurrency=100)}).place(computer="h2")

    async def story() -> None:
        await world.start("computer", "h2", num_threads=100, conf="cores=100")
        router = await world.start(
            "router", "h1", num_threads=100, router_conf="max-pending-clients=2", optimizer_conf="type=asyncPF"
        )
        await router.configure(put("10.0.0.2:10000"))
        before = router.env.now()
        await asyncio.gather(*(router.run_lambda(LambdaRequest("f")) for _ in range(6)))
        assert router.env.now() - before == pytest.approx(3.0, abs=0.02), "two at a time"
        weight = (await router.get_table(TableId(0))).entries[0].weight
        assert weight == pytest.approx(3.0, abs=0.02), "the last one waited for two seconds"

    world.run(story())


def test_a_router_has_as_many_threads_as_it_is_given() -> None:
    world = World(functions={"f": Function(name="f", service_s=1.0, concurrency=100)}).place(computer="h2")

    async def story() -> None:
        await world.start("computer", "h2", num_threads=100, conf="cores=100")
        router = await world.start("router", "h1", num_threads=3, router_conf="max-pending-clients=100")
        await router.configure(put("10.0.0.2:10000"))
        before = router.env.now()
        await asyncio.gather(*(router.run_lambda(LambdaRequest("f")) for _ in range(6)))
        assert router.env.now() - before == pytest.approx(2.0, abs=0.02)

    world.run(story())


def test_calls_that_wait_for_a_destination_that_dies_go_elsewhere() -> None:
    world = World(functions={"f": Function(name="f", service_s=1.0)}).place(computer="h2 h3")

    async def story() -> None:
        for node in ("h2", "h3"):
            await world.start("computer", node)
        router = await world.start("router", "h1", table_conf="type=least-impedance", num_threads=10,
                                   router_conf="max-pending-clients=1")  # fmt: skip
        await router.configure(put("10.0.0.2:10000", weight=0.1))
        await router.configure(put("10.0.0.3:10000", weight=5))
        calls = [asyncio.ensure_future(router.run_lambda(LambdaRequest("f"))) for _ in range(4)]
        await router.env.sleep(0.2)
        world.stop("h2")
        replies = await asyncio.gather(*calls)
        assert {(each.retcode, each.responder) for each in replies} == {(OK, "10.0.0.3:10000")}
        assert len([1 for _, at, _, _ in world.calls if at == "10.0.0.2:10000"]) == 1

    world.run(story())


def test_a_pause_before_forwarding_is_drawn_between_its_bounds() -> None:
    world = World(functions={"f": Function(name="f", service_s=0.0)}, latency=0.0).place(computer="h2")

    async def story() -> list[float]:
        await world.start("computer", "h2")
        router = await world.start("router", "h1", router_conf="min-forward-time=0.1,max-forward-time=0.3")
        await router.configure(put("10.0.0.2:10000"))
        taken = []
        for _ in range(50):
            before = router.env.now()
            await router.run_lambda(LambdaRequest("f"))
            taken.append(router.env.now() - before)
        return taken

    taken = world.run(story())
    assert 0.1 <= min(taken) < 0.15 and 0.25 < max(taken) <= 0.31


def test_a_fake_router_answers_at_once_without_calling_anybody() -> None:
    world = World()

    async def story() -> None:
        router = await world.start("router", "h1", router_conf="fake=true", fake_num_lambdas=3, fake_num_destinations=4)
        assert len(await destinations(router, 0)) == len(await destinations(router, 1)) == 12
        assert (await router.run_lambda(LambdaRequest("lambda1"))).retcode == OK
        assert "No destinations" in (await router.run_lambda(LambdaRequest("f"))).retcode
        assert world.of(RUN_LAMBDA) == []

    world.run(story())


def test_a_router_that_could_not_tell_of_a_dead_computer_asks_for_all_entries_again() -> None:
    world = World(functions=FUNCTIONS).place(controller="h0", router="h1", computer="h2")

    async def story() -> None:
        await world.start("controller", "h0")
        router = await world.start("router", "h1")
        await world.start("computer", "h2")
        controller = world.services.pop("10.0.0.0:6475")
        computer = world.services.pop("10.0.0.2:10000")
        await router.run_lambda(LambdaRequest("f"))
        assert await destinations(router, 0) == []
        world.services["10.0.0.0:6475"], world.services["10.0.0.2:10000"] = controller, computer
        await router.env.sleep(2.5)
        assert len(await destinations(router, 0)) == 2

    world.run(story())


def test_a_router_says_in_its_heartbeats_that_its_tables_are_in_order() -> None:
    world = World().place(controller="h0", router="h1")

    async def story() -> None:
        await world.start("controller", "h0")
        router = await world.start("router", "h1")
        await router.env.sleep(3.5)

    world.run(story())
    assert [message.heartbeat for message in world.of(ANNOUNCE_ROUTER)] == [False, True, True, True]


def test_learned_weights_are_written_once_a_second_and_changes_at_once() -> None:
    world = World(functions=FUNCTIONS).place(computer="h2")

    async def story() -> None:
        await world.start("computer", "h2")
        router = await world.start("router", "h1", optimizer_conf="type=async")
        await router.configure(put("10.0.0.2:10000"))
        for _ in range(25):
            await router.run_lambda(LambdaRequest("f"))
        await router.configure(EdgeRouterConf(Action.FLUSH))

    world.run(story())
    rows = [(row["action"], row["table"]) for row in world.rows["soe_tables"]]
    assert rows == [("change", 0), ("change", 1), ("weight", 0), ("weight", 0), ("flush", 0), ("flush", 1)]
