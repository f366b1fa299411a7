"""The controller: who is known, who is told, who is forgotten."""

from __future__ import annotations

import dataclasses

import pytest
from controlled import FUNCTIONS, actions, entries
from soe_world import World

from roles.serverless_on_edge.messages import ANNOUNCE_COMPUTER, CONFIGURE, Action, ComputerInfo, Container
from testbed.errors import TestbedError

C1 = ComputerInfo("10.0.0.2:10000", (Container("c", "cpu", "f", 1),))


def test_the_same_announcement_again_changes_nothing_and_another_one_replaces_it() -> None:
    world = World().place(controller="h0", router="h1")

    async def story() -> None:
        controller = await world.start("controller", "h0")
        router = await world.start("router", "h1")
        await controller.announce_computer(C1)
        await controller.announce_computer(C1)
        assert [(m.action, m.function) for m in world.of(CONFIGURE)] == [(Action.CHANGE, "f")]
        await controller.announce_computer(ComputerInfo(C1.endpoint, (Container("c", "cpu", "g", 1),)))
        assert await entries(router) == ["g 10.0.0.2:10000 F"]
        (both,) = world.of(CONFIGURE)[1:]
        assert [each.action for each in (both, *both.more)] == [Action.REMOVE, Action.CHANGE]

    world.run(story())


def test_a_router_that_comes_late_receives_all() -> None:
    world = World().place(controller="h0")

    async def story() -> None:
        controller = await world.start("controller", "h0")
        await controller.announce_computer(C1)
        world.place(controller="h0", router="h1")
        assert await entries(await world.start("router", "h1")) == ["f 10.0.0.2:10000 F"]

    world.run(story())


def test_removing_a_computer_that_nobody_knows_does_no_harm() -> None:
    world = World().place(controller="h0", router="h1")

    async def story() -> None:
        controller = await world.start("controller", "h0")
        await world.start("router", "h1")
        await controller.remove_computer(ComputerInfo("10.0.0.9:1"))
        assert world.of(CONFIGURE) == []

    world.run(story())


def test_a_router_that_cannot_be_reached_is_forgotten_and_known_again_with_all_entries() -> None:
    world = World().place(controller="h0", router="h1 h2")

    async def story() -> None:
        controller = await world.start("controller", "h0")
        for node in ("h1", "h2"):
            router = await world.start("router", node)
        configuration = world.services.pop("10.0.0.2:6474")
        await controller.announce_computer(C1)
        assert controller.installer.routers == ["10.0.0.1:6473"]
        world.services["10.0.0.2:6474"] = configuration
        await router.env.sleep(1.5)
        assert await entries(router) == ["f 10.0.0.2:10000 F"]

    world.run(story())
    assert actions(world)[-3:] == ["computer announced", "router forgotten", "router announced"]


def test_a_router_that_is_known_again_loses_what_it_missed_to_lose() -> None:
    world = World().place(controller="h0", router="h1")

    async def story() -> None:
        controller = await world.start("controller", "h0")
        router = await world.start("router", "h1")
        await controller.announce_computer(C1)
        await router.env.sleep(6)
        configuration = world.services.pop("10.0.0.1:6474")
        await controller.remove_computer(C1)
        world.services["10.0.0.1:6474"] = configuration
        assert await entries(router) == ["f 10.0.0.2:10000 F"]
        await router.env.sleep(2)
        assert await entries(router) == []

    world.run(story())


def test_a_router_that_starts_anew_receives_all_although_it_is_known() -> None:
    world = World().place(controller="h0", router="h1")

    async def story() -> None:
        controller = await world.start("controller", "h0")
        await world.start("router", "h1")
        await controller.announce_computer(C1)
        world.stop("h1")
        assert await entries(await world.start("router", "h1")) == ["f 10.0.0.2:10000 F"]

    world.run(story())


def test_agents_that_fall_silent_expire() -> None:
    world = World(functions=FUNCTIONS).place(controller="h0", router="h1 h2", computer="h3 h4")

    async def story() -> None:
        controller = await world.start("controller", "h0")
        routers = [await world.start("router", node) for node in ("h1", "h2")]
        for node in ("h3", "h4"):
            await world.start("computer", node)
        await controller.env.sleep(3)
        world.stop("h3")
        await controller.env.sleep(4)
        assert len(await entries(routers[0])) == 2, "not before its time"
        await controller.env.sleep(3)
        assert await entries(routers[0]) == ["f 10.0.0.4:10000 F"]
        world.stop("h2")
        await controller.env.sleep(7)
        assert controller.installer.routers == ["10.0.0.1:6473"]

    world.run(story())
    assert actions(world)[-2:] == ["computer expired", "router expired"]


def test_agents_that_never_repeat_themselves_do_not_expire() -> None:
    world = World(functions=FUNCTIONS).place(controller="h0", router="h1", computer="h2")

    async def story() -> None:
        controller = await world.start("controller", "h0")
        router = await world.start("router", "h1")
        await controller.announce_computer(C1)
        await controller.env.sleep(60)
        await controller.announce_computer(C1)
        await controller.env.sleep(60)
        assert await entries(router) == ["f 10.0.0.2:10000 F"]

    world.run(story())


def test_without_heartbeats_a_controller_forgets_nobody() -> None:
    world = World(functions=FUNCTIONS).place(controller="h0", router="h1", computer="h2")

    async def story() -> None:
        controller = await world.start("controller", "h0", expire_after=0)
        router = await world.start("router", "h1")
        await world.start("computer", "h2")
        await controller.env.sleep(3)
        world.stop("h2")
        await controller.env.sleep(60)
        assert len(await entries(router)) == 1

    world.run(story())


def test_an_orderly_stop_takes_a_computer_out_at_once() -> None:
    world = World(functions=FUNCTIONS).place(controller="h0", router="h1", computer="h2")

    async def story() -> None:
        await world.start("controller", "h0")
        router = await world.start("router", "h1")
        computer = await world.start("computer", "h2")
        await computer.stop(computer.env)
        assert await entries(router) == []
        world.stop("h0")
        await computer.stop(computer.env)  # nobody there to be told: not an error

    world.run(story())


def test_after_its_restart_a_controller_learns_of_everyone_and_weights_survive() -> None:
    world = World(functions=FUNCTIONS).place(controller="h0", router="h1", computer="h2")

    async def story() -> None:
        await world.start("controller", "h0")
        router = await world.start("router", "h1")
        await world.start("computer", "h2")
        world.stop("h0")
        await router.env.sleep(10)
        controller = await world.start("controller", "h0")
        await router.env.sleep(1.5)
        assert (len(controller.installer.routers), len(controller.installer.computers)) == (1, 1)
        assert len(await entries(router)) == 1

    world.run(story())


def test_agents_wait_for_a_controller_that_comes_late() -> None:
    world = World(functions=FUNCTIONS).place(controller="h0", router="h1", computer="h2")

    async def story() -> None:
        router = await world.start("router", "h1")
        await world.start("computer", "h2")
        assert await entries(router) == []
        await world.start("controller", "h0")
        await router.env.sleep(1.5)
        assert len(await entries(router)) == 1

    world.run(story())


def test_strictly_as_the_original_a_computer_needs_its_controller_at_the_start_and_a_router_does_not() -> None:
    world = World(functions=FUNCTIONS).place(controller="h0", router="h1", computer="h2")

    async def story() -> None:
        await world.start("router", "h1", strict_original=True)
        with pytest.raises(TestbedError, match=r"The controller at 10.0.0.0:6475 cannot be reached"):
            await world.start("computer", "h2", strict_original=True)
        await world.start("computer", "h3", strict_original=True, controller_endpoint="none")

    world.run(story())
    assert {m.endpoint for m in world.of(ANNOUNCE_COMPUTER)} == {"10.0.0.2:10000"}


def test_an_agent_that_dies_before_its_second_announcement_expires_if_it_promised_one() -> None:
    world = World().place(controller="h0", router="h1")

    async def story() -> None:
        controller = await world.start("controller", "h0")
        router = await world.start("router", "h1")
        await controller.announce_computer(dataclasses.replace(C1, period_ms=1000))
        await router.env.sleep(7)
        assert await entries(router) == []

    world.run(story())


@pytest.mark.parametrize("period_ms", [0, 60_000])
def test_an_agent_that_promises_no_announcement_in_time_never_expires(period_ms: int) -> None:
    world = World().place(controller="h0", router="h1")

    async def story() -> None:
        controller = await world.start("controller", "h0")
        router = await world.start("router", "h1")
        await controller.announce_computer(dataclasses.replace(C1, period_ms=period_ms))
        await router.env.sleep(30)
        assert await entries(router) == ["f 10.0.0.2:10000 F"]

    world.run(story())
