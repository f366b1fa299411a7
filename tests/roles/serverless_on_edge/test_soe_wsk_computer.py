"""Computers that have OpenWhisk servers execute their calls, in virtual time."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from soe_wsk_world import Edge, result

from roles.openwhisk.auth import PUBLIC
from roles.openwhisk.client import all_actions
from roles.serverless_on_edge import wsk_answers
from roles.serverless_on_edge.messages import OK
from roles.serverless_on_edge.wsk_actions import FIRST_PAUSE_S, LOSSES
from roles.serverless_on_edge.wsk_computer_options import WskComputerOptions
from testbed.errors import TestbedError
from testbed.roles.api import CallFailed
from testbed.roles.web import WEB, WebReply, WebRequest, told

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


def test_the_original_takes_texts_in_one_namespace_alone_and_tells_no_more() -> None:
    async def story(edge: Edge) -> None:
        await edge.put("ow1", "copy")
        await edge.ask("ow1", "PUT", "_/packages/tools", {})
        await edge.put("ow1", "tools/copy")
        await edge.put("ow1", "number", "def main(p):\n    return {'payload': 7}")
        await edge.sleep(1.5)
        assert {"/guest/copy k1", "/guest/tools/copy k1"} <= set(edge.table()), "both are listed"
        good = await edge.call("/guest/copy", {"input": "hello"})
        assert (good.retcode, good.output, good.dataout, good.ptime, good.hops) == (OK, "hello", b"", 0, 2)
        assert (good.queue_us, good.exec_us, good.load1) == (0, 0, 0)
        assert (await edge.call("copy", {"input": "x"}, "k1:10000")).output == "x", "in the key's own namespace"
        for name, given, why in (
            ("/guest/number", {}, "gave no payload that is a text"),
            ("/guest/tools/copy", {}, "'/guest/tools/copy' is no action: /NAMESPACE/NAME"),
            ("/guest/copy", "plain", "the input of an action is to be JSON"),
            ("/guest/none", {}, "says 404"),
        ):
            reply = await edge.call(name, given, "k1:10000")
            assert why in reply.retcode and reply.action_status == 0, reply
        edge.world.kill("ow1", "openwhisk")
        await edge.sleep(20)
        assert "/guest/copy k1" in edge.table(), "it tells nobody that its server is gone"

    own = {"wsk-auth": base64.b64encode(PUBLIC["guest"].encode()).decode()}
    Edge({**STRICT, "k1": own, "k2": own}).run(story)


def test_a_server_that_gives_what_it_should_not_is_told_of_and_kills_nobody() -> None:
    replies: list[WebReply] = []

    async def answer(request: WebRequest) -> WebReply:
        if request.verb == "GET":
            return replies[0]
        return replies[-1]

    async def story(edge: Edge) -> None:
        edge.world.kill("ow1", "openwhisk")
        server = edge.agent("ow1", "openwhisk")
        await server.env.serve(3233, {WEB: answer})
        listed = told(200, [{"namespace": "guest", "name": "x", "more": 1}])
        deep = WebReply(200, (), b"[" * 100_000)
        nan = {"activationId": "a", "response": {"status": "success", "result": {"payload": "p"}}, "duration": -1}
        lost = {"response": {"status": "whisk internal error", "result": {"error": "gone"}}}
        odd = {"response": {"status": "success"}, "duration": 5, "annotations": [{"key": "waitTime", "value": "x"}]}
        for wrong in (told(200, {"a": 1}), told(200, [1]), told(200, [{"name": "x"}]), WebReply(200, (), b"\xff"), deep,
                      told(401, {"error": "The supplied authentication is invalid"}), told(500, "?")):  # fmt: skip
            replies[:] = [wrong]
            await edge.sleep(20)
            assert edge.announced("k1").containers == ()
        for reply, code in (
            (told(200, {"payload": "bare"}), "says 200: this is no record of an activation"),
            (told(200, nan), "says 200: this is no record"),
            (deep, "says 200: this is no record"),
            (told(202, {"activationId": "f" * 32}), f"the action has not ended in time; its activation is {'f' * 32}"),
            (told(429, {"error": "Too many requests", "code": "1"}), "says 429: Too many requests"),
            (told(401, {"error": "no", "code": "1"}), "says 401: no"),
            (WebReply(503), "says 503: "),
            (told(500, lost), "says 500: gone"),
            (told(502, {"error": "x" * 5000}), "says 502: xxx"),
            (told(200, odd), OK),
        ):
            replies[:] = [listed, reply]
            answered = await edge.call("/guest/x", {}, "k1:10000")
            assert code in answered.retcode and answered.action_status == 0, (reply, answered)
            assert len(answered.retcode) <= wsk_answers.LONGEST
            assert bool(answered.dataout) == (answered.retcode == OK)

    Edge().run(story)


def test_names_that_cannot_be_called_are_left_alone() -> None:
    names = [("guest", "fine one"), ("guest/kit", "x"), ("guest", "a/b"), ("", "x"), ("guest", "\ud800"),
             ("guest", "y" * 999)]  # fmt: skip
    listed = [{"namespace": space, "name": name} for space, name in names]

    async def answer(request: WebRequest) -> WebReply:
        return told(200, listed)

    async def story(edge: Edge) -> list[str]:
        edge.world.kill("ow1", "openwhisk")
        await edge.agent("ow1", "openwhisk").env.serve(3233, {WEB: answer})
        await edge.sleep(10)
        return edge.table()

    assert Edge().run(story) == ["/guest/f k2", "/guest/fine one k1", "/guest/kit/x k1", "f w"]


def test_nothing_is_announced_after_the_good_bye() -> None:
    async def story(edge: Edge) -> None:
        computer = edge.role("edgecomputerwsk", "k1")
        await computer.stop(computer.env)
        await edge.put("ow1", "copy")
        await edge.sleep(3)
        assert edge.table() == ["/guest/f k2", "f w"] and "k1" not in edge.known()

    Edge().run(story)


def test_a_list_without_an_end_is_given_up() -> None:
    class Endless:
        async def call(self, address: str, method: Any, message: WebRequest, timeout: float) -> WebReply:
            return told(200, [{"namespace": "guest", "name": "x"}] * 200)

    with pytest.raises(CallFailed, match="lists more than 20000 actions"):
        asyncio.run(all_actions(Endless(), "h:1", "Basic x"))  # type: ignore[arg-type]


def test_a_key_is_shown_to_the_server_alone(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("me 0-0:hidden\n")
    file.chmod(0o600)

    async def story(edge: Edge) -> None:
        reply = await edge.call("/guest/f", {}, "k1:10000")
        assert "says 401" in reply.retcode and "hidden" not in repr(reply)
        assert edge.announced("k1").containers == ()

    for key in ("0-0:hidden", base64.b64encode(b"0-0:hidden").decode(), str(file)):
        with caplog.at_level(logging.DEBUG):
            Edge({"k1": {"wsk-auth": key, "wsk-user": "me"}}).run(story)
    assert "hidden" not in caplog.text and "MC0wOmhpZGRlbg" not in caplog.text
    assert "401" in caplog.text


def test_keys_of_guest_in_every_form_work() -> None:
    async def story(edge: Edge) -> tuple[str, ...]:
        assert (await edge.call("/guest/f", {}, "k1:10000")).retcode == OK
        return tuple(each.function for each in edge.announced("k1").containers)

    key = PUBLIC["guest"]
    for given in ("", key, base64.b64encode(key.encode()).decode()):
        assert Edge({"k1": {"wsk-auth": given}}).run(story) == ("/guest/f",)


@pytest.mark.parametrize(
    ("given", "root"),
    [
        ("", ("http", "10.0.3.1:3233")),
        ("ow2", ("http", "10.0.4.1:3233")),
        ("http://ow2/", ("http", "10.0.4.1:80")),
        ("https://example.org", ("https", "example.org:443")),
        ("https://127.0.0.1:80", ("https", "127.0.0.1:80")),
        ("http://[::1]:3233", ("http", "[::1]:3233")),
    ],
)
def test_the_servers_root_may_name_a_node(given: str, root: tuple[str, str]) -> None:
    site = Edge().agent("k1", "edgecomputerwsk").site
    assert WskComputerOptions.model_validate({"wsk-api-root": given}).root(site) == root


@pytest.mark.parametrize("given", ["ftp://ow1", "http://", "http://ow1/path"])
def test_other_roots_are_refused(given: str) -> None:
    site = Edge().agent("k1", "edgecomputerwsk").site
    with pytest.raises(TestbedError, match="is no http://HOST:PORT"):
        WskComputerOptions.model_validate({"wsk-api-root": given}).root(site)


def test_what_an_action_gives_is_noted_in_the_datasets(tmp_path: Path) -> None:
    async def story(edge: Edge) -> None:
        edge.world.kill("k1", "edgecomputerwsk")
        agent = edge.agent("k1", "edgecomputerwsk")
        agent.folder = tmp_path
        await edge.world.start(agent)
        await edge.call("/guest/f", {}, "k1:10000")
        await edge.call("/guest/none", {}, "k1:10000")
        agent.flush()

    Edge().run(story)
    rows = [line.split(",") for line in (tmp_path / "soe_executions.csv").read_text().splitlines()]
    assert [row[1:3] for row in rows[1:]] == [["k1", "/guest/f"], ["k1", "/guest/none"]]
    assert rows[1][-1] == "" and "404" in rows[2][-1]
