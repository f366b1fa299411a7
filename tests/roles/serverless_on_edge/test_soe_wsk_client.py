"""The experiment's client as a client of OpenWhisk: through the proxy, and at a server itself; in virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from soe_wsk_world import Edge

from roles.openwhisk.auth import PUBLIC
from roles.serverless_on_edge.client_options import ClientOptions
from testbed.errors import TestbedError
from testbed.roles.api import Site

WSK = {"c": {"client-conf": "type=wsk"}}


def test_a_client_of_openwhisk_uses_both_servers_through_proxy_and_edge_with_three_hops() -> None:
    async def story(edge: Edge) -> list[Any]:
        for node in ("ow1", "ow2"):
            await edge.put(node, "copy")
        await edge.sleep(1.5)
        return [await edge.invoke("copy", '{"input": "hello"}') for _ in range(20)]

    outcomes = Edge(WSK).run(story)
    assert {(each.status, each.error, each.output, each.hops) for each in outcomes} == {("ok", "", "hello", 3)}
    used = Counter(each.node for each in outcomes)
    assert sorted(used) == ["ow1", "ow2"] and min(used.values()) >= 3


def test_what_goes_wrong_is_told_by_its_kind() -> None:
    async def story(edge: Edge) -> None:
        await edge.put("ow1", "fail", "def main(p):\n    return {'error': 'no disk'}")
        await edge.put("ow1", "slow", '{"service_s": 3.0}', "model:1")
        await edge.sleep(1.5)
        failed = await edge.invoke("fail", "{}")
        assert (failed.status, failed.error, failed.node) == ("error", "application error: no disk", "ow1")
        assert (await edge.invoke("none", "{}")).status == "rejected"
        assert (await edge.invoke("slow", "{}", 1.0)).status == "timeout"
        edge.world.kill("p", "wskproxy")
        gone = await edge.invoke("fail", "{}")
        assert gone.status == "error" and gone.error.startswith("unreachable")

    Edge(WSK).run(story)


def test_a_proxy_that_comes_soon_is_tried_again() -> None:
    async def story(edge: Edge) -> Any:
        edge.world.kill("p", "wskproxy")
        call = asyncio.ensure_future(edge.invoke("f", "x"))
        await edge.sleep(0.2)
        await edge.start("wskproxy", "p")
        return await call

    found = Edge({"c": {"client-conf": "type=wsk", "retries": 3}}).run(story)
    assert (found.status, found.hops) == ("ok", 3) and 1 <= found.retries <= 3


def test_a_payload_that_is_no_object_is_an_argument_and_a_result_without_one_comes_whole() -> None:
    async def story(edge: Edge) -> None:
        await edge.put("ow1", "echo", "def main(p):\n    return {'got': p}")
        await edge.put("ow1", "list", "def main(p):\n    return [1, 2]")
        await edge.sleep(1.5)
        assert (await edge.invoke("echo", "hello")).output == '{"got":{"payload":"hello"}}'
        listed = await edge.invoke("list", "")
        assert (listed.status, listed.output, listed.hops) == ("ok", "[1,2]", None)

    Edge(WSK).run(story)


def test_it_can_ask_a_server_itself_and_then_tells_no_hops() -> None:
    async def story(edge: Edge) -> None:
        done = await edge.invoke("f", "x")
        assert (done.status, done.node, done.hops) == ("ok", "ow2", None)
        assert (done.init_s, done.exec_s, done.queue_s) == pytest.approx((0.05, 0.1, 0.4))
        assert done.cold and not (await edge.invoke("f", "x")).cold

    client = {"client-conf": "type=wsk", "server-endpoints": "ow2:3233"}
    Edge({"c": client}).run(story)


def test_a_key_and_a_namespace_can_be_given() -> None:
    async def story(edge: Edge) -> str:
        return (await edge.invoke("f", "x")).error

    conf = {"type": "wsk", "namespace": "_", "wsk-auth": PUBLIC["guest"]}
    own = {"server-endpoints": "ow1:3233", "client-conf": conf}
    assert Edge({"c": own}).run(story) == ""
    wrong = {**own, "client-conf": {"type": "wsk", "wsk-auth": "0:1"}}
    assert "says 401" in Edge({"c": wrong}).run(story)


def test_both_kinds_of_clients_pass_one_router() -> None:
    async def story(edge: Edge) -> None:
        through = [edge.invoke("f", "x") for _ in range(10)]
        plain = [edge.call("f", "x") for _ in range(10)]
        outcomes, replies = await asyncio.gather(asyncio.gather(*through), asyncio.gather(*plain))
        assert {(each.status, each.hops) for each in outcomes} == {("ok", 3)}
        assert {(each.responder, each.hops) for each in replies} == {("10.0.5.1:10000", 2)}

    Edge({**WSK, "router": {"num-threads": 50}}).run(story)


@pytest.mark.parametrize(
    "more", [{"dry": True}, {"server-endpoints": "p,r"}, {"chains": {"x": {"functions": ["f", "f"]}}}]
)
def test_what_it_cannot_do_that_way_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="with client-conf type=wsk"):
        ClientOptions.model_validate({"client-conf": "type=wsk", **more})


def test_it_needs_somebody_to_call() -> None:
    site = Site("c", "client", 1, {"c": "10.0.0.1", "r": "10.0.0.2"}, {"router": ("r",)}, {})
    with pytest.raises(TestbedError, match="needs a wskproxy or an openwhisk to call"):
        ClientOptions.model_validate({"client-conf": "type=wsk"}).endpoints(site)
