"""HTTP computers and the gateway that they call: in virtual time, and over real HTTP and gRPC."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from controlled import entries
from soe_live import loopback, until
from soe_world import World

from roles.serverless_on_edge.computer_options import HttpConf
from roles.serverless_on_edge.messages import GET_TABLE, OK, LambdaRequest, TableId
from testbed.errors import TestbedError
from testbed.roles.api import CallFailed, Function, FunctionResult
from testbed.roles.web import WEB, WebReply, WebRequest, said, told

FUNCTIONS = {"f": Function(name="f", service_s=0.1), "up": Function(name="up", code="/nowhere/up.py", concurrency=3)}


async def upper(payload: str) -> FunctionResult:
    if payload == "boom":
        return FunctionResult("", "exception", "ValueError: boom")
    return FunctionResult(payload.upper(), exec_s=0.05)


def world(**places: str) -> World:
    made = World(functions=FUNCTIONS).place(openfaas="h3", **places)
    made.code["up"] = upper
    return made


async def asked(gateway: Any, verb: str, target: str, body: bytes = b"") -> WebReply:
    reply: WebReply = await gateway.answer(WebRequest(verb, target, (("host", "h"),), body))
    return reply


def test_an_http_computer_offers_what_its_gateway_has_and_has_it_executed() -> None:
    scene = world(controller="h0", router="h1", computer="h2")

    async def story() -> None:
        await scene.start("openfaas", "h3")
        await scene.start("controller", "h0")
        router = await scene.start("router", "h1")
        computer = await scene.start("computer", "h2", computer_type="http")
        assert await entries(router) == ["f 10.0.0.2:10000 F", "up 10.0.0.2:10000 F"]
        reply = await router.run_lambda(LambdaRequest("up", "abc"))
        assert (reply.retcode, reply.output, reply.hops, reply.responder) == (OK, "ABC", 2, "10.0.0.2:10000")
        modelled = await router.run_lambda(LambdaRequest("f", "x"))
        assert modelled.output == "x" and modelled.ptime == pytest.approx(104, abs=4), "its time and the way there"
        assert (await router.run_lambda(LambdaRequest("up", "boom"))).retcode == (
            "the gateway says 500: exception: ValueError: boom")  # fmt: skip
        assert (await computer.run_lambda(LambdaRequest("g"))).retcode == "unknown lambda 'g'"
        assert (await computer.run_lambda(LambdaRequest("up", dry=True))).ptime > 0, "as the last ones took"

    scene.run(story())


def test_functions_come_and_go_with_the_gateway_and_routers_know_it_at_once() -> None:
    scene = world(controller="h0", router="h1", computer="h2")
    offered = ["f"]

    async def answer(request: WebRequest) -> WebReply:
        if request.path == "/system/functions":
            return told(200, [{"name": name, "replicas": 1} for name in offered])
        return said(404, "")

    async def story() -> None:
        await scene.start("controller", "h0")
        router = await scene.start("router", "h1")
        computer = await scene.start("computer", "h2", computer_type="http", heartbeat_period=1000)
        assert await entries(router) == [], "nobody has started the gateway"
        await scene.start("client", "h3")
        scene.services["10.0.0.3:8080"] = {WEB: answer}
        await computer.env.sleep(1.5)
        assert await entries(router) == ["f 10.0.0.2:10000 F"]
        offered.append("g")
        await computer.env.sleep(1.5)
        assert await entries(router) == ["f 10.0.0.2:10000 F", "g 10.0.0.2:10000 F"]
        assert "says 404" in (await router.run_lambda(LambdaRequest("g"))).retcode
        scene.stop("h3")
        assert "does not answer" in (await router.run_lambda(LambdaRequest("g"))).retcode
        assert len(await entries(router)) == 2, "one lost question is no reason to go"
        await computer.env.sleep(4)
        assert await entries(router) == []

    scene.run(story())


@pytest.mark.parametrize("body", [b"", b"[", b"{}", b'[{"name": 1}]', b"[[[" * 50_000, b"\xff"])
def test_a_gateway_that_talks_nonsense_has_no_functions(body: bytes) -> None:
    scene = world(controller="h0", router="h1", computer="h2")

    async def answer(_: WebRequest) -> WebReply:
        return WebReply(200, (), body)

    async def story() -> None:
        scene.services["10.0.0.3:8080"] = {WEB: answer}
        computer = await scene.start("computer", "h2", computer_type="http", controller_endpoint="none")
        assert computer.information().containers == ()
        with pytest.raises(CallFailed, match="no list of functions"):
            await computer._real.look()

    scene.run(story())


def test_num_clients_calls_are_at_the_gateway_at_a_time() -> None:
    scene = world(computer="h2")

    async def story() -> list[int]:
        await scene.start("openfaas", "h3", conf={"cores": 8})
        computer = await scene.start("computer", "h2", computer_type="http", http_conf="num-clients=1")
        replies = await asyncio.gather(*(computer.run_lambda(LambdaRequest("f", "x")) for _ in range(3)))
        return [round(reply.queue_us / 100_000) for reply in replies]

    assert scene.run(story()) == [0, 1, 2]


def test_the_gateway_answers_as_openfaas_does() -> None:
    scene = world()

    async def story() -> None:
        gateway = await scene.start("openfaas", "h3")
        called = await asked(gateway, "POST", "/function/up", b"abc")
        assert (called.status, called.text) == (200, "ABC") and len(called.header("x-call-id")) == 36
        assert (await asked(gateway, "POST", "/function/up.openfaas-fn/further/path?a=b", b"a")).text == "A"
        assert (await asked(gateway, "GET", "/function/up")).status == 200
        told_of = json.loads((await asked(gateway, "GET", "/system/functions")).content)
        figures = [(each["name"], each["replicas"], each["invocationCount"]) for each in told_of]
        assert figures == [("f", 1, 0), ("up", 3, 3)]
        one = json.loads((await asked(gateway, "GET", "/system/function/f")).content)
        assert one["name"] == "f" and one["image"] == "f"
        for verb, target, body, status in (
            ("POST", "/function/nobody", b"", 404),
            ("GET", "/system/function/nobody", b"", 404),
            ("POST", "/function/up", b"boom", 500),
            ("POST", "/function/up", b"\xff\xfe", 400),
            ("POST", "/system/functions", b"{}", 405),
            ("DELETE", "/system/functions", b"{}", 405),
            ("GET", "/healthz", b"", 200),
            ("GET", "/", b"", 404),
            ("GET", "/function", b"", 404),
        ):
            assert (await asked(gateway, verb, target, body)).status == status, (verb, target)

    scene.run(story())


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("", "http://10.0.0.3:8080"),
        ("http://localhost:8080/", "http://localhost:8080"),
        ("h1", "http://10.0.0.1:80"),
        ("http://h1:31112/gw/", "http://10.0.0.1:31112/gw"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_a_gateways_url_may_name_a_node(given: str, url: str) -> None:
    assert HttpConf.model_validate({"gateway-url": given}).url(world().site("h2", "computer")) == url


@pytest.mark.parametrize("given", ["https://h1", "http://", "ftp://h1/"])
def test_other_urls_are_refused(given: str) -> None:
    with pytest.raises(TestbedError, match="no http:// address"):
        HttpConf.model_validate({"gateway-url": given}).url(world().site("h2", "computer"))


def test_one_agent_speaks_grpc_and_http_on_real_connections(tmp_path: Path) -> None:
    async def story() -> None:
        places = {"controller": "h0", "router": "h1", "computer": "h2", "openfaas": "h3", "client": "h4"}
        async with loopback(tmp_path, "127.71.9", FUNCTIONS, **places) as net:
            await net.start("controller", "h0")
            await net.start("router", "h1")
            await net.start("computer", "h2", computer_type="http")
            await net.start("openfaas", "h3")
            await net.start("client", "h4")

            async def table() -> Any:
                return await net.agents["client", "h4"][1].call("127.71.9.2:6474", GET_TABLE, TableId(1))

            await until(table, lambda found: len(found.entries) == 2)
            done = await net.invoke("h4", "up", "grüß")
            assert (done.status, done.output, done.hops, done.node) == ("ok", "GRÜSS", 2, "h2")
            text = await asyncio.to_thread(fetched, "http://127.71.9.4:8080/function/up", b"by hand")
            assert text == "BY HAND"
            await net.kill("openfaas", "h3")
            lost = await net.invoke("h4", "up", "x")
            assert lost.status == "error" and "does not answer" in lost.error

    asyncio.run(story())


def fetched(url: str, body: bytes) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, body, timeout=10) as reply:
        return str(reply.read().decode())
