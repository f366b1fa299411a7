"""An Environment in memory and in virtual time: agents of one system that call each other without a socket or a clock.

Every message is encoded and decoded on its way, so that what the wire cannot carry does not pass here either.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from roles.serverless_on_edge.edge_wire import EdgeWire
from roles.serverless_on_edge.system import SYSTEM
from testbed import seeds
from testbed.roles.api import CallFailed, Function, FunctionResult, Method, Role, Service, Site
from testbed.tables import Row
from testbed.twin.loop import VirtualLoop

T = TypeVar("T")
Request = TypeVar("Request")
Reply = TypeVar("Reply")


class World:
    """All agents of a test. ``latency`` is one-way, in seconds; what ran on a node that was stopped is gone."""

    def __init__(self, nodes: int = 8, functions: Mapping[str, Function] | None = None, latency: float = 0.001) -> None:
        self.addresses = {f"h{i}": f"10.0.0.{i}" for i in range(nodes)}
        self.functions, self.latency = dict(functions or {}), latency
        self.places: dict[str, tuple[str, ...]] = {}
        self.services: dict[str, Service] = {}
        self.lives: dict[str, int] = defaultdict(int)
        self.graves: list[asyncio.Future[None]] = []
        self.calls: list[tuple[str, str, str, Any]] = []
        self.rows: dict[str, list[Row]] = defaultdict(list)
        self.code: dict[str, Callable[[str], Coroutine[Any, Any, FunctionResult]]] = {}
        self.errors: list[BaseException] = []
        self.codec = EdgeWire()
        self.header = {table.name: set(table.header) for table in SYSTEM.tables}

    def site(self, node: str, role: str) -> Site:
        hops = {other: abs(int(other[1:]) - int(node[1:])) for other in self.addresses}
        return Site(node, role, 1, self.addresses, self.places, self.functions, hops)

    def place(self, **roles: str) -> World:
        """``place(router="h1 h2")``: who is where."""
        self.places = {role: tuple(nodes.split()) for role, nodes in roles.items()}
        return self

    async def start(self, role: str, node: str, **parameters: Any) -> Any:
        """Start an agent; returns its role object, with ``env`` set."""
        kind = SYSTEM.roles[role]
        options = {name.replace("_", "-"): value for name, value in parameters.items()}
        made: Role = kind(self.site(node, role), kind.parameters_model.model_validate(options))
        env = WorldEnvironment(self, node, role)
        made.env = env  # type: ignore[attr-defined]
        await made.start(env)
        return made

    def stop(self, node: str) -> None:
        """A node dies: its servers and everything that runs on it are gone."""
        own = self.addresses[node] + ":"
        self.services = {at: each for at, each in self.services.items() if not at.startswith(own)}
        self.lives[node] += 1

    def of(self, method: Method[Any, Any], by: str = "") -> list[Any]:
        """The messages of all calls of a method so far, or of those by one node."""
        return [message for caller, _, name, message in self.calls if name == method.name and by in ("", caller)]

    def run(self, story: Coroutine[Any, Any, T]) -> T:
        """Tell a story in virtual time; an error in any agent is the story's."""

        async def whole() -> T:
            try:
                return await asyncio.wait_for(story, 100_000)
            finally:
                for task in asyncio.all_tasks() - {asyncio.current_task()}:
                    task.cancel()
                    with suppress(asyncio.CancelledError):
                        await task

        result = VirtualLoop(start=100.0).run(whole())
        for error in self.errors:
            raise error
        return result


class WorldEnvironment:
    """One agent's view of a World."""

    def __init__(self, world: World, node: str, role: str) -> None:
        self.world, self.node, self._role = world, node, role
        self._life = world.lives[node]
        self._streams: dict[str, random.Random] = {}

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def wall(self) -> float:
        return 1_700_000_000.0 + self.now()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))
        await self._alive()

    async def _alive(self) -> None:
        if self.world.lives[self.node] != self._life:
            self.world.graves.append(asyncio.get_running_loop().create_future())
            await self.world.graves[-1]  # the dead do not wake up

    def rng(self, name: str) -> random.Random:
        if name not in self._streams:
            self._streams[name] = seeds.stream(1, self.node, self._role, name)
        return self._streams[name]

    async def serve(self, port: int, service: Service) -> None:
        address = f"{self.world.addresses[self.node]}:{port}"
        if address in self.world.services:
            raise OSError(f"{address} is taken")
        self.world.services[address] = service

    async def call(self, address: str, method: Method[Request, Reply], message: Request, timeout: float = 10) -> Reply:
        await self._alive()
        self.world.calls.append((self.node, address, method.name, message))
        try:
            return await asyncio.wait_for(self._call(address, method, message), timeout)
        except TimeoutError as error:
            raise CallFailed("timeout", f"{address} did not answer in {timeout:g} s") from error

    async def _call(self, address: str, method: Method[Request, Reply], message: Request) -> Reply:
        world = self.world
        await asyncio.sleep(world.latency)
        service = world.services.get(address, {})
        handler: Any = {m.name: h for m, h in service.items()}.get(method.name)
        if handler is None:
            raise CallFailed("unreachable", f"nobody answers at {address}")
        received = world.codec.decode(method.request, world.codec.encode(message))
        work = asyncio.ensure_future(handler(received))
        while not work.done():
            await asyncio.wait({work}, timeout=0.5)
            if world.services.get(address) is not service:
                raise CallFailed("unreachable", f"{address} went away")
        reply: Reply = world.codec.decode(method.reply, world.codec.encode(work.result()))
        await asyncio.sleep(world.latency)
        return reply

    async def stream(self, address: str, method: Method[Request, Reply], message: Request) -> AsyncIterator[Reply]:
        handler: Any = self.world.services[address][method]
        async for reply in handler(message):
            yield self.world.codec.decode(method.reply, self.world.codec.encode(reply))

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(coroutine)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            self.world.errors.append(error)

    async def run_function(self, name: str, payload: str, answer: object = None) -> FunctionResult:
        return await self.world.code[name](payload)

    def emit(self, table: str, row: Row) -> None:
        assert row.keys() <= self.world.header[table], f"{table} has no {row.keys() - self.world.header[table]}"
        self.world.rows[table].append(row)
