"""The controller compares routers' tables with what they should have: nothing missed while it was away remains."""

from __future__ import annotations

from controlled import entries
from soe_world import World

from roles.serverless_on_edge.messages import (
    CONFIGURE,
    GET_TABLE,
    Action,
    ComputerInfo,
    Container,
    EdgeRouterConf,
)

C1 = ComputerInfo("10.0.0.2:10000", (Container("c", "cpu", "f", 1),))


def test_a_controller_that_returns_takes_the_dead_out_of_a_router_that_was_there_before() -> None:
    world = World().place(controller="h0", router="h1", computer="h2")

    async def story() -> None:
        controller = await world.start("controller", "h0")
        router = await world.start("router", "h1")
        await controller.announce_computer(C1)
        assert await entries(router) == ["f 10.0.0.2:10000 F"]
        world.stop("h0")  # and the computer is gone for good
        await world.start("controller", "h0")
        await router.env.sleep(4)
        assert await entries(router) == ["f 10.0.0.2:10000 F"]  # it may only not have been heard yet
        await router.env.sleep(8)
        assert await entries(router) == []

    world.run(story())


def test_a_change_that_comes_late_or_twice_is_put_right() -> None:
    world = World().place(controller="h0", router="h1", computer="h2")

    async def story() -> None:
        controller = await world.start("controller", "h0")
        router = await world.start("router", "h1")
        await controller.announce_computer(C1)
        await router.env.sleep(6)
        await router.configure(EdgeRouterConf(Action.REMOVE, "f", C1.endpoint))  # for the second time
        await router.configure(EdgeRouterConf(Action.CHANGE, "g", C1.endpoint, 1.0, True))
        await router.env.sleep(6)
        assert await entries(router) == ["f 10.0.0.2:10000 F"]

    world.run(story())


def test_entries_for_hosts_outside_the_experiment_are_left_alone() -> None:
    world = World().place(controller="h0", router="h1")

    async def story() -> None:
        await world.start("controller", "h0")
        router = await world.start("router", "h1")
        await router.configure(EdgeRouterConf(Action.CHANGE, "f", "192.0.2.1:10000", 1.0, True))
        await router.env.sleep(20)
        assert await entries(router) == ["f 192.0.2.1:10000 F"]

    world.run(story())


def test_the_original_s_controller_never_compares() -> None:
    world = World().place(controller="h0", router="h1")

    async def story() -> None:
        controller = await world.start("controller", "h0", strict_original=True)
        router = await world.start("router", "h1", strict_original=True)
        await controller.announce_computer(C1)
        await router.configure(EdgeRouterConf(Action.REMOVE, "f", C1.endpoint))
        await router.env.sleep(30)
        assert await entries(router) == []

    world.run(story())
    assert world.of(GET_TABLE) == []
    assert len(world.of(CONFIGURE)) == 1
