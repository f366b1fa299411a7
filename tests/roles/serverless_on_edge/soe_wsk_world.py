"""Two OpenWhisk servers behind an edge in the twin, and a client's node from which to ask all of them."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from roles.openwhisk.auth import PUBLIC, header
from roles.openwhisk.options import PORT
from roles.serverless_on_edge.messages import RUN_LAMBDA, ComputerInfo, LambdaRequest, LambdaResponse
from roles.serverless_on_edge.system import SYSTEM
from testbed.roles.api import Function, Invocation, Outcome
from testbed.roles.web import WEB, WebReply, WebRequest
from testbed.topology.load import parse
from testbed.twin.agent import Agent
from testbed.twin.options import TwinOptions
from testbed.twin.world import World

T = TypeVar("T")
NETWORK = """
name: edge
defaults: {link: {delay: 1ms}}
nodes: {r: {kind: router}, ctl: {}, k1: {}, k2: {}, ow1: {}, ow2: {}, w: {}, c: {}, p: {}}
links: [[ctl, r], [k1, r], [k2, r], [ow1, r], [ow2, r], [w, r], [c, r], [p, r]]
"""
PLACES = {"controller": ("ctl",), "router": ("r",), "edgecomputerwsk": ("k1", "k2"), "openwhisk": ("ow1", "ow2"),
          "computer": ("w",), "wskproxy": ("p",), "client": ("c",)}  # fmt: skip
FUNCTIONS = {"f": Function(name="f", service_s=0.1, concurrency=5)}
COPY = "def main(args):\n    return {'payload': args.get('input', '')}"
Settings = Mapping[str, Mapping[str, Any]]


class Edge:
    """The world, its agents, and short ways to ask them. ``settings`` are by role, or by node.

    Each of the two computers has a server of its own, unless its settings say otherwise.
    """

    def __init__(self, settings: Settings | None = None, functions: Mapping[str, Function] = FUNCTIONS) -> None:
        self.world = World(parse(NETWORK, "edge.yaml"), SYSTEM, 1, TwinOptions(messages="free"))
        own = {f"k{i}": {"wsk-api-root": f"http://ow{i}:{PORT}"} for i in (1, 2)}
        self._settings, self._own, self._functions = settings or {}, own, functions
        self.client = self.agent("c", "client")

    def agent(self, node: str, role: str) -> Agent:
        """An agent that is not started yet."""
        given = {**self._own.get(node, {}), **self._settings.get(role, {}), **self._settings.get(node, {})}
        options = SYSTEM.roles[role].parameters_model.model_validate(given)
        return self.world.agent(self.world.site(node, role, PLACES, self._functions), options)

    async def start(self, role: str, node: str) -> Any:
        """Start an agent, in the place of another if there is one; its role."""
        self.world.kill(node, role)
        agent = self.agent(node, role)
        await self.world.start(agent)
        return agent.role

    def run(self, story: Callable[[Edge], Awaitable[T]], *, started: bool = True) -> T:
        """Start all, or only the client, and run ``story``."""

        async def whole() -> T:
            await self.world.start(self.client)
            for role in ("openwhisk", "controller", "router", "computer", "edgecomputerwsk", "wskproxy"):
                for node in PLACES[role] if started else ():
                    await self.start(role, node)
            return await story(self)

        try:
            return self.world.run(whole())
        finally:
            self.world.close()

    def role(self, role: str, node: str) -> Any:
        """The role object of an agent that lives."""
        return self.world.agents[node, role].role

    async def sleep(self, seconds: float) -> None:
        await self.client.env.sleep(seconds)

    # Asking the servers.

    async def ask(self, node: str, verb: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and data of a server's answer; ``path`` is below /api/v1/namespaces/."""
        data = b"" if body is None else json.dumps(body).encode()
        request = WebRequest(verb, f"/api/v1/namespaces/{path}", (
            ("authorization", header(PUBLIC["guest"])), ("content-type", "application/json")), data)  # fmt: skip
        reply: WebReply = await self.client.env.call(self.client.site.endpoint(node, PORT), WEB, request, 60)
        return reply.status, json.loads(reply.content)

    async def put(self, node: str, name: str, code: str = COPY, kind: str = "python:3") -> None:
        """Make an action on a server."""
        body = {"exec": {"kind": kind, "code": code}}
        status, data = await self.ask(node, "PUT", f"_/actions/{name}?overwrite=true", body)
        assert status == 200, data

    # Asking the edge.

    async def call(self, name: str, data: Any = None, to: str = "r:6473", **more: Any) -> LambdaResponse:
        """The answer to a call; ``data`` is sent as JSON, a text as it is."""
        node, _, port = to.partition(":")
        text = data if isinstance(data, str) else "" if data is None else json.dumps(data)
        address = self.client.site.endpoint(node, int(port))
        return await self.client.env.call(address, RUN_LAMBDA, LambdaRequest(name, text, **more), 90)

    async def invoke(self, name: str, payload: str, timeout: float = 10.0) -> Outcome:
        """What the client of the experiment sees of an invocation."""
        role: Any = self.client.role
        outcome: Outcome = await role.invoke(self.client.env, Invocation(0, 0.0, "c", name, payload), timeout)
        return outcome

    def table(self, node: str = "r", number: int = 0) -> list[str]:
        """The entries of a router's table as ``function node``."""
        nodes = {self.world.topology.address(each): each for each in self.world.topology.nodes}
        keys = self.role("router", node).tables[number].weights()
        return sorted(f"{key.function} {nodes[key.destination.rpartition(':')[0]]}" for key in keys)

    def known(self) -> dict[str, tuple[str, ...]]:
        """What the controller knows of each computer."""
        installer = self.role("controller", "ctl").installer
        nodes = {self.world.topology.address(each): each for each in self.world.topology.nodes}
        return {nodes[at.rpartition(":")[0]]: found for at, found in installer.computers.items()}

    def announced(self, node: str) -> ComputerInfo:
        """What a computer announces."""
        info: ComputerInfo = self.role("edgecomputerwsk", node).information()
        return info


def result(reply: LambdaResponse) -> Any:
    """The whole result of an action."""
    return json.loads(reply.dataout)
