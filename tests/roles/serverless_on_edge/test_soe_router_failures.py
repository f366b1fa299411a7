"""A router whose destinations fail, are slow or do not answer."""

from __future__ import annotations

import pytest
from routed import FUNCTIONS, destinations, put
from soe_world import World

from roles.serverless_on_edge.messages import OK, REMOVE_COMPUTER, RUN_LAMBDA, LambdaRequest, TableId
from testbed.roles.api import Function, FunctionResult


def test_a_dead_computer_is_left_by_all_routers_and_taken_back_when_it_lives() -> None:
    world = World(functions=FUNCTIONS, nodes=9).place(controller="h0", router="h1 h5", computer="h2 h3")

    async def story() -> None:
        await world.start("controller", "h0")
        routers = [await world.start("router", node, table_conf="type=round-robin") for node in ("h1", "h5")]
        for node in ("h2", "h3"):
            await world.start("computer", node)
        for router in routers:
            assert len(await destinations(router, 0)) == len(await destinations(router, 1)) == 4
        world.stop("h2")
        replies = [await routers[0].run_lambda(LambdaRequest("f")) for _ in range(3)]
        assert [(each.retcode, each.responder) for each in replies] == [(OK, "10.0.0.3:10000")] * 3
        for router in routers:
            for table in (0, 1):
                assert await destinations(router, table) == [("f", "10.0.0.3:10000"), ("g", "10.0.0.3:10000")]
        await world.start("computer", "h2")
        for router in routers:
            assert len(await destinations(router, 1)) == 4

    world.run(story())
    assert {message.endpoint for message in world.of(REMOVE_COMPUTER)} == {"10.0.0.2:10000"}


def failing(world: World) -> None:
    async def fails(payload: str) -> FunctionResult:
        return FunctionResult("", "exception", "ValueError: no") if payload == "bad" else FunctionResult("fine")

    world.functions["r"] = Function(name="r", code="/r.py")
    world.code["r"] = fails


def test_an_error_of_the_application_evicts_nobody() -> None:
    world = World(functions=FUNCTIONS).place(controller="h0", router="h1", computer="h2 h3")
    failing(world)

    async def story() -> None:
        await world.start("controller", "h0")
        router = await world.start("router", "h1")
        for node in ("h2", "h3"):
            await world.start("computer", node)
        reply = await router.run_lambda(LambdaRequest("r", "bad"))
        assert reply.retcode == "exception: ValueError: no" and reply.responder
        assert len(world.of(RUN_LAMBDA)) == 1, "nor is it tried elsewhere"
        assert (await router.run_lambda(LambdaRequest("r", "good"))).retcode == OK

    world.run(story())
    assert world.of(REMOVE_COMPUTER) == []


def test_strictly_as_the_original_one_bad_request_empties_the_tables() -> None:
    world = World(functions=FUNCTIONS).place(controller="h0", router="h1", computer="h2 h3")
    failing(world)

    async def story() -> None:
        await world.start("controller", "h0", strict_original=True)
        router = await world.start("router", "h1", strict_original=True)
        for node in ("h2", "h3"):
            await world.start("computer", node, strict_original=True)
        reply = await router.run_lambda(LambdaRequest("r", "bad"))
        assert reply.retcode.startswith("No destinations found") and len(world.of(RUN_LAMBDA)) == 2
        await router.env.sleep(30)
        assert await destinations(router, 0) == [], "nobody announces itself again"

    world.run(story())


def test_a_slow_computer_is_not_a_dead_one() -> None:
    world = World(functions={"f": Function(name="f", service_s=100.0)}).place(computer="h2")

    async def story() -> None:
        await world.start("computer", "h2")
        router = await world.start("router", "h1", call_timeout="3s", optimizer_conf="type=asyncPF")
        await router.configure(put("10.0.0.2:10000"))
        reply = await router.run_lambda(LambdaRequest("f"))
        assert reply.retcode.startswith("timeout") and len(world.of(RUN_LAMBDA)) == 1
        entry = (await router.get_table(TableId(0))).entries[0]
        assert entry.weight == pytest.approx(3.0), "it counts as slow as it was"

    world.run(story())


def test_retries_are_bounded_and_back_off() -> None:
    world = World()

    async def story() -> None:
        router = await world.start("router", "h1", max_retries=3, retry_backoff="100ms")
        for i in range(10):
            await router.configure(put(f"10.0.0.9:{i + 1}"))
        before = router.env.now()
        reply = await router.run_lambda(LambdaRequest("f"))
        assert reply.retcode.startswith("No destinations found") and "nobody answers" in reply.retcode
        assert len(world.of(RUN_LAMBDA)) == 4
        assert router.env.now() - before == pytest.approx(0.1 + 0.2 + 0.4 + 0.8 + 4 * world.latency)

    world.run(story())
