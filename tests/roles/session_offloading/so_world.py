"""A tree of four locations in the twin: p1 (root) - p2 - p3, and p4 as second child of p2; a client at p3."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import so_note
import so_receiver
from so_asking import Checked

from roles.session_offloading.location import Location
from roles.session_offloading.options import ClientOptions, LocationOptions
from roles.session_offloading.records import Record
from roles.session_offloading.system import SYSTEM
from testbed.roles.api import Environment, Function
from testbed.roles.web import WEB, WebReply, WebRequest
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


class Tree:
    """The world, its agents, and short ways to ask them."""

    def __init__(
        self, options: Mapping[str, Any] | None = None, text: str = TREE, seed: int = 1,
        more: Mapping[str, Callable[..., Any]] | None = None, concurrency: int = 50,
    ) -> None:
        given: dict[str, Any] = {"tree": PARENTS, "levels": LEVELS, "functions": {"receiver": {"receives": True}}}
        self.options = LocationOptions.model_validate(given | dict(options or {}))
        found = {"note": so_note.code, "other": so_note.code, "receiver": so_receiver.code, **(more or {})}
        codes = Codes(found)
        self.world = World(parse(text, "tree.yaml"), SYSTEM, seed, TwinOptions(messages="free"), codes=codes)
        self.places = {"location": ("p1", "p2", "p3", "p4"), "client": ("c1",)}
        self.functions = {name: Function(name=name, code=f"{name}.py", concurrency=concurrency)
                          for name in found}  # fmt: skip
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

    # The way of checks.

    async def send(self, location: str, request: WebRequest) -> WebReply:
        """The answer of a location to the client's node."""
        return await self.env.call(self.client.site.endpoint(location, self.options.port), WEB, request, 60.0)

    def url(self, location: str) -> str:
        """``http://host:port`` of a location."""
        return f"http://{self.client.site.endpoint(location, self.options.port)}"

    def checked(self, session: str = "s") -> Checked:
        """To ask and look with."""
        return Checked(self, session)


Story = Callable[[Tree, Checked], Awaitable[None]]


def told(options: Mapping[str, Any], story: Story) -> None:
    """Play a story on a tree whose locations have these options."""

    async def whole(tree: Tree) -> None:
        await story(tree, tree.checked())

    Tree(options).run(whole)
