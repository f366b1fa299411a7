"""Computers that have OpenWhisk servers execute their calls, in virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from soe_wsk_world import Edge, result

from roles.serverless_on_edge.messages import OK
from roles.serverless_on_edge.wsk_actions import FIRST_PAUSE_S, LOSSES

MODEL = '{"service_s": 0.2}'
STRICT = {"edgecomputerwsk": {"strict-original": True}}
BOTH = ["/guest/f k1", "/guest/f k2", "f w"]


def test_calls_go_to_both_servers_of_one_action_and_take_two_hops_without_the_proxy() -> None:
    async def story(edge: Edge) -> list[Any]:
        for node in ("ow1", "ow2"):
            await edge.put(node, "copy")
        await edge.sleep(1.5)
        return [await edge.call("/guest/copy", {"input": "hello"}) for _ in range(30)]

    replies = Edge().run(story)
    assert {(each.retcode, each.output, each.hops) for each in replies} == {(OK, "hello", 2)}
    assert {each.dataout for each in replies} == {b'{"payload":"hello"}'}
    roots = Counter(each.responder for each in replies)
    assert sorted(roots) == ["http://10.0.3.1:3233", "http://10.0.4.1:3233"] and min(roots.values()) >= 5
    assert {(each.load1, each.load10, each.load30) for each in replies} == {(0, 0, 0)}


def test_actions_appear_and_disappear_in_the_routers_tables_as_they_do_on_their_server() -> None:
    async def story(edge: Edge) -> None:
        assert edge.table() == edge.table(number=1) == BOTH
        await edge.put("ow1", "copy")
        await edge.ask("ow1", "PUT", "_/packages/tools", {})
        await edge.put("ow1", "tools/copy")
        await edge.sleep(1.5)
        assert edge.table() == ["/guest/copy k1", *BOTH[:1], BOTH[1], "/guest/tools/copy k1", "f w"]
        assert (await edge.call("/guest/tools/copy", {"input": "x"})).output == "x"
        await edge.ask("ow1", "DELETE", "_/actions/copy")
        await edge.ask("ow2", "DELETE", "_/actions/f")
        await edge.sleep(1.5)
        assert edge.table() == edge.table(number=1) == ["/guest/f k1", "/guest/tools/copy k1", "f w"]
        gone = await edge.call("/guest/copy", {})
        assert gone.retcode.startswith("No destinations")

    Edge().run(story)


def test_all_actions_are_offered_where_there_are_more_than_fit_into_one_list() -> None:
    async def story(edge: Edge) -> int:
        for number in range(430):
            await edge.put("ow1", f"a{number}", MODEL, "model:1")
        await edge.sleep(1.5)
        return len(edge.announced("k1").containers)

    assert Edge().run(story) == 431
    assert Edge(STRICT).run(story) == 200, "as many as the original asks for"


@pytest.mark.parametrize("settings", [{}, {"edgecomputerwsk": {"look-period": 0.5, "back-off": 3}}])
def test_a_server_that_goes_is_asked_ever_more_rarely_offers_nothing_and_is_found_again(settings: Any) -> None:
    asked: list[float] = []

    async def story(edge: Edge) -> None:
        computer = edge.role("edgecomputerwsk", "k1")
        look = computer.actions.look

        async def looking() -> bool:
            asked.append(edge.world.loop.now)
            return bool(await look())

        computer.actions.look = looking
        await edge.sleep(3)
        edge.world.kill("ow1", "openwhisk")
        await edge.sleep(4)
        assert edge.table() == ["/guest/f k2", "f w"], "after three questions"
        assert edge.known()["k1"] == (), "it is still known"
        assert {(await edge.call("/guest/f", {})).responder for _ in range(5)} == {"http://10.0.4.1:3233"}
        first = len(asked)
        await edge.sleep(60)
        gaps = [later - earlier for earlier, later in zip(asked[first:], asked[first + 1 :], strict=False)]
        longest = computer.options.back_off
        assert len(gaps) <= 60 / (longest / 2) + 4, "ever more rarely"
        assert longest / 2 < max(gaps) <= longest + 0.1 and len({round(gap, 3) for gap in gaps[-5:]}) > 1, gaps
        await edge.start("openwhisk", "ow1")
        await edge.sleep(longest + 2)
        assert edge.table() == BOTH

    Edge(settings).run(story)


def test_a_call_that_finds_nobody_has_the_server_asked_at_once() -> None:
    async def story(edge: Edge) -> float:
        await edge.sleep(2)
        edge.world.kill("ow1", "openwhisk")
        reply = await edge.call("/guest/f", {}, "k1:10000")
        assert "does not answer: unreachable" in reply.retcode and not reply.dataout and reply.action_status == 0
        began = edge.world.loop.now
        while edge.announced("k1").containers:
            await edge.sleep(0.01)
        return edge.world.loop.now - began

    seconds = Edge({"edgecomputerwsk": {"look-period": 100}}).run(story)
    assert seconds < FIRST_PAUSE_S * 2**LOSSES


def test_a_computer_that_is_there_before_its_server_offers_the_actions_when_the_server_comes() -> None:
    async def story(edge: Edge) -> None:
        await edge.start("controller", "ctl")
        await edge.start("router", "r")
        await edge.start("edgecomputerwsk", "k1")
        assert edge.table() == []
        await edge.start("openwhisk", "ow1")
        await edge.sleep(9)
        assert edge.table() == ["/guest/f k1"]

    Edge().run(story, started=False)


def test_errors_of_actions_are_told_apart_from_those_on_the_way_and_evict_nobody() -> None:
    async def story(edge: Edge) -> None:
        await edge.put("ow1", "fail", "def main(p):\n    return {'error': 'no disk', 'left': 3}")
        await edge.put("ow1", "crash", "def main(p):\n    return 1 / 0")
        await edge.sleep(1.5)
        own = await edge.call("/guest/fail", {})
        assert (own.retcode, own.action_status, own.output) == ("application error: no disk", 1, "")
        assert result(own) == {"error": "no disk", "left": 3} and own.hops == 2
        developers = await edge.call("/guest/crash", {})
        assert developers.retcode.startswith("action developer error: ") and developers.action_status == 2
        assert "error" in result(developers)
        missing = await edge.call("/guest/none", {}, "k1:10000")
        assert missing.retcode == (
            "OpenWhisk at http://10.0.3.1:3233 says 404: The requested resource does not exist.")  # fmt: skip
        assert (missing.action_status, missing.dataout, missing.responder) == (0, b"", "http://10.0.3.1:3233")
        assert "/guest/fail k1" in edge.table() and "/guest/f k1" in edge.table()

    Edge().run(story)


def test_a_router_of_the_originals_kind_evicts_for_any_error_as_it_does_for_other_computers() -> None:
    async def story(edge: Edge) -> None:
        await edge.put("ow1", "fail", "def main(p):\n    return {'error': 'no disk'}")
        await edge.sleep(1.5)
        reply = await edge.call("/guest/fail", {})
        assert reply.retcode.startswith("No destinations") and "application error: no disk" in reply.retcode
        assert "/guest/fail k1" not in edge.table()

    Edge({"router": {"strict-original": True}}).run(story)


def test_the_whole_result_travels_whatever_it_is() -> None:
    async def story(edge: Edge) -> None:
        for name, returned in (("list", "[1, p]"), ("deep", "{'payload': {'a': [1]}, 'b': None}"), ("none", "{}"),
                               ("odd", "{'payload': 'a\\ud800b'}")):  # fmt: skip
            await edge.put("ow1", name, f"def main(p):\n    return {returned}")
        await edge.put("ow1", "echo", "def main(p):\n    return p")
        await edge.sleep(1.5)
        listed = await edge.call("/guest/list", {"x": "grüß"})
        assert (listed.retcode, listed.output, result(listed)) == (OK, "", [1, {"x": "grüß"}])
        deep = await edge.call("/guest/deep", {})
        assert (deep.output, result(deep)) == ("", {"payload": {"a": [1]}, "b": None})
        assert result(await edge.call("/guest/none")) == {}
        odd = await edge.call("/guest/odd")
        assert (odd.output, result(odd)) == ("a?b", {"payload": "a\ud800b"})
        for given, expected in (("plain", {"payload": "plain"}), ("[1]", {"payload": "[1]"}), ("", {})):
            assert result(await edge.call("/guest/echo", given)) == expected, given

    Edge().run(story)


def test_the_times_of_the_activation_are_told() -> None:
    async def story(edge: Edge) -> None:
        await edge.put("ow1", "slow", MODEL, "model:1")
        await edge.sleep(1.5)
        cold, warm = await edge.call("/guest/slow", {}), await edge.call("/guest/slow", {})
        assert (cold.queue_us, cold.init_us, cold.exec_us) == (400_000, 50_000, 200_000)
        assert (warm.queue_us, warm.init_us, warm.exec_us) == (0, 0, 200_000)
        assert warm.ptime == pytest.approx(204, abs=2), "and the way to the server"
        dry = await edge.call("/guest/slow", {}, "k1:10000", dry=True)
        assert (dry.retcode, dry.ptime) == (OK, round((654 + 204) / 2))
        assert (await edge.call("/guest/never", {}, "k1:10000", dry=True)).ptime == 0

    Edge().run(story)


def test_no_more_calls_are_under_way_than_it_has_threads() -> None:
    async def story(edge: Edge) -> None:
        await edge.put("ow1", "slow", MODEL, "model:1")
        await edge.sleep(1.5)
        calls = [edge.call("/guest/slow", {}, "k1:10000") for _ in range(6)]
        waits = sorted(each.queue_us for each in await asyncio.gather(*calls))
        assert waits[1] < 500_000 and waits[-1] > 800_000, "the last ones wait for two rounds"

    Edge({"k1": {"num-threads": 2}}).run(story)


@pytest.mark.parametrize("name", ["/a/b/c/d", "", "///"])
def test_a_name_that_no_action_can_have_is_refused_without_asking(name: str) -> None:
    async def story(edge: Edge) -> str:
        return (await edge.call(name, {}, "k1:10000")).retcode

    assert "is no action: /NAMESPACE/NAME" in Edge().run(story)


def test_what_it_cannot_do_is_refused() -> None:
    async def story(edge: Edge) -> None:
        later = await edge.call("/guest/f", {}, "k1:10000", callback="10.0.6.1:6480")
        assert later.retcode == "asynchronous calls are not supported by this computer"
        many = await edge.call("/guest/f", {}, "k1:10000", chain=("/guest/f", "/guest/f"))
        assert "needs a callback" in many.retcode

    Edge().run(story)


def test_other_traffic_passes_the_same_router() -> None:
    async def story(edge: Edge) -> None:
        modelled, action = await asyncio.gather(edge.call("f", "abc"), edge.call("/guest/f", "abc"))
        assert (modelled.responder, modelled.output, modelled.hops) == ("10.0.5.1:10000", "abc", 2)
        assert action.responder.startswith("http://") and action.hops == 2
        calls = [edge.call(name, "x") for name in ("f", "/guest/f") * 20]
        assert {each.retcode for each in await asyncio.gather(*calls)} == {OK}

    Edge({"router": {"num-threads": 50}}).run(story)


def test_a_computer_that_is_stopped_is_forgotten_at_once_and_finishes_what_it_has_taken() -> None:
    async def story(edge: Edge) -> None:
        await edge.put("ow1", "slow", MODEL, "model:1")
        await edge.sleep(1.5)
        await edge.call("/guest/slow", {})
        computer = edge.role("edgecomputerwsk", "k1")
        call = asyncio.ensure_future(edge.call("/guest/slow", {}))
        await edge.sleep(0.1)
        await computer.stop(computer.env)
        assert (await call).retcode == OK
        assert edge.table() == ["/guest/f k2", "f w"]

    Edge().run(story)
