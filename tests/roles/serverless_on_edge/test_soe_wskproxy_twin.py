"""Proxies in the twin: OpenWhisk servers behind the edge, random faults, and a client of OpenWhisk as a workload."""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from soe_wsk_world import Edge
from under_faults import found, said

from roles.serverless_on_edge.wskproxy_calls import Calls
from testbed.experiment.load import load
from testbed.explore.exploring import Search
from testbed.explore.faults import KINDS, Chances
from testbed.roles.web import WEB, WebReply, WebRequest

EXPLORED = Path(__file__).with_name("soe_wskproxy_explored.yaml")
NEWER = "def main(args):\n    return {'payload': 'new ' + args.get('input', '')}"
FAIL = "def main(args):\n    return {'error': 'no disk'}"
CRASH = "def main(args):\n    raise ValueError('crashed')"


async def asked(edge: Edge, path: str, data: Any = None, node: str = "ctl") -> tuple[int, Any]:
    """Status and data of the proxy's answer to a POST, or a GET where there is no data."""
    body = b"" if data is None else json.dumps(data).encode()
    request = WebRequest("GET" if data is None else "POST", f"/api/v1/namespaces/{path}", (), body)
    reply: WebReply = await edge.client.env.call(edge.client.site.endpoint(node, 20000), WEB, request, 100)
    return reply.status, json.loads(reply.content)


def noted(record: Any) -> dict[str, Any]:
    """The annotations of a record."""
    return {each["key"]: each["value"] for each in record["annotations"]}


def test_both_servers_carry_out_what_one_client_invokes_in_three_hops() -> None:
    async def story(edge: Edge) -> list[Any]:
        for node in ("ow1", "ow2"):
            await edge.put(node, "copy")
        await edge.start("wskproxy", "ctl")
        await edge.sleep(1.5)
        return [await asked(edge, "_/actions/copy?blocking=true", {"input": "hello"}) for _ in range(30)]

    replies = Edge().run(story)
    assert {status for status, _ in replies} == {200}
    assert all(each["response"]["result"] == {"payload": "hello"} for _, each in replies)
    ways = [noted(each) for _, each in replies]
    assert {each["hops"] for each in ways} == {3}
    responders = Counter(each["responder"] for each in ways)
    assert sorted(responders) == ["http://10.0.3.1:3233", "http://10.0.4.1:3233"] and min(responders.values()) >= 5
    assert all(each["waitTime"] >= 4 for each in ways), "the way there and back is no part of the duration"


def test_actions_that_are_made_changed_and_removed_reach_the_callers_of_the_proxy() -> None:
    async def story(edge: Edge) -> None:
        await edge.start("wskproxy", "ctl")
        path, hello = "guest/actions/copy?blocking=true&result=true", {"input": "hello"}
        assert (await asked(edge, path, hello))[0] == 404
        await edge.put("ow1", "copy")
        await edge.sleep(1.5)
        assert await asked(edge, path, hello) == (200, {"payload": "hello"})
        await edge.put("ow1", "copy", NEWER)
        assert await asked(edge, path, hello) == (200, {"payload": "new hello"})
        await edge.ask("ow1", "PUT", "_/packages/kit", {})
        await edge.put("ow1", "kit/copy")
        await edge.sleep(1.5)
        packaged = path.replace("copy", "kit/copy")
        assert await asked(edge, packaged, hello) == (200, {"payload": "hello"})
        await edge.ask("ow1", "DELETE", "_/actions/copy")
        assert (await asked(edge, path, hello))[0] == 404, "the server says so until the routers know"
        await edge.sleep(1.5)
        assert (await asked(edge, path, hello))[0] == 404

    Edge().run(story)


def test_an_actions_failure_is_its_own_and_a_servers_death_is_not() -> None:
    async def story(edge: Edge) -> None:
        await edge.start("wskproxy", "ctl")
        for name, code in (("fail", FAIL), ("crash", CRASH)):
            await edge.put("ow1", name, code)
        await edge.sleep(1.5)
        for name, kind, text in (("fail", "application error", "no disk"),
                                 ("crash", "action developer error", "crashed")):  # fmt: skip
            status, record = await asked(edge, f"_/actions/{name}?blocking=true", {})
            assert (status, record["response"]["status"]) == (502, kind)
            assert text in record["response"]["result"]["error"]
        assert edge.table() != [] and (await asked(edge, "_/actions/fail?blocking=true", {}))[0] == 502
        edge.world.kill("ow1", "openwhisk")
        status, data = await asked(edge, "_/actions/fail?blocking=true", {})
        assert status == 503 and data["code"], data
        id_ = (await asked(edge, "_/actions/fail", {}))[1]["activationId"]
        await edge.sleep(20)
        status, record = await asked(edge, f"_/activations/{id_}")
        assert (status, record["response"]["status"]) == (200, "whisk internal error")

    Edge().run(story)


def test_plain_functions_and_actions_pass_the_same_proxy() -> None:
    async def story(edge: Edge) -> None:
        await edge.start("wskproxy", "ctl")
        for path in ("_/actions/f", "guest/actions/f"):
            assert (await asked(edge, f"{path}?blocking=true&result=true", {"input": "x"}))[0] == 200
        _, listed = await asked(edge, "guest/activations")
        assert ":3233" in noted(listed[0])["responder"] and noted(listed[0])["initTime"] == 50, "cold at first"
        _, listed = await asked(edge, "_/activations")
        assert noted(listed[0])["responder"].endswith(":10000"), "a modelled computer"

    Edge({"wskproxy": {"default-namespace": "_"}}).run(story)


def test_strictly_all_of_it_is_as_in_the_originals_example(caplog: pytest.LogCaptureFixture) -> None:
    async def story(edge: Edge) -> None:
        await edge.put("ow1", "copy")
        await edge.put("ow2", "copy")
        await edge.start("wskproxy", "ctl")
        await edge.sleep(2.5)
        path, hello = "guest/actions/copy?blocking=true&result=true", {"input": "hello"}
        for _ in range(20):
            assert await asked(edge, path, hello) == (200, {"payload": "hello"})
        assert (await asked(edge, "_/actions/copy?blocking=true&result=true", hello))[0] == 404, "not /guest/copy"
        await edge.put("ow1", "number", "def main(args):\n    return {'payload': 3}")
        await edge.sleep(2.5)
        status, data = await asked(edge, "guest/actions/number?blocking=true&result=true", {})
        assert status == 404 and set(data) == {"error"}, "the original takes texts alone"

    strict = {role: {"strict-original": True} for role in ("controller", "router", "edgecomputerwsk")}
    with caplog.at_level(logging.INFO):
        Edge({**strict, "wskproxy": {"strict-original": True, "verbosity": 1}}).run(story)
    lines = [text.partition(" ")[2] for text in caplog.messages if "output: hello" in text]
    told = "retcode: OK, from: http://OW:3233, ptime: 0 ms, hops: 3, load: 0/0/0, output: hello, dataout size: 0"
    assert {re.sub(r"10\.0\.[34]\.1", "OW", each) for each in lines} == {told}
    assert len(set(lines)) == 2, "both servers"


@pytest.mark.parametrize(("where", "name", "hops"), [("k1:10000", "copy", 2), ("w:10000", "f", 2), ("r", "copy", 3)])
def test_a_proxy_may_call_a_computer_itself(where: str, name: str, hops: int) -> None:
    async def story(edge: Edge) -> None:
        await edge.put("ow1", "copy")
        await edge.start("wskproxy", "ctl")
        await edge.sleep(1.5)
        space = "_" if name == "f" else "guest"
        status, record = await asked(edge, f"{space}/actions/{name}?blocking=true", {})
        assert (status, noted(record)["hops"]) == (200, hops)
        assert (await asked(edge, f"{space}/actions/nowhere?blocking=true", {}))[0] == 404

    Edge({"wskproxy": {"server-endpoint": where, "default-namespace": "_"}}).run(story)


def test_proxies_keep_their_promises_under_every_kind_of_fault() -> None:
    search = Search(load(EXPLORED), Chances(tuple(KINDS)), lasting_s=40.0)
    assert said(found(search, range(1, 13))) == []


def test_a_proxy_that_forgets_an_invocation_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Calls._carry_out

    async def forgetful(self: Calls, id_: str, wish: Any, ended: Any) -> None:
        if id_[0] == "0":
            return
        await whole(self, id_, wish, ended)

    monkeypatch.setattr(Calls, "_carry_out", forgetful)
    search = Search(load(EXPLORED), Chances(("delay",)), lasting_s=60.0)
    assert {each.violation.invariant for each in found(search, range(1, 4))} == {"a proxy ends what it took"}
