"""Agents in the twin: calls, streams, deaths and restarts, each at its exact virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from toy import ASK, FAIL, PORT, TICKS, Ask, Told, Toy, placed, topology, world

from testbed.roles.api import CallFailed
from testbed.twin.calibration import Calibration, Spread
from testbed.twin.options import TwinOptions
from testbed.twin.world import World


def at(agent: Any, node: str) -> str:
    return str(agent.site.endpoint(node, PORT))


def told(story: Any, made: World, **roles: str) -> Any:
    """What ``story(env, address)`` of a caller on a gave, with a server on b."""
    agents = placed(made, **(roles or {"server": "b", "caller": "a"}))

    async def whole() -> Any:
        await made.start(agents["b"])
        return await story(agents["a"].env, at(agents["a"], "b"))

    return made.run(whole())


def test_a_call_takes_a_round_trip_to_connect_and_one_to_ask() -> None:
    made = world()

    async def story(env: Any, server: str) -> list[float]:
        times = []
        for _ in range(2):
            begun = env.now()
            assert await env.call(server, ASK, Ask("x", 0.5)) == Told("X")
            times.append(env.now() - begun)
        return times

    assert told(story, made) == pytest.approx([0.54, 0.52])  # delay 10 ms each way; connected once


def test_a_message_costs_its_encoded_size_on_each_link() -> None:
    made = world("nodes: {a: {}, b: {}}\nlinks: [{ends: [a, b], rate: 8kbit}]", messages="encoded", tcp_efficiency=1.0)
    request, reply = '{"text": "x", "after": 0.0}', '{"text": "X"}'

    async def story(env: Any, server: str) -> float:
        begun = env.now()
        await env.call(server, ASK, Ask("x"))
        return float(env.now() - begun)

    assert told(story, made) == pytest.approx((len(request) + len(reply)) / 1000)


def test_a_call_that_is_not_answered_in_time_fails_then() -> None:
    made = world()

    async def story(env: Any, server: str) -> tuple[str, float]:
        with pytest.raises(CallFailed, match="within 2 s") as caught:
            await env.call(server, ASK, Ask("x", 60.0), timeout=2.0)
        return caught.value.kind, env.now()

    assert told(story, made) == ("timeout", pytest.approx(2.0))


def test_a_call_to_a_port_where_nobody_listens_is_refused_after_a_round_trip() -> None:
    made = world()

    async def story(env: Any, server: str) -> tuple[str, float]:
        with pytest.raises(CallFailed) as caught:
            await env.call(server.replace(str(PORT), "1"), ASK, Ask("x"))
        return caught.value.kind, env.now()

    assert told(story, made) == ("unreachable", pytest.approx(0.02))


def test_a_handler_that_raises_is_told_to_the_caller() -> None:
    async def story(env: Any, server: str) -> None:
        with pytest.raises(CallFailed, match="ValueError: no such thing"):
            await env.call(server, FAIL, Ask("x"))

    told(story, world())


def test_a_stream_brings_messages_until_its_reader_goes() -> None:
    made = world()

    async def story(env: Any, server: str) -> list[str]:
        heard = []
        stream = env.stream(server, TICKS, Ask("go"))
        async for message in stream:
            heard.append(message.text)
            if len(heard) == 3:
                break
        await stream.aclose()
        await env.sleep(50.0)
        return heard

    assert told(story, made) == ["0", "1", "2"]


def test_who_calls_an_agent_that_is_killed_hears_it_a_one_way_delay_later() -> None:
    made = world()

    async def story(env: Any, server: str) -> tuple[str, float]:
        made.loop.at(3.0, made.kill, "b", "server")
        with pytest.raises(CallFailed) as caught:
            await env.call(server, ASK, Ask("x", 60.0), timeout=30.0)
        return caught.value.kind, env.now()

    assert told(story, made) == ("unreachable", pytest.approx(3.01))


def test_an_agent_that_died_does_nothing_more() -> None:
    made = world()
    agents = placed(made, server="b", caller="a")
    done = []

    async def work(env: Any) -> None:
        try:
            await env.sleep(5.0)
        finally:
            await env.sleep(0.0)  # the dead do not come to the next line
            done.append("cleaned up")

    async def story() -> None:
        agents["b"].env.spawn(work(agents["b"].env))
        await agents["a"].env.sleep(1.0)
        made.kill("b", "server")
        await agents["a"].env.sleep(10.0)

    made.run(story())
    assert done == []


def test_a_restarted_agent_answers_again() -> None:
    made = world()

    async def story(env: Any, server: str) -> str:
        assert (await env.call(server, ASK, Ask("one"))).text == "ONE"
        agent = made.agents["b", "server"]
        made.kill("b", "server")
        with pytest.raises(CallFailed):
            await env.call(server, ASK, Ask("two"), timeout=1.0)
        await made.restart("b", "server", agent)
        return str((await env.call(server, ASK, Ask("three"))).text)

    assert told(story, made) == "THREE"


def test_a_call_over_a_cut_link_times_out_and_goes_through_once_it_is_mended() -> None:
    made = world()

    async def story(env: Any, server: str) -> str:
        await env.call(server, ASK, Ask("one"))
        made.network.connect("ab", False)
        with pytest.raises(CallFailed, match="did not answer"):
            await env.call(server, ASK, Ask("two"), timeout=1.0)
        made.network.connect("ab", True)
        return str((await env.call(server, ASK, Ask("three"), timeout=10.0)).text)

    assert told(story, made) == "THREE"


def test_an_error_in_a_spawned_task_ends_its_agent_and_the_story() -> None:
    made = world()

    async def bad() -> None:
        raise KeyError("lost")

    async def story(env: Any, server: str) -> None:
        made.agents["b", "server"].env.spawn(bad())
        await env.sleep(1.0)

    with pytest.raises(KeyError, match="lost"):
        told(story, made)
    assert made.dead == {("b", "server"): 0.0}


def test_messages_keep_a_calibrated_agent_busy_one_after_the_other() -> None:
    known = Calibration(busy_s={"server": 0.1}, call_s=Spread(at=(0.03,)))
    made = World(topology("nodes: {a: {}, b: {}}\nlinks: [[a, b]]"), Toy(), 1, TwinOptions(messages="free"), known)

    async def story(env: Any, server: str) -> list[float]:
        async def one() -> float:
            await env.call(server, ASK, Ask("x"))
            return float(env.now())

        return list(await asyncio.gather(one(), one(), one()))

    assert told(story, made) == pytest.approx([0.13, 0.23, 0.33])
    assert made.agents["b", "server"].busy_s == pytest.approx(0.3)


def test_agents_draw_the_same_whoever_else_is_there() -> None:
    lone, crowd = world(), world("nodes: {a: {}, b: {}, c: {}, s: {kind: switch}}\nlinks: [[a, s], [b, s], [c, s]]")
    alone = placed(lone, server="b", caller="a")["b"].env.rng("x").random()
    assert placed(crowd, server="c b", caller="a")["b"].env.rng("x").random() == alone


def test_a_port_is_served_once() -> None:
    async def story(env: Any, server: str) -> None:
        with pytest.raises(OSError, match="taken"):
            await made.agents["b", "server"].env.serve(PORT, {})

    made = world()
    told(story, made)
