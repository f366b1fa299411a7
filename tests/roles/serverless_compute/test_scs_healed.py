"""What exploring found and was mended: each story is one that it told, or one like it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from scs_twin import MB, Platform, function

from roles.serverless_compute import messages
from roles.serverless_compute.messages import Progress
from roles.serverless_compute.node import Node
from testbed.experiment.load import load
from testbed.explore.exploring import Search
from testbed.explore.faults import KINDS, Chances, Fault
from testbed.explore.trial import Violation, tell

EXPLORED = Path(__file__).parent / "scs_explored.yaml"
NETWORK = ("machine", "partition", "delay", "loss")


def told(seed: int, only: tuple[int, ...], kinds: tuple[str, ...] = tuple(KINDS)) -> Violation | None:
    return Search(load(EXPLORED), Chances(kinds)).tell(seed, only).violation


@pytest.mark.parametrize(
    ("seed", "only"),
    [
        pytest.param(101, (3,), id="copied twice at once by a node that was cut off for a moment"),
        pytest.param(144, (2,), id="copied twice at once, in a longer cut"),
        pytest.param(135, (2, 3), id="an image of the membership before stays on the disk"),
    ],
)
def test_a_copy_ends_with_the_membership_in_which_it_was_ordered(seed: int, only: tuple[int, ...]) -> None:
    assert told(seed, only, NETWORK) is None


def test_code_ends_with_the_membership_in_which_it_was_ordered() -> None:
    assert told(12, (1,)) is None


def test_an_order_that_meets_a_restarted_node_is_refused_by_a_reply() -> None:
    assert told(204, (2, 3)) is None


def node(platform: Platform, name: str) -> Node:
    role = platform.agents[name, "node"].role
    assert isinstance(role, Node)
    return role


def test_a_call_that_is_called_off_leaves_its_slot_at_the_node() -> None:
    platform = Platform(function("f", 30), nodes=["n1"], node={"slots": 1})

    async def story() -> tuple[int, list[int], str]:
        first, second = (asyncio.ensure_future(platform.call(at)) for at in (0, 1))
        await platform.until(15)
        before = list(node(platform, "n1").began)
        await platform.ask(messages.CANCEL, messages.Cancel(before[0]))
        state = (await first).state
        await platform.until(20)
        after = list(node(platform, "n1").began)
        second.cancel()
        return before[0], after, state

    assert platform.run(story) == (1, [2], "cancelled")


def test_a_head_that_has_waited_in_vain_opens_for_the_first_node_that_comes() -> None:
    platform = Platform(function("f", 1, image_bytes=MB))

    async def story() -> Progress:
        for name in platform.names:
            platform.world.kill(name, "node")
        platform.agents["h", "head"] = await platform.world.restart("h", "head", platform.agents["h", "head"])
        await platform.until(30)
        platform.agents["n1", "node"] = await platform.world.restart("n1", "node", platform.agents["n1", "node"])
        return await asyncio.wait_for(platform.call(31), 60)

    assert platform.run(story).state == "completed"


def test_one_of_several_heads_takes_nodes_that_come_after_its_first_request() -> None:
    several = ["place.gateway=[head, reg]", "settings.serverless_compute.node.heartbeat=2s"]
    search = Search(load(EXPLORED, several), Chances(("crash",)))
    crash = Fault(1, "crash", "head on head", 20.1, 20.2, agents=(("head", "head"),))
    assert tell(search.experiment, (crash,), search.settle_s).violation is None
