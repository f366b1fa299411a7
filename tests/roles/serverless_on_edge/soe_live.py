"""Agents of the system on loopback addresses, over real gRPC, in one process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from roles.serverless_on_edge.system import SYSTEM
from testbed.roles.api import CallFailed, Client, Function, FunctionResult, Invocation, Outcome, Role, Site
from testbed.roles.live import LiveEnvironment


class Upper:
    """Runs every function as upper-casing in a while; stands for worker processes, which have tests of their own."""

    async def run(
        self, function: Function, payload: str, answer: object = None, workers: int | None = None
    ) -> FunctionResult:
        await asyncio.sleep(0.05)
        if payload == "boom":
            return FunctionResult("", "exception", "ValueError: boom")
        return FunctionResult(payload.upper(), exec_s=0.05)

    async def close(self) -> None:
        pass


class Loopback:
    """Nodes h0, h1, ... at 127.x.y.1, 127.x.y.2, ...; a fresh net for each test, so that ports are free."""

    def __init__(self, folder: Path, net: str, functions: dict[str, Function], **places: str) -> None:
        self.folder, self.functions = folder, functions
        self.addresses = {f"h{i}": f"{net}.{i + 1}" for i in range(8)}
        self.places = {role: tuple(nodes.split()) for role, nodes in places.items()}
        self.agents: dict[tuple[str, str], tuple[Role, LiveEnvironment]] = {}

    async def start(self, role: str, node: str, **parameters: Any) -> Any:
        site = Site(node, role, 1, self.addresses, self.places, self.functions, dict.fromkeys(self.addresses, 1))
        kind = SYSTEM.roles[role]
        options = {name.replace("_", "-"): value for name, value in parameters.items()}
        made = kind(site, kind.parameters_model.model_validate(options))
        folder = self.folder / f"{node}-{role}"
        folder.mkdir(exist_ok=True)
        env = LiveEnvironment(site, SYSTEM.wire_of(made, folder), folder, SYSTEM.tables, functions=Upper())
        self.agents[role, node] = made, env
        await made.start(env)
        return made

    async def kill(self, role: str, node: str) -> None:
        """End an agent without a word to the others."""
        await self.agents.pop((role, node))[1].close()

    async def invoke(self, node: str, function: str, payload: str, timeout: float = 20) -> Outcome:
        client, env = self.agents["client", node]
        assert isinstance(client, Client)
        return await client.invoke(env, Invocation(0, 0.0, node, function, payload), timeout)

    async def close(self) -> None:
        for _, env in self.agents.values():
            await env.close()
            if env.failed.done() and not env.failed.cancelled():
                env.failed.result()


@asynccontextmanager
async def loopback(folder: Path, net: str, functions: dict[str, Function], **places: str) -> AsyncIterator[Loopback]:
    """A net that is closed at the end."""
    net_ = Loopback(folder, net, functions, **places)
    try:
        yield net_
    finally:
        await net_.close()


async def until(question: Callable[[], Awaitable[Any]], wanted: Callable[[Any], bool], seconds: float = 20) -> Any:
    """Ask until the answer is as wanted; fails with the last answer."""
    deadline, last = time.monotonic() + seconds, None
    while time.monotonic() < deadline:
        try:
            last = await question()
        except CallFailed as failure:
            last = failure
        if wanted(last):
            return last
        await asyncio.sleep(0.05)
    raise AssertionError(f"not within {seconds} s; the last answer was {last}")
