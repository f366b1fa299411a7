"""Many agents at one controller, and agents that leave in order."""

from __future__ import annotations

import asyncio

from controlled import FUNCTIONS, actions, entries
from soe_world import World

from roles.serverless_on_edge.controller import AT_ONCE
from roles.serverless_on_edge.messages import (
    CONFIGURE,
    OK,
    RECEIVE_RESPONSE,
    Action,
    Change,
    ComputerInfo,
    Container,
    EdgeRouterConf,
    LambdaRequest,
)


def computer(number: int) -> ComputerInfo:
    return ComputerInfo(f"10.1.0.{number}:10000", (Container("c", "cpu", "f", 1),))


def test_computers_that_join_together_cost_each_router_a_few_messages() -> None:
    world = World().place(controller="h0", router="h1 h2 h3")

    async def story() -> None:
        controller = await world.start("controller", "h0")
        routers = [await world.start("router", node) for node in ("h1", "h2", "h3")]
        await asyncio.gather(*(controller.announce_computer(computer(number)) for number in range(AT_ONCE + 500)))
        assert len(world.of(CONFIGURE)) == 3 * 2, "AT_ONCE of them, and the rest"
        for router in routers:
            assert len(await entries(router)) == AT_ONCE + 500

    world.run(story())


def test_routers_of_the_original_get_one_change_a_message() -> None:
    world = World().place(controller="h0", router="h1")

    async def story() -> None:
        controller = await world.start("controller", "h0")
        router = await world.start("router", "h1", strict_original=True)
        await asyncio.gather(*(controller.announce_computer(computer(number)) for number in range(30)))
        assert len(world.of(CONFIGURE)) == 30 == len(await entries(router))
        assert all(not each.more for each in world.of(CONFIGURE))

    world.run(story())


def test_of_many_changes_those_that_cannot_be_are_told_and_the_rest_is_done() -> None:
    world = World().place(router="h1")

    async def story() -> None:
        router = await world.start("router", "h1")
        good = Change(Action.CHANGE, "f", "a:1", 1.0, True)
        bad = EdgeRouterConf(Action.CHANGE, "f", "b:1", 0.0, more=(good, Change(Action.CHANGE)))
        reply = await router.configure(bad)
        assert reply.msg.startswith("Error: the weight of 'b:1' is 0") and "; " in reply.msg
        assert await entries(router) == ["f a:1 F"]
        assert (await router.configure(EdgeRouterConf(Action.CHANGE, "f", "b:1", 1.0, more=(good,)))).msg == OK

    world.run(story())


def test_a_router_that_stops_is_forgotten_at_once_and_stays_so() -> None:
    world = World(functions=FUNCTIONS).place(controller="h0", router="h1 h2", computer="h3")

    async def story() -> None:
        controller = await world.start("controller", "h0")
        leaving, staying = await world.start("router", "h1"), await world.start("router", "h2")
        await leaving.stop(leaving.env)
        assert list(controller.installer.routers) == [staying.endpoint]
        await staying.env.sleep(3)
        assert list(controller.installer.routers) == [staying.endpoint], "no heartbeat brings it back"
        await world.start("computer", "h3")
        assert await entries(leaving) == [] and len(await entries(staying)) == 1
        assert actions(world) == ["router announced", "router announced", "router removed", "computer announced"]

    world.run(story())


def test_a_computer_that_stops_is_forgotten_and_finishes_what_it_has_taken() -> None:
    world = World(functions=FUNCTIONS).place(controller="h0", router="h1", computer="h2")

    async def story() -> None:
        await world.start("controller", "h0")
        router, leaving = await world.start("router", "h1"), await world.start("computer", "h2")
        calls = [asyncio.ensure_future(router.run_lambda(LambdaRequest("f", "x"))) for _ in range(2)]
        await leaving.env.sleep(0.05)
        await leaving.stop(leaving.env)
        assert await entries(router) == []
        assert [(await each).retcode for each in calls] == [OK, OK]
        assert calls[0].done() and leaving.env.now() < 100.5, "it did not wait for longer than they took"

    world.run(story())


def test_a_computer_that_stops_hands_on_what_it_is_to_answer_by_callback() -> None:
    world = World(functions=FUNCTIONS).place(controller="h0", computer="h2", client="h3")

    async def story() -> None:
        await world.start("controller", "h0")
        leaving = await world.start("computer", "h2", asynchronous=True)
        await world.start("client", "h3", execution_model="state-prop")
        for uuid in ("one", "two"):
            taken = await leaving.run_lambda(LambdaRequest("f", "x", callback="10.0.0.3:6480", uuid=uuid))
            assert (taken.retcode, taken.asynchronous) == (OK, True)
        await leaving.stop(leaving.env)
        assert [(each.uuid, each.retcode) for each in world.of(RECEIVE_RESPONSE)] == [("one", OK), ("two", OK)]
        assert leaving.env.now() < 100.5, "it did not wait for longer than they took"

    world.run(story())
