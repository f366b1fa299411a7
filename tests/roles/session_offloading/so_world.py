"""A tree of four locations in the twin: p1 (root) - p2 - p3, and p4 as second child of p2; a client at p3."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlencode

from roles.session_offloading.location import Location
from roles.session_offloading.messages import MANAGER, SESSION
from roles.session_offloading.offloadable import Offloadable, Request, Response
from roles.session_offloading.options import ClientOptions, LocationOptions
from roles.session_offloading.records import Record
from roles.session_offloading.system import SYSTEM
from testbed.roles.api import Environment, Function
from testbed.roles.web import WEB, WebReply, WebRequest, fields
from testbed.topology.load import parse
from testbed.twin.agent import Agent
from testbed.twin.functions import Codes
from testbed.twin.options import TwinOptions
from testbed.twin.world import World

T = TypeVar("T")
TREE = """
name: tree
defaults: {link: {delay: 5ms}}
nodes: {p1: &r {kind: router}, p2: *r, p3: *r, p4: *r, c1: {}}
links: [[p1, p2], [p2, p3], [p2, p4], [p3, c1]]
"""
PARENTS = {"p2": "p1", "p3": "p2", "p4": "p2"}
LEVELS = ("country", "city", "district")


class Note(Offloadable):
    """What tests want of a session: the body is a JSON list of operations, the answer what each gave."""

    def handle_offload(self, request: Request) -> Response:
        """Carry the operations out, one by one."""
        given = []
        for operation in json.loads(request.body or "[]"):
            word, *words = operation
            given.append(getattr(self, f"do_{word}", getattr(self.edge_db, word, None))(*words))  # type: ignore[misc]
        return Response(json.dumps(given))

    def do_sleep(self, seconds: float) -> None:
        """Take time."""
        self.ctx.sleep(seconds)  # type: ignore[attr-defined]

    def do_fail(self) -> None:
        """Go wrong."""
        raise RuntimeError("as asked")


def note(ctx: Any, payload: str) -> str:
    """The function ``note``."""
    return Note(ctx).serve(payload)


class Receiver(Offloadable):
    """Keeps what it is told."""

    def handle_offload(self, request: Request) -> Response:
        """Append the value."""
        self.edge_db.add_to_list("told", request.body)
        return Response(json.dumps(self.edge_db.get_list("told")))


def receiver(ctx: Any, payload: str) -> str:
    """The function ``receiver``."""
    return Receiver(ctx).serve(payload)


class Tree:
    """The world, its agents, and short ways to ask them."""

    def __init__(self, options: Mapping[str, Any] | None = None, text: str = TREE, seed: int = 1) -> None:
        given: dict[str, Any] = {"tree": PARENTS, "levels": LEVELS, "functions": {"receiver": {"receives": True}}}
        self.options = LocationOptions.model_validate(given | dict(options or {}))
        codes = Codes({"note": note, "other": note, "receiver": receiver})
        self.world = World(parse(text, "tree.yaml"), SYSTEM, seed, TwinOptions(messages="free"), codes=codes)
        self.places = {"location": ("p1", "p2", "p3", "p4"), "client": ("c1",)}
        self.functions = {name: Function(name=name, code=f"{name}.py", concurrency=50)
                          for name in ("note", "other", "receiver")}  # fmt: skip
        self.functions["heavy"] = Function(name="heavy", service_s=0.2)
        self.agents: dict[str, Agent] = {}
        for name in self.places["location"]:
            self.agents[name] = self.world.agent(self._site(name, "location"), self.options)
        self.client = self.world.agent(self._site("c1", "client"), ClientOptions())

    def _site(self, node: str, role: str) -> Any:
        return self.world.site(node, role, self.places, self.functions)

    def run(self, story: Callable[[Tree], Awaitable[T]]) -> T:
        """Start all and run ``story``."""

        async def whole() -> T:
            for agent in (*self.agents.values(), self.client):
                await self.world.start(agent)
            return await story(self)

        try:
            return self.world.run(whole())
        finally:
            self.world.close()

    @property
    def env(self) -> Environment:
        """The client's world."""
        return self.client.env

    def location(self, name: str) -> Location:
        """The role at a location."""
        role = self.world.agents[name, "location"].role
        assert isinstance(role, Location)
        return role

    def record(self, name: str, session: str = "s") -> Record | None:
        """What a location knows of a session."""
        return self.location(name).book.records.get(session)

    def state(self, session: str = "s") -> dict[str, str]:
        """For each location that knows the session: where it says that it is, with a star where the data are."""
        found = {name: self.record(name, session) for name in self.agents}
        return {name: each.token.current + "*" * each.here for name, each in found.items() if each}

    async def call(
        self, name: str, *operations: Any, session: str = "s", function: str = "note", verb: str = "POST",
        query: str = "", timeout: float = 10.0, **headers: str,
    ) -> WebReply:
        """Call a function at a location; nothing is followed."""
        body = json.dumps(operations).encode() if operations else b""
        known = fields({SESSION: session, **{key.replace("_", "-"): value for key, value in headers.items()}})
        target = f"/function/{function}" + (f"?{query}" if query else "")
        address = self.client.site.endpoint(name, self.options.port)
        return await self.env.call(address, WEB, WebRequest(verb, target, known, body), timeout)

    async def values(self, name: str, *operations: Any, **more: Any) -> Any:
        """What the operations gave."""
        reply = await self.call(name, *operations, **more)
        assert reply.status == 200, (reply.status, reply.text)
        return json.loads(reply.text)

    async def command(
        self, name: str, command: str, body: Any = b"", verb: str = "POST", headers: Mapping[str, str] | None = None,
        timeout: float = 30.0, **query: str,
    ) -> WebReply:
        """Give a command to a location."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        target = f"/function/{MANAGER}?{urlencode({'command': command, **query})}"
        address = self.client.site.endpoint(name, self.options.port)
        return await self.env.call(address, WEB, WebRequest(verb, target, fields(headers or {}), data), timeout)
