"""Dispatchers: they go where a call is predicted to take least."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from soe_world import World

from roles.serverless_on_edge.messages import (
    GET_TABLE,
    OK,
    RUN_LAMBDA,
    Action,
    EdgeRouterConf,
    LambdaRequest,
    TableId,
    Void,
)
from testbed.roles.api import Function


def put(destination: str, final: bool = True) -> EdgeRouterConf:
    return EdgeRouterConf(Action.CHANGE, "f", destination, 1.0, final)


async def dispatcher_between(world: World, conf: str, **speeds: float) -> Any:
    """A dispatcher on h1 with a computer for each node and its speed in operations a second."""
    made = await world.start("dispatcher", "h1", ptimeest_conf=conf)
    for node, speed in speeds.items():
        await world.start("computer", node, conf={"cores": 1, "speed": speed})
        await made.configure(put(f"{world.addresses[node]}:10000"))
    return made


def world() -> World:
    return World(functions={"f": Function(name="f", operations=1e8)})


@pytest.mark.parametrize("conf", ["type=util", "type=delay", "type=probe"])
def test_the_quicker_computer_gets_the_calls(conf: str) -> None:
    net = world()

    async def story() -> Counter[str]:
        made = await dispatcher_between(net, conf, h2=1e9, h3=1e8)
        replies = [await made.run_lambda(LambdaRequest("f", "x")) for _ in range(20)]
        assert {(each.retcode, each.hops) for each in replies} == {(OK, 2)}
        return Counter(each.responder for each in replies)

    counts = net.run(story())
    assert counts["10.0.0.2:10000"] >= 19, counts


def test_rtt_ignores_the_computers_and_prefers_the_nearer_one() -> None:
    net = world()

    async def story() -> Counter[str]:
        made = await dispatcher_between(net, "type=rtt", h2=1e9, h3=5e8)
        plain, far = made.env._call, "10.0.0.2:10000"

        async def slower(address: str, *rest: Any) -> Any:
            await made.env.sleep(0.2 if address == far else 0.0)
            return await plain(address, *rest)

        made.env._call = slower
        return Counter([(await made.run_lambda(LambdaRequest("f", "x"))).responder for _ in range(20)])

    assert net.run(story()) == {"10.0.0.2:10000": 1, "10.0.0.3:10000": 19}


def test_a_stale_destination_is_tried_again() -> None:
    net = world()

    async def story() -> None:
        made = await dispatcher_between(net, "type=rtt,stale-period=10", h2=1e9, h3=1e9)

        async def two_calls() -> set[str]:
            return {(await made.run_lambda(LambdaRequest("f", "x"))).responder for _ in range(2)}

        both = {"10.0.0.2:10000", "10.0.0.3:10000"}
        assert await two_calls() == both, "at first everyone is tried"
        assert len(await two_calls()) == 1
        await made.env.sleep(11)
        assert await two_calls() == both

    net.run(story())


def test_probe_asks_all_and_calls_one() -> None:
    net = world()

    async def story() -> None:
        made = await dispatcher_between(net, "type=probe", h2=1e9, h3=1e8)
        await made.run_lambda(LambdaRequest("f", "x"))

    net.run(story())
    assert [message.dry for message in net.of(RUN_LAMBDA)] == [True, True, False]


@pytest.mark.parametrize("conf", ["type=rtt", "type=util", "type=delay", "type=probe"])
def test_a_destination_that_is_gone_is_left(conf: str) -> None:
    net = world()

    async def story() -> None:
        made = await dispatcher_between(net, conf, h2=1e9, h3=1e8)
        net.stop("h2")
        reply = await made.run_lambda(LambdaRequest("f", "x"))
        assert (reply.retcode, reply.responder) == (OK, "10.0.0.3:10000")
        assert [e.destination for e in (await made.get_table(TableId(0))).entries] == ["10.0.0.3:10000"]
        net.stop("h3")
        assert (await made.run_lambda(LambdaRequest("f", "x"))).retcode.startswith("No destinations found")

    net.run(story())


def test_a_dispatcher_has_one_table_and_sends_forwarded_requests_to_final_entries() -> None:
    net = world()

    async def story() -> None:
        made = await dispatcher_between(net, "type=rtt", h3=1e9)
        await made.configure(put("10.0.0.2:6473", final=False))
        assert (await made.get_num_tables(Void())).value == 1
        assert len((await made.get_table(TableId(0))).entries) == 2
        assert (await made.get_table(TableId(1))).entries == ()
        for _ in range(5):
            assert (await made.run_lambda(LambdaRequest("f", forward=True))).responder == "10.0.0.3:10000"

    net.run(story())


def test_predictions_are_written_where_asked_for() -> None:
    net = world()

    async def story() -> None:
        made = await dispatcher_between(net, "type=util,output=yes", h2=1e9)
        for _ in range(2):
            await made.run_lambda(LambdaRequest("f", "x"))

    net.run(story())
    first, second = net.rows["soe_estimates"]
    assert (first["ptime_estimate_s"], second["ptime_estimate_s"]) == (0.0, 0.1)
    assert second["network_estimate_s"] == pytest.approx(0.002)


def test_a_dispatcher_is_filled_by_the_controller_like_a_router() -> None:
    net = World(functions={"f": Function(name="f", operations=1e8)})
    net.place(controller="h0", dispatcher="h1", computer="h2", client="h3")

    async def story() -> None:
        for role, nodes in net.places.items():
            agent = await net.start(role, *nodes)
        assert len((await agent.env.call("10.0.0.1:6474", GET_TABLE, TableId(0))).entries) == 1

    net.run(story())
