"""The hierarchical controller: distances between nodes, homes, and entries for other routers."""

from __future__ import annotations

import pytest
from controlled import FUNCTIONS, entries
from soe_world import World
from test_soe_controller import C1

from roles.serverless_on_edge.messages import CONFIGURE, LambdaRequest, RouterInfo
from testbed.errors import TestbedError

MATRIX = "\n".join(["h0 0 1 2", "h1 1 0 1", "h2 2 1 0"])


def test_the_hierarchical_controller_reads_distances_between_nodes() -> None:
    world = World(functions=FUNCTIONS, nodes=3).place(controller="h1", router="h1 h2", computer="h0")

    async def story() -> None:
        await world.start("controller", "h1", installer_type="hier", topology_file=MATRIX)
        routers = [await world.start("router", node) for node in ("h1", "h2")]
        await world.start("computer", "h0")
        assert await entries(routers[0]) == ["f 10.0.0.0:10000 F"]
        assert await entries(routers[1]) == ["f 10.0.0.1:6473"]

    world.run(story())


@pytest.mark.parametrize(("text", "says"), [("nowhere.txt", "nowhere.txt"), ("h0 0\nh1", "numbers"),
                                            (MATRIX, "no row for h5, h6")])  # fmt: skip
def test_a_topology_file_that_cannot_be_used_is_named(text: str, says: str) -> None:
    world = World().place(controller="h0", router="h5", computer="h6")

    async def story() -> None:
        with pytest.raises(TestbedError, match=says):
            await world.start("controller", "h0", installer_type="hier", topology_file=text)

    world.run(story())


def test_a_router_of_the_original_announces_itself_without_heartbeat_and_receives_all_each_time() -> None:
    world = World().place(controller="h0", router="h1")

    async def story() -> None:
        controller = await world.start("controller", "h0")
        await world.start("router", "h1", heartbeat_period=0)
        await controller.announce_computer(C1)
        await controller.announce_router(RouterInfo("10.0.0.1:6473", "10.0.0.1:6474"))
        assert len(world.of(CONFIGURE)) == 2

    world.run(story())


def test_when_a_home_router_dies_its_computers_get_another_home() -> None:
    world = World(functions=FUNCTIONS, nodes=3).place(controller="h2", router="h1 h2", computer="h0")

    async def story() -> None:
        await world.start("controller", "h2", installer_type="hier", topology_file=MATRIX)
        far = [await world.start("router", node) for node in ("h1", "h2")][1]
        await world.start("computer", "h0")
        assert await entries(far) == ["f 10.0.0.1:6473"]
        assert (await far.run_lambda(LambdaRequest("f"))).hops == 3
        await far.env.sleep(2)
        world.stop("h1")
        assert (await far.run_lambda(LambdaRequest("f"))).retcode.startswith("No destinations found")
        await far.env.sleep(7)
        assert await entries(far) == ["f 10.0.0.0:10000 F"]
        assert (await far.run_lambda(LambdaRequest("f"))).hops == 2
        await world.start("router", "h1")
        assert await entries(far) == ["f 10.0.0.1:6473"]

    world.run(story())


def test_an_entry_for_another_router_comes_back_after_a_moment_of_silence() -> None:
    world = World(functions=FUNCTIONS, nodes=3).place(controller="h2", router="h1 h2", computer="h0")

    async def story() -> None:
        await world.start("controller", "h2", installer_type="hier", topology_file=MATRIX)
        far = [await world.start("router", node) for node in ("h1", "h2")][1]
        await world.start("computer", "h0")
        data = world.services.pop("10.0.0.1:6473")
        await far.run_lambda(LambdaRequest("f"))
        assert await entries(far) == []
        world.services["10.0.0.1:6473"] = data
        await far.env.sleep(1.5)
        assert await entries(far) == ["f 10.0.0.1:6473"]

    world.run(story())
