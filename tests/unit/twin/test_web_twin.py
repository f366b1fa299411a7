"""Systems whose interface is plain HTTP, in virtual time: messages of their true size, functions that ask."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
from toy import PORT

from testbed.roles.api import CallFailed, Duty, Environment, Function, Parameters, Role, System, Wire
from testbed.roles.web import WEB, WebReply, WebRequest, said
from testbed.roles.web_wire import WebWire
from testbed.topology.load import parse
from testbed.twin.functions import Codes
from testbed.twin.options import TwinOptions
from testbed.twin.world import World

SLOW = "nodes: {a: {}, b: {}}\nlinks: [{name: ab, ends: [a, b], rate: 80kbit}]"


class Shop(Role):
    """Runs a function that asks it."""

    async def start(self, env: Environment) -> None:
        self.kept: list[str] = []

        async def answer(text: str) -> str:
            if text == "wait":
                await env.sleep(1)
            if text == "fail":
                raise LookupError("not in stock")
            self.kept.append(text)
            return str(len(self.kept))

        async def handler(request: WebRequest) -> WebReply:
            if request.path == "/parts":
                return WebReply(200, (), (b"x" * 500,) * 20)
            result = await env.run_function("f", request.body.decode(), answer)
            return said(500 if result.error else 200, result.output or result.detail, ("x-kept", ",".join(self.kept)))

        await env.serve(PORT, {WEB: handler})


class Shops(System):
    """Shops and those who ask them."""

    name: ClassVar[str] = "shops"
    roles: ClassVar[Mapping[str, type[Role]]] = {"shop": Shop, "visitor": Shop}
    duties: ClassVar[Mapping[Duty, str]] = {"worker": "shop", "client": "visitor"}

    def wire(self) -> Wire:
        return WebWire()


def visited(story: Any, code: Any = None, network: str = SLOW) -> Any:
    """What ``story(call)`` of a visitor on a gave, with a shop on b."""
    made = World(parse(network, "slow.yaml"), Shops(), 1, TwinOptions(tcp_efficiency=1.0), codes=Codes({"f": code}))
    places = {"shop": ("b",), "visitor": ("a",)}
    agents = {
        node: made.agent(made.site(node, role, places, {"f": Function(name="f")}), Parameters())
        for role, (node,) in places.items()
    }
    env, at = agents["a"].env, agents["a"].site.endpoint("b", PORT)

    async def whole() -> Any:
        await made.start(agents["b"])
        return await story(env, lambda request: env.call(at, WEB, request, 30.0))

    return made.run(whole())


def test_a_message_takes_the_time_of_its_true_bytes() -> None:
    async def story(env: Any, call: Any) -> None:
        request = WebRequest("GET", "/parts", (("x-session", "7"),))
        reply = await call(request)
        begun = env.now()
        assert await call(request) == reply and reply.content == b"x" * 10_000
        sent = b"GET /parts HTTP/1.1\r\nhost: 10.0.0.10:8080\r\nx-session: 7\r\n\r\n"
        back = b"HTTP/1.1 200 OK\r\ncontent-length: 10000\r\n\r\n"
        assert env.now() - begun == pytest.approx((len(sent) + len(back) + 10_000) / 10_000, rel=0.01)

    visited(story)


def test_a_request_that_is_the_last_on_its_connection_waits_for_a_new_one() -> None:
    async def story(env: Any, call: Any) -> None:
        took = []
        for lasting in (True, True, False, False, True):
            begun = env.now()
            await call(WebRequest("GET", "/parts", lasting=lasting))
            took.append(env.now() - begun)
        assert took == pytest.approx([0.2, 0.1, 0.2, 0.2, 0.1], rel=0.01)  # a handshake and an exchange, or that alone

    visited(story, network=SLOW.replace("rate: 80kbit", "delay: 50ms"))


def test_a_function_asks_the_role_that_runs_it() -> None:
    def code(ctx: Any, payload: str) -> str:
        return "".join(ctx.ask(each) for each in payload.split())

    async def story(env: Any, call: Any) -> None:
        reply = await call(WebRequest("POST", "/f", body=b"a b c"))
        assert (reply.status, reply.text, reply.header("x-kept")) == (200, "123", "a,b,c")
        refused = await call(WebRequest("POST", "/f", body=b"fail"))
        assert refused.status == 500 and "AskFailed: not in stock" in refused.text
        with pytest.raises(CallFailed, match="in the twin it must give it at once"):
            await call(WebRequest("POST", "/f", body=b"wait"))

    visited(story, code)
