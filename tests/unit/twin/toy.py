"""A small system for the tests of the twin: servers that answer after a while, count, stream, and fail."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from testbed.roles.api import (
    Client,
    Duty,
    Environment,
    Invocation,
    Method,
    Outcome,
    Parameters,
    Role,
    Service,
    System,
    Wire,
)
from testbed.tables import Column, Table
from testbed.topology.load import parse
from testbed.topology.model import Topology
from testbed.twin.agent import Agent
from testbed.twin.options import TwinOptions
from testbed.twin.world import World

PORT = 9000


@dataclass(frozen=True)
class Ask:
    """Please answer after ``after`` seconds."""

    text: str
    after: float = 0.0


@dataclass(frozen=True)
class Told:
    """The answer."""

    text: str


ASK: Method[Ask, Told] = Method("ask", Ask, Told)
FAIL: Method[Ask, Told] = Method("fail", Ask, Told)
TICKS: Method[Ask, Told] = Method("ticks", Ask, Told, streams=True)
NOTES = Table("notes", "What was asked.", (Column("t", "number", "s", "When."), Column("text", "text", "", "What.")))


class PlainWire:
    """JSON, and nothing beside it."""

    def encode(self, message: Any) -> bytes:
        return json.dumps(asdict(message)).encode()

    def decode(self, kind: type[Any], data: bytes) -> Any:
        return kind(**json.loads(data))

    def framing(self, method: Method[Any, Any], *, reply: bool) -> int:
        return 0

    async def serve(self, host: str, port: int, service: Service) -> None:
        raise AssertionError("the twin never serves on a wire")

    async def call(self, address: str, method: Any, message: Any, timeout: float) -> Any:
        raise AssertionError("the twin never calls on a wire")

    def stream(self, address: str, method: Any, message: Any) -> AsyncIterator[Any]:
        raise AssertionError("the twin never streams on a wire")

    async def close(self) -> None:
        """Nothing was open."""


class Server(Role):
    """Answers after the time that it is asked to take."""

    asked = 0

    async def start(self, env: Environment) -> None:
        self.env = env
        await env.serve(PORT, {ASK: self.answer, FAIL: self.fail, TICKS: self.ticks})

    async def answer(self, request: Ask) -> Told:
        self.asked += 1
        self.env.emit("notes", {"t": self.env.now(), "text": request.text})
        await self.env.sleep(request.after)
        return Told(request.text.upper())

    async def fail(self, request: Ask) -> Told:
        raise ValueError("no such thing")

    async def ticks(self, request: Ask) -> AsyncIterator[Told]:
        number = 0
        while number < 100:
            yield Told(str(number))
            number += 1
            await self.env.sleep(1.0)


class Caller(Client):
    """Asks the nearest server."""

    async def invoke(self, env: Environment, invocation: Invocation, timeout: float) -> Outcome:
        at = self.site.endpoint(self.site.places["server"][0], PORT)
        answer = await env.call(at, ASK, Ask(invocation.payload), timeout)
        return Outcome("ok", output=answer.text)


class Toy(System):
    """Servers and callers."""

    name: ClassVar[str] = "toy"
    roles: ClassVar[Mapping[str, type[Role]]] = {"server": Server, "caller": Caller}
    duties: ClassVar[Mapping[Duty, str]] = {"worker": "server", "client": "caller"}
    tables: ClassVar[tuple[Table, ...]] = (NOTES,)

    def wire(self) -> Wire:
        return PlainWire()


TWO = """
name: two
nodes: {a: {}, b: {}}
links: [{name: ab, ends: [a, b], delay: 10ms}]
"""


def topology(text: str = TWO) -> Topology:
    """The network of a test."""
    return parse(text, "test.yaml")


def world(text: str = TWO, **options: Any) -> World:
    """A world in which messages cost nothing but the delay, unless ``options`` say otherwise."""
    return World(topology(text), Toy(), 1, TwinOptions(**{"messages": "free", **options}))


def placed(made: World, **roles: str) -> dict[str, Agent]:
    """``placed(w, server="b", caller="a")``: an agent on each of these nodes, by node."""
    places = {role: tuple(nodes.split()) for role, nodes in roles.items()}
    return {
        node: made.agent(made.site(node, role, places, {}), Parameters())
        for role, nodes in places.items()
        for node in nodes
    }
