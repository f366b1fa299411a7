"""The Environment in the twin: what a role sees of the world, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from testbed import seeds
from testbed.roles.api import (
    Answer,
    CallFailed,
    Container,
    Files,
    Function,
    FunctionResult,
    Journal,
    Method,
    Service,
)
from testbed.tables import Row
from testbed.twin.channel import Call, Channel, Patience, Subscription

if TYPE_CHECKING:
    from testbed.twin.agent import Agent
    from testbed.twin.world import World

Request = TypeVar("Request")
Reply = TypeVar("Reply")


class TwinEnvironment:
    """The world of one agent. Whoever calls it after the agent's death waits for ever: the dead do nothing."""

    def __init__(self, world: World, agent: Agent) -> None:
        self.node = agent.node
        self._world, self._agent, self._loop, self._wire = world, agent, world.loop, agent.wire
        self._streams: dict[str, random.Random] = {}
        self._channels: dict[str, Channel] = {}
        self._passing: dict[Channel, None] = {}  # of one exchange each
        self._patience: dict[float, Patience] = {}

    def now(self) -> float:
        """Virtual seconds."""
        return self._loop.now

    def wall(self) -> float:
        """Seconds since 1970: the twin's time begins on the same day in each run."""
        return self._world.calendar(self.node)

    def sleep(self, seconds: float) -> Any:
        """Wait; a negative time counts as none. All that is ready at this moment goes first."""
        return self._loop.sleep(seconds) if self._agent.alive else self._world.grave()

    def rng(self, name: str) -> random.Random:
        """The random stream ``name`` of this node and role: the same draws as in the live world."""
        if name not in self._streams:
            self._streams[name] = seeds.stream(self._agent.site.seed, self.node, self._agent.role_name, name)
        return self._streams[name]

    async def serve(self, port: int, service: Service) -> None:
        """Answer these methods on ``port`` of this node's own address; raises OSError if it is taken."""
        self._world.listen(self._agent, port, service)

    async def call(
        self, address: str, method: Method[Request, Reply], message: Request, timeout: float = 10.0
    ) -> Reply:
        """Call a method at ``host:port``; raises CallFailed when no answer came within ``timeout`` seconds."""
        if not self._agent.alive:
            await self._world.grave()
        lasting = getattr(message, "lasting", True)
        channel = (self._channels.get(address) if lasting else None) or self._channel(address, lasting)
        future: asyncio.Future[bytes] = asyncio.Future(loop=self._loop)
        exchange = Call(method, self._wire.encode(message), future, address, timeout)
        patience = self._patience.get(timeout)
        if patience is None:
            patience = self._patience[timeout] = Patience(self._loop, timeout)
        patience.begin(exchange)
        channel.submit(exchange)
        try:
            data = await future
        finally:
            channel.under_way.pop(exchange, None)
            if not lasting:
                self._passing.pop(channel, None)
                channel.broken("its one exchange is over")
        reply: Reply = self._wire.decode(method.reply, data)
        return reply

    def _channel(self, address: str, lasting: bool = True) -> Channel:
        server = self._world.node_at(address)
        if server is None:
            raise CallFailed("unreachable", f"no route to {address}")
        channel = Channel(self._world, self._agent, address, server)
        if lasting:
            self._channels[address] = channel
        else:
            self._passing[channel] = None
        return channel

    async def stream(self, address: str, method: Method[Request, Reply], message: Request) -> AsyncIterator[Reply]:
        """The messages of a streaming method; raises CallFailed when it breaks."""
        if not self._agent.alive:
            await self._world.grave()
        channel = self._channels.get(address) or self._channel(address)
        exchange = Subscription(method, self._wire.encode(message))
        channel.submit(exchange)
        try:
            while True:
                data = await exchange.arrived.get()
                if isinstance(data, CallFailed):
                    raise data
                yield self._wire.decode(method.reply, data)
        finally:
            channel.cancel(exchange)

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run ``coroutine`` beside the role; an error in it ends the agent with that error."""
        if self._agent.alive:
            self._agent.begin(coroutine)
        else:
            coroutine.close()

    async def run_function(
        self, name: str, payload: str, answer: Answer | None = None, workers: int | None = None
    ) -> FunctionResult:
        """Run a real function, whose time is reckoned; ``answer`` gets what it asks as it begins, and may not wait."""
        return await self._agent.functions.run(self._agent.site.functions[name], payload, answer, workers)

    async def container(
        self,
        function: Function,
        storage_bytes: int,
        *,
        write_rate: float | None = None,
        read_rate: float | None = None,
    ) -> Container:
        """Start a worker for ``function`` with a private folder of ``storage_bytes``, which exists as a number."""
        return await self._agent.functions.container(function, storage_bytes, write_rate, read_rate)

    def files(self, name: str, read_rate: float | None = None, write_rate: float | None = None) -> Files:
        """The agent's disk called ``name``: names and sizes."""
        return self._agent.disk(name, read_rate, write_rate)

    def journal(self, name: str) -> Journal:
        """The journal ``name`` of this node and role, which outlives the agent."""
        return self._world.journal(self._agent, name)

    def emit(self, table: str, row: Row) -> None:
        """Append a row to one of the system's tables; raises ValueError for an unknown table or column."""
        if self._agent.alive:
            self._agent.emit(table, row)

    def hang_up(self) -> None:
        """End all connections that this agent opened, without a word to its own calls."""
        for channel in (*self._channels.values(), *self._passing):
            channel.broken("this agent ended")
        self._channels.clear()
        self._passing.clear()
