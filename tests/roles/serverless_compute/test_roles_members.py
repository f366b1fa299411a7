"""Nodes and heads come and go, messages are late or come twice: through the roles, in the twin."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Iterable
from pathlib import Path

import pytest
from scs_twin import MB, Platform, function, shifted, times

from roles.serverless_compute import messages
from roles.serverless_compute.messages import Progress
from roles.serverless_compute.node import Node
from roles.serverless_compute.service import Service
from testbed.roles.api import CallFailed, Method


def test_what_runs_on_a_node_that_dies_fails_at_once_and_the_rest_goes_elsewhere() -> None:
    platform = Platform(function("f", 5))

    async def story() -> list[Progress]:
        waiting = [asyncio.ensure_future(platform.call(at)) for at in (0, 0, 14)]
        await platform.until(12)
        platform.world.kill("n1", "node")
        return list(await asyncio.gather(*waiting))

    *lost, third = platform.run(story)
    assert [(each.state, each.cause, each.t_end) for each in lost] == [("failed", "node_lost", 12)] * 2
    assert (third.node, *times(third)) == ("n2", 16, 16.5, 21.5)


def test_a_node_that_restarts_is_a_member_again_and_empty(tmp_path: Path) -> None:
    platform = Platform(nodes=["n1"], folder=tmp_path)

    async def story() -> Progress:
        await platform.call(0)
        platform.agents["n1", "node"] = await platform.world.restart("n1", "node", platform.agents["n1", "node"])
        return await platform.call(20)

    answer = platform.run(story)
    assert (answer.state, answer.start_kind, *times(answer)) == ("completed", "cold", 22, 22.5, 23.5)
    assert [each["event"] for each in platform.rows("h", "sc_nodes")] == ["up", "down", "up"]


def test_a_node_that_is_cut_off_is_lost_after_a_while_and_comes_back_cleared() -> None:
    platform = Platform(function("f", 30), nodes=["n1"], expire_after="3s", patience="2s")

    async def story() -> tuple[Progress, Progress, list[int]]:
        first = asyncio.ensure_future(platform.call(0))
        await platform.until(15)
        platform.world.network.connect("h-n1", False)
        lost = await first
        await platform.until(25)
        platform.world.network.connect("h-n1", True)
        node = platform.agents["n1", "node"].role
        assert isinstance(node, Node)
        second = await platform.call(40)
        return lost, second, [len(node.containers), len(node.files.sizes())]

    lost, second, left = platform.run(story)
    assert (lost.cause, second.state, second.start_kind) == ("node_lost", "completed", "cold")
    assert 17 < (lost.t_end or 0) < 20
    assert left == [0, 1]


def test_a_head_that_restarts_takes_its_nodes_over() -> None:
    platform = Platform()

    async def story() -> Progress:
        await platform.call(0)
        platform.agents["h", "head"] = await platform.world.restart("h", "head", platform.agents["h", "head"])
        return await platform.call(20)

    answer = platform.run(story)
    assert (answer.invocation, answer.state, answer.start_kind) == (1, "completed", "cold")
    assert times(answer) == (30, 30.5, 31.5)


def test_callers_hear_that_their_head_died() -> None:
    platform = Platform()

    async def story() -> str:
        waiting = asyncio.ensure_future(platform.call(0))
        await platform.until(5)
        platform.world.kill("h", "head")
        with pytest.raises(CallFailed) as caught:
            await waiting
        return caught.value.kind

    assert platform.run(story) == "unreachable"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_late_and_doubled_messages_change_no_end(seed: int) -> None:
    """Orders overtake each other and come twice; calls of clients come once, as over TCP."""
    rng = random.Random(seed)
    functions = [function(name, 0.2, image_bytes=5 * MB, storage_bytes=300 * MB) for name in "abc"]
    platform = Platform(*functions, node={"disk": "620MB"}, idle_timeout="1s", expire_after="30s")
    executed: list[int] = []

    def meddler(method: Method[object, object], *_: str) -> Iterable[float]:
        if method.name in ("POST /invoke", "GET /invocation/"):
            return (0.0,)
        return tuple(rng.choice((0.0, 0.001, 0.3)) for _ in range(rng.choice((1, 1, 2, 3))))

    async def story() -> list[Progress]:
        platform.world.meddler = meddler
        calls = [(rng.uniform(0, 10), rng.choice("abc")) for _ in range(60)]
        for name in platform.names:
            node = platform.agents[name, "node"].role
            assert isinstance(node, Node)
            modelled = node._modelled

            async def counted(made, order, began, modelled=modelled):  # type: ignore[no-untyped-def]
                executed.append(order.invocation)
                return await modelled(made, order, began)

            node._modelled = counted  # type: ignore[method-assign]
        return list(await asyncio.gather(*(asyncio.ensure_future(platform.call(*each)) for each in calls)))

    answers = platform.run(story)
    assert [each.state for each in answers] == ["completed"] * 60
    assert sorted(executed) == list(range(1, 61))


def test_requests_before_the_nodes_are_there_wait_for_them() -> None:
    platform = Platform()
    late = platform.agents.pop(("n2", "node"))

    async def story() -> list[Progress]:
        waiting = [asyncio.ensure_future(platform.call(at)) for at in (-1, 0)]
        await platform.until(3)
        await platform.world.start(late)
        return list(await asyncio.gather(*waiting))

    assert [(each.node, each.t_submit) for each in platform.run(story)] == [("n1", 3), ("n1", 3)]


def test_a_node_that_does_not_come_is_not_waited_for_for_ever_and_may_come_late() -> None:
    platform = Platform(function("f", 5), nodes=["n1", "n2"], node={"slots": 1})
    late = platform.agents.pop(("n2", "node"))

    async def story() -> list[Progress]:
        first = await platform.call(0)
        await platform.until(30)
        await platform.world.start(late)
        both = await asyncio.gather(*(asyncio.ensure_future(platform.call(40)) for _ in range(2)))
        return [first, *both]

    first, *both = platform.run(story)
    assert (first.state, first.t_submit) == ("completed", 6)  # ten seconds after the head began
    assert sorted(each.node for each in both) == ["n1", "n2"]


def test_a_node_that_comes_back_with_other_slots_is_not_used(tmp_path: Path) -> None:
    platform = Platform(folder=tmp_path)

    async def story() -> list[Progress]:
        platform.world.kill("n1", "node")
        agent = platform.agents["n1", "node"]
        changed = agent.role.parameters.model_copy(update={"slots": 9})
        await platform.world.start(platform.world.agent(agent.site, changed, agent.folder))
        return [await platform.call(10), await platform.call(30)]

    assert [each.node for each in platform.run(story)] == ["n2", "n2"]
    assert "refused" in [each["event"] for each in platform.rows("h", "sc_nodes")]


def test_requests_that_wait_at_a_head_end_with_it() -> None:
    platform = Platform()
    platform.agents.pop(("n2", "node"))  # the head waits for it before it opens

    async def story() -> list[str]:
        waiting = [asyncio.ensure_future(platform.call(0)) for _ in range(3)]
        await platform.until(1)
        platform.world.kill("h", "head")
        ends = await asyncio.gather(*waiting, return_exceptions=True)
        del platform.agents["h", "head"]
        platform.head = None  # type: ignore[assignment]
        gc.collect()  # what was left of them would be found here
        await platform.until(5)
        return [type(each).__name__ for each in ends]

    assert platform.run(story) == ["CallFailed"] * 3


def test_a_service_that_stops_fails_what_has_not_ended_and_says_so() -> None:
    platform = Platform()

    async def story() -> tuple[Progress, Progress]:
        waiting = asyncio.ensure_future(platform.call(0))
        await platform.until(5)
        head = platform.agents["h", "head"]
        assert isinstance(head.role, Service)
        await head.role.stop(head.env)
        refused = await platform.ask(messages.INVOKE, messages.Invoke("f"))
        return await waiting, shifted(refused)

    ended, refused = platform.run(story)
    assert (ended.state, ended.cause, ended.t_end) == ("failed", "service_stopped", 5)
    assert (refused.state, refused.cause) == ("refused", "service_stopped")
