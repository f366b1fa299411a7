"""A server with two invokers in the twin, and a client's node from which to ask it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from roles.openwhisk.auth import PUBLIC, header
from roles.openwhisk.options import PORT, ClientOptions, InvokerOptions, ServerOptions
from roles.openwhisk.system import SYSTEM
from testbed.roles.api import Function
from testbed.roles.web import WEB, WebReply, WebRequest
from testbed.topology.load import parse
from testbed.twin.agent import Agent
from testbed.twin.options import TwinOptions
from testbed.twin.world import World

T = TypeVar("T")
NETWORK = """
name: star
defaults: {link: {delay: 1ms}}
nodes: {s: {kind: router}, i1: {}, i2: {}, c: {}}
links: [[s, i1], [s, i2], [s, c]]
"""
MB = 1 << 20
FUNCTIONS = {
    "quick": Function(name="quick", service_s=0.1, memory_bytes=256 * MB, concurrency=100),
    "other": Function(name="other", service_s=0.1, memory_bytes=256 * MB, concurrency=100),
    "single": Function(name="single", service_s=1.0, memory_bytes=256 * MB, concurrency=1),
    "slow": Function(name="slow", service_s=5.0, memory_bytes=256 * MB, time_limit_s=2.0, concurrency=9),
}


class Star:
    """The world, its agents, and short ways to ask them. ``invokers`` are those that are placed."""

    def __init__(
        self, server: Mapping[str, Any] | None = None, *, invokers: tuple[str, ...] = (),
        invoker: Mapping[str, Any] | None = None, seed: int = 1,
    ) -> None:  # fmt: skip
        self.world = World(parse(NETWORK, "star.yaml"), SYSTEM, seed, TwinOptions(messages="free"))
        self.places = {"server": ("s",), "invoker": invokers, "client": ("c",)}
        self.options = ServerOptions.model_validate(server or {})
        own = InvokerOptions.model_validate(invoker or {})
        self.agents: dict[str, Agent] = {name: self._agent(name, "invoker", own) for name in invokers}
        self.agents["s"] = self._agent("s", "server", self.options)
        self.client = self._agent("c", "client", ClientOptions())
        self._invoker_options = own

    def _agent(self, node: str, role: str, options: Any) -> Agent:
        return self.world.agent(self.world.site(node, role, self.places, FUNCTIONS), options)

    def run(self, story: Callable[[Star], Awaitable[T]]) -> T:
        """Start all and run ``story``."""

        async def whole() -> T:
            for agent in (*self.agents.values(), self.client):
                await self.world.start(agent)
            return await story(self)

        try:
            return self.world.run(whole())
        finally:
            self.world.close()

    async def again(self, node: str) -> None:
        """Kill an agent, and start another in its place."""
        role = self.agents[node].role_name
        self.world.kill(node, role)
        options = self.options if role == "server" else self._invoker_options
        self.agents[node] = self._agent(node, role, options)
        await self.world.start(self.agents[node])
        await self.sleep(0.1)  # the news of the death has come round

    @property
    def server(self) -> Any:
        """The server's role."""
        return self.world.agents["s", "server"].role

    async def sleep(self, seconds: float) -> None:
        await self.client.env.sleep(seconds)

    async def ask(self, verb: str, path: str, body: Any = None, timeout: float = 300.0) -> tuple[int, Any]:
        """Status and data of an answer; ``path`` is below /api/v1/namespaces/."""
        data = b"" if body is None else json.dumps(body).encode()
        request = WebRequest(verb, f"/api/v1/namespaces/{path}", (
            ("authorization", header(PUBLIC["guest"])), ("content-type", "application/json")), data)  # fmt: skip
        reply: WebReply = await self.client.env.call(self.client.site.endpoint("s", PORT), WEB, request, timeout)
        return reply.status, json.loads(reply.content)

    async def invoke(self, name: str, query: str = "blocking=true", **args: Any) -> Any:
        """The data of an invocation's answer."""
        return (await self.ask("POST", f"_/actions/{name}?{query}", args))[1]

    async def put(self, name: str, code: str, kind: str = "python:3", **more: Any) -> int:
        """Make or change an action; the answer's status."""
        body = {"exec": {"kind": kind, "code": code}, **more}
        return (await self.ask("PUT", f"_/actions/{name}?overwrite=true", body))[0]


def noted(record: Mapping[str, Any]) -> dict[str, Any]:
    """The annotations of a record."""
    return {each["key"]: each["value"] for each in record["annotations"]}


def times(record: Mapping[str, Any]) -> tuple[int, int | None, int]:
    """waitTime, initTime (None for a warm start) and duration of a record."""
    found = noted(record)
    return found["waitTime"], found.get("initTime"), record["duration"]
