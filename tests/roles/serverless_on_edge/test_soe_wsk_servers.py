"""Computers in front of OpenWhisk servers: as the original's, keys and addresses, servers that misbehave."""

from __future__ import annotations

import asyncio
import base64
import logging
from pathlib import Path
from typing import Any

import pytest
from soe_wsk_world import Edge

from roles.openwhisk.auth import PUBLIC
from roles.openwhisk.client import all_actions
from roles.serverless_on_edge import wsk_answers
from roles.serverless_on_edge.messages import OK
from roles.serverless_on_edge.wsk_computer_options import WskComputerOptions
from testbed.errors import TestbedError
from testbed.roles.api import CallFailed
from testbed.roles.web import WEB, WebReply, WebRequest, told

STRICT = {"edgecomputerwsk": {"strict-original": True}}


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
