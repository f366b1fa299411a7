"""Bad input, failing storages and silent neighbours, in the twin."""

from __future__ import annotations

import asyncio
import errno

import pytest
from so_asking import Checked
from so_bad import BAD
from so_checks import Check
from so_world import Tree, told

from testbed.errors import TestbedError
from testbed.twin.journal import TwinJournal
from testbed.twin.pausing import Pauses


@pytest.mark.parametrize("check", BAD.values(), ids=BAD)
def test_what_is_wrong_is_refused_and_changes_nothing(check: Check) -> None:
    async def story(tree: Tree, c: Checked) -> None:
        await check(c)

    told({}, story)


def test_a_tree_that_goes_round_is_refused() -> None:
    with pytest.raises(TestbedError, match="goes round: p2 -> p3 -> p2"):
        Tree({"tree": {"p2": "p3", "p3": "p2", "p4": "p1"}})


def _full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_storage_that_fails_is_told_and_what_was_acknowledged_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(tree: Tree, c: Checked) -> None:
        await c.note("p3", ["set", "k", "old"])
        with monkeypatch.context() as broken:
            broken.setattr(TwinJournal, "append", _full)
            for reply in (
                await c.call("p3", ["set", "k", "new"]),
                await c.call("p3", ["set", "k", "v"], session="fresh"),
                await c.command("p3", "set-offload-status", status="reject"),
                await c.command("p3", "register-receive-propagate", function="other"),
                await c.command("p3", "garbage-collector", deletePolicy="forced"),
            ):
                assert (reply.status, "No space left" in reply.text) == (500, True), reply.text
            assert (await c.command("p3", "force-offload", headers={"X-forced-session": c.s})).status in (500, 502)
            assert await c.note("p3", ["get", "k"]) == ["old"]
        assert tree.location("p3").status == "accept"
        assert await c.note("p3", ["get", "k"], ["set", "k", "newer"]) == ["old", None]
        await c.offload("p3")
        assert await c.state() == {"p3": "p2", "p2": "p2*"}
        assert await c.note("p2", ["get", "k"]) == ["newer"]

    told({"call_timeout": "3s"}, story)


def test_a_taker_whose_storage_fails_gets_no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    real = TwinJournal.append

    def append(journal: TwinJournal, record: bytes) -> None:
        if journal._agent.node == "p2":
            _full()
        real(journal, record)

    async def story(tree: Tree, c: Checked) -> None:
        await c.note("p3", ["set", "k", "v"])
        with monkeypatch.context() as broken:
            broken.setattr(TwinJournal, "append", append)
            reply = await c.command("p3", "force-offload")
            assert (reply.status, "No space left" in reply.text) == (500, True), reply.text
            assert await c.note("p3", ["get", "k"]) == ["v"]  # waits until it is clear that p2 has not taken it
        assert await c.state() == {"p3": "p3*"}

    told({"call_timeout": "3s"}, story)


def test_a_parent_that_takes_no_step_holds_up_only_what_is_meant_for_it() -> None:
    async def story(tree: Tree, c: Checked) -> None:
        await c.note("p3", ["set", "k", "v"])
        await c.note("p3", ["set", "k", "v"], session="other")
        pauses = Pauses(tree.world.loop)
        pauses.pause("p2")
        move = asyncio.ensure_future(c.command("p3", "force-offload", headers={"X-forced-session": c.s}))
        await tree.env.sleep(1)
        assert await c.note("p3", ["get", "k"], session="other") == ["v"]
        reply = await move
        assert (reply.status, "p2 does not answer to offload-session" in reply.text) == (502, True), reply.text
        onload = await c.command("p3", "force-onload")
        assert (onload.status, "p2 does not answer" in onload.text) == (502, True)
        begun = tree.env.now()
        assert await c.note("p3", ["get", "k"], ["set", "k", "w"]) == ["v", None]  # it has stayed
        assert tree.env.now() - begun < 1
        pauses.resume("p2")  # which takes it now, as it was asked to
        await tree.env.sleep(10)
        state = await c.state()
        assert state in ({"p3": "p3*"}, {"p3": "p2", "p2": "p2*"})
        assert (await c.followed("p3", ["get", "k"]))[1].text == '["w"]'

    told({"call_timeout": "3s"}, story)
