"""What each option of a location changes, in the twin."""

from __future__ import annotations

import asyncio
import json

import pytest
from so_asking import Checked
from so_world import Tree, told

from testbed.roles.web import WebReply


async def held_up(tree: Tree, c: Checked) -> tuple[asyncio.Task[WebReply], asyncio.Task[WebReply]]:
    """A move that a running invocation holds up, and a request that comes meanwhile."""
    await c.note("p3", ["add_to_list", "l", "first"])
    slow = asyncio.ensure_future(c.call("p3", ["sleep", 5], ["add_to_list", "l", "slow"]))
    await tree.env.sleep(1)
    move = asyncio.ensure_future(c.command("p3", "force-offload", headers={"X-forced-session": c.s}))
    await tree.env.sleep(1)
    late = asyncio.ensure_future(c.call("p3", ["get_list", "l"]))
    assert (await slow).status == 200
    return move, late


def test_a_request_for_a_session_on_its_way_waits_and_is_sent_on() -> None:
    async def story(tree: Tree, c: Checked) -> None:
        move, late = await held_up(tree, c)
        assert (await move).status == 200
        assert ((await late).status, (await late).header("location")) == (307, f"{c.url('p2')}/function/note")
        assert await c.note("p2", ["get_list", "l"]) == [["first", "slow"]]

    told({}, story)


def test_a_request_for_a_session_on_its_way_is_told_to_come_again_with_busy_503() -> None:
    async def story(tree: Tree, c: Checked) -> None:
        move, late = await held_up(tree, c)
        assert ((await late).status, (await late).header("retry-after")) == (503, "5")
        assert (await move).status == 200
        assert (await c.call("p3")).status == 307  # over: answered as ever
        assert (await c.call("p4", session="other")).status == 200

    told({"busy": "503"}, story)


def test_a_numbered_request_is_carried_out_once_wherever_the_session_is() -> None:
    async def story(tree: Tree, c: Checked) -> None:
        append = ["add_to_list", "l", "x"]
        assert (await c.call("p3", append, x_session_request_id="r1")).status == 200
        assert (await c.call("p3", append, x_session_request_id="r1")).status == 208
        await c.offload("p3")
        assert (await c.call("p2", append, x_session_request_id="r1")).status == 208
        assert (await c.call("p2", append, x_session_request_id="r2")).status == 200
        assert (await c.call("p2", append)).status == 200
        assert await c.note("p2", ["get_list", "l"]) == [["x", "x", "x"]]

    told({"request_ids": True}, story)


def test_numbers_mean_nothing_unless_they_are_asked_for() -> None:
    async def story(tree: Tree, c: Checked) -> None:
        for _ in range(2):
            assert (await c.call("p3", ["add_to_list", "l", "x"], x_session_request_id="r1")).status == 200

    told({}, story)


def test_a_request_that_failed_may_come_again_under_its_number() -> None:
    async def story(tree: Tree, c: Checked) -> None:
        assert (await c.call("p3", ["set", "k", "v"], ["fail"], x_session_request_id="r")).status == 500
        assert await c.note("p3", ["get", "k"]) == [None]
        assert (await c.call("p3", ["set", "k", "v"], x_session_request_id="r")).status == 200

    told({"request_ids": True}, story)


@pytest.mark.parametrize(("born_up", "expected"), [(True, {"p3": "p2", "p2": "p2*"}), (False, {"p3": "p3*"})])
def test_a_new_session_goes_up_at_once_where_the_status_is_reject_and_it_is_asked_for(
    born_up: bool, expected: dict[str, str]
) -> None:
    async def story(tree: Tree, c: Checked) -> None:
        await c.call("p3", session="old")
        await c.status("p3", "reject")
        reply = await c.call("p3", ["set", "k", "v"])
        assert reply.status == (307 if born_up else 200)
        assert await c.state() == expected
        assert (await c.call("p3", session="old")).status == 200

    told({"born_up": born_up}, story)


def test_the_garbage_collector_deletes_what_was_not_used_for_long_at_the_holder_and_at_the_owner() -> None:
    async def story(tree: Tree, c: Checked) -> None:
        for session in ("a", "b"):
            await c.note("p3", ["set", "k", "v"], session=session)
        await c.offload("p3", "a")
        await tree.env.sleep(40)
        await c.note("p3", ["get", "k"], session="b")
        await tree.env.sleep(40)
        counted = [await c.command(name, "garbage-collector", deletePolicy="expiration") for name in ("p3", "p2")]
        assert [(reply.status, reply.text) for reply in counted] == [(200, "0"), (200, "1")]
        assert [tree.state("a"), tree.state("b")] == [{}, {"p3": "p3*"}]
        assert await c.note("p3", ["get", "k"], session="a") == [None]  # a new one

    told({"collect_after": "60s"}, story)


def test_the_garbage_collector_deletes_a_session_by_name_and_skips_what_is_elsewhere() -> None:
    async def story(tree: Tree, c: Checked) -> None:
        for session in ("a", "b"):
            await c.note("p3", ["set", "k", "v"], session=session)
        await c.offload("p3", "b")
        collect = {"deletePolicy": "forced"}
        assert (await c.command("p3", "garbage-collector", sessionId="b", **collect)).text == "0"
        assert tree.state("b") == {"p3": "p2", "p2": "p2*"}
        assert (await c.command("p3", "garbage-collector", sessionId="a", **collect)).text == "1"
        assert tree.state("a") == {}
        for wrong in ({"deletePolicy": "some"}, {"deletePolicy": "expiration"}, {}):
            assert (await c.command("p3", "garbage-collector", **wrong)).status == 400

    told({}, story)


def test_the_garbage_collector_leaves_a_session_whose_owner_does_not_answer() -> None:
    async def story(tree: Tree, c: Checked) -> None:
        await c.note("p3", ["set", "k", "v"])
        await c.offload("p3")
        tree.world.kill("p3", "location")
        assert (await c.command("p2", "garbage-collector", deletePolicy="forced")).text == "0"
        assert tree.location("p2").book.serves(c.s)

    told({}, story)


@pytest.mark.parametrize(("climb", "status"), [(True, 200), (False, 400)])
def test_an_onload_climbs_if_it_may(climb: bool, status: int) -> None:
    async def story(tree: Tree, c: Checked) -> None:
        await c.note("p3", ["set", "k", "v"])
        await c.status("p2", "reject")
        await c.offload("p3")
        assert await c.state() == {"p3": "p1", "p1": "p1*"}
        assert (await c.command("p3", "force-onload")).status == status
        assert await c.state() == ({"p3": "p3*", "p1": "p3"} if climb else {"p3": "p1", "p1": "p1*"})

    told({"onload_climb": climb}, story)


def test_an_onload_brings_as_many_sessions_as_it_may() -> None:
    async def story(tree: Tree, c: Checked) -> None:
        for number in range(5):
            await c.note("p3", ["set", "k", str(number)], session=f"s{number}")
            await c.offload("p3", f"s{number}")
        reply = await c.command("p3", "force-onload")
        assert (reply.status, reply.text.count("Unloaded:")) == (200, 3)
        assert sum(tree.state(f"s{number}")["p3"] == "p3*" for number in range(5)) == 3
        await c.onload("p3")
        found = [await c.note("p3", ["get", "k"], session=f"s{number}") for number in range(5)]
        assert found == [[str(number)] for number in range(5)]

    told({"onload_batch": 3}, story)


def test_a_batch_is_a_list_of_tokens_on_the_wire() -> None:
    async def story(tree: Tree, c: Checked) -> None:
        for session in ("a", "b"):
            await c.call("p3", session=session)
            await c.offload("p3", session)
        tokens = json.loads((await c.command("p2", "onload-session", headers={"X-onload-location": "p3"})).text)
        assert sorted(token["session"] for token in tokens) == ["a", "b"]

    told({"onload_batch": 9}, story)


async def stuck(tree: Tree, c: Checked) -> str:
    """A session that is held by onload-session; the value that releases it."""
    await c.note("p3", ["set", "k", "v"])
    await c.offload("p3")
    ask = {"headers": {"X-onload-location": "p3"}}
    return (await c.command("p2", "onload-session", action="get-session", **ask)).header("x-random-value")


def test_a_sticky_lock_lasts_until_it_is_released() -> None:
    async def story(tree: Tree, c: Checked) -> None:
        secret = await stuck(tree, c)
        late = asyncio.ensure_future(c.call("p2"))
        await tree.env.sleep(30)
        assert not late.done()
        release = {"action": "release-session", "session": c.s}
        wrong = await c.command("p2", "onload-session", **release, **{"random-value": "no"})
        assert (wrong.status, late.done()) == (400, False)
        assert (await c.command("p2", "onload-session", **release, **{"random-value": secret})).status == 200
        assert (await late).status == 200

    told({"sticky_locks": True}, story)


def test_a_sticky_lock_lasts_no_longer_than_it_may() -> None:
    async def story(tree: Tree, c: Checked) -> None:
        assert await stuck(tree, c)
        begun = tree.env.now()
        assert (await c.call("p2")).status == 200
        assert 9 < tree.env.now() - begun < 11

    told({"sticky_locks": True, "lock_expires": "10s"}, story)


def test_without_sticky_locks_there_is_nothing_to_release() -> None:
    async def story(tree: Tree, c: Checked) -> None:
        assert await stuck(tree, c) == ""
        begun = tree.env.now()
        assert (await c.call("p2")).status == 200  # nobody fetched it
        assert tree.env.now() - begun < 6

    told({}, story)


def test_a_session_that_is_too_large_stays_and_works() -> None:
    async def story(tree: Tree, c: Checked) -> None:
        await c.note("p3", ["set", "k", "x" * 2000])
        reply = await c.command("p3", "force-offload", headers={"X-forced-session": c.s})
        assert (reply.status, "more than 1000 bytes" in reply.text) == (400, True)
        assert await c.note("p3", ["delete", "k"], ["set", "k", "y"]) == [None, None]
        await c.offload("p3")
        assert await c.note("p2", ["get", "k"]) == ["y"]

    told({"largest_session": "1kB"}, story)


def test_invocations_that_only_read_run_side_by_side_and_write_nothing() -> None:
    async def story(tree: Tree, c: Checked) -> None:
        await c.note("p3", ["set", "k", "v"])
        begun = tree.env.now()
        slow = [c.call("p3", ["sleep", 2], ["set", "k", "lost"], ["get", "k"], function="other") for _ in range(5)]
        assert [reply.text for reply in await asyncio.gather(*slow)] == 5 * ['[null, null, "lost"]']
        assert tree.env.now() - begun < 3
        assert await c.note("p3", ["get", "k"]) == ["v"]

    told({"functions": {"other": {"reads": True}}}, story)


def test_invocations_that_may_write_run_one_after_the_other() -> None:
    async def story(tree: Tree, c: Checked) -> None:
        begun = tree.env.now()
        await asyncio.gather(*(c.call("p3", ["sleep", 2]) for _ in range(3)))
        assert tree.env.now() - begun > 6

    told({}, story)


@pytest.mark.parametrize(("replicas", "least_s", "most_s"), [(1, 12, 13), (3, 4, 5), (6, 2, 3)])
def test_as_many_invocations_run_at_a_time_as_there_are_replicas(replicas: int, least_s: int, most_s: int) -> None:
    async def story(tree: Tree, c: Checked) -> None:
        begun = tree.env.now()
        await asyncio.gather(*(c.call("p3", ["sleep", 2], session=str(number)) for number in range(6)))
        assert least_s <= tree.env.now() - begun < most_s

    tree = Tree({"functions": {"note": {"replicas": replicas}}}, concurrency=2)

    async def whole(tree: Tree) -> None:
        await story(tree, tree.checked())

    tree.run(whole)


def test_a_function_is_where_it_was_deployed() -> None:
    async def story(tree: Tree, c: Checked) -> None:
        found = {name: (await c.call(name, function="other")).status for name in tree.agents}
        assert found == {"p1": 404, "p2": 200, "p3": 404, "p4": 200}

    told({"functions": {"other": {"at": ["city", "p4"]}}}, story)


@pytest.mark.parametrize("persist", [True, False])
def test_a_location_that_persists_remembers_sessions_status_and_receivers(persist: bool) -> None:
    async def story(tree: Tree, c: Checked) -> None:
        await c.note("p3", ["set", "k", "v"])
        await c.status("p3", "reject")
        await c.command("p3", "register-receive-propagate", function="other")
        tree.world.kill("p3", "location")
        await tree.env.sleep(1)
        await tree.world.restart("p3", "location", tree.world.agent(tree.agents["p3"].site, tree.options))
        location = tree.location("p3")
        assert (location.status, "other" in location.receivers) == (("reject", True) if persist else ("accept", False))
        assert await c.note("p3", ["get", "k"]) == (["v"] if persist else [None])

    told({"persist": persist}, story)
