"""Agents of the service on loopback addresses, over real HTTP and real files, in one process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from roles.serverless_compute.system import SYSTEM
from testbed.roles.api import Function, Role, Site
from testbed.roles.live import LiveEnvironment

NODES = ("r", "h", "n1", "n2", "c")


class Loopback:
    """Nodes at NET.1, NET.2, ...; each test has a net of its own, so that ports are free."""

    def __init__(self, folder: Path, net: str, *functions: Function) -> None:
        self.folder, self.functions = folder, {each.name: each for each in functions}
        self.addresses = {node: f"{net}.{number}" for number, node in enumerate(NODES, 1)}
        self.places = {"registry": ("r",), "head": ("h",), "node": ("n1",), "client": ("c",)}
        self.agents: dict[str, tuple[Role, LiveEnvironment]] = {}

    async def start(self, role: str, node: str, **parameters: Any) -> Any:
        """Start an agent."""
        site = Site(node, role, 1, self.addresses, self.places, self.functions, dict.fromkeys(self.addresses, 1))
        kind = SYSTEM.roles[role]
        made = kind(site, kind.parameters_model.model_validate(parameters))
        folder = self.folder / node
        folder.mkdir(exist_ok=True)
        env = LiveEnvironment(site, SYSTEM.wire(), folder, SYSTEM.tables)
        self.agents[node] = made, env
        await made.start(env)
        return made

    async def kill(self, node: str) -> None:
        """End an agent without a word to the others."""
        await self.agents.pop(node)[1].close()

    async def close(self) -> None:
        """End all agents."""
        for node in list(self.agents):
            await self.kill(node)


@asynccontextmanager
async def service(folder: Path, net: str, *functions: Function, **head: Any) -> AsyncIterator[Loopback]:
    """A registry, a head, a node and a client."""
    world = Loopback(folder, net, *functions)
    try:
        await world.start("registry", "r")
        await world.start("head", "h", **head)
        await world.start("node", "n1", slots=2, heartbeat="100ms")
        await world.start("client", "c")
        yield world
    finally:
        await world.close()
