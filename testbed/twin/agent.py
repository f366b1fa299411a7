"""An agent in the twin: one role, alive on one node, with the tasks, servers and tables that die with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context, ContextVar, copy_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testbed import seeds
from testbed.roles.api import Handler, Method, Role, Service, Site, StreamHandler
from testbed.roles.live import TableFile
from testbed.tables import Row
from testbed.twin.channel import Channel, Exchange
from testbed.twin.disk import TwinFiles
from testbed.twin.environment import TwinEnvironment
from testbed.twin.functions import Functions
from testbed.twin.handles import Task

if TYPE_CHECKING:
    from testbed.twin.world import World

FLUSH_ROWS = 1000
CURRENT: ContextVar[Agent | None] = ContextVar("agent", default=None)


class Agent:
    """``busy_s`` is the time for which messages have kept it busy so far; ``started`` when it was ready.

    ``takes_time``: whether messages to it meet anything but the network.
    """

    def __init__(self, world: World, site: Site, role: Role, folder: Path | None) -> None:
        self.world, self.site, self.role, self.folder = world, site, role, folder
        self.node, self.role_name = site.node, site.role
        self.wire = world.system.wire_of(role, None)
        self.alive, self.started, self.busy_s = True, world.loop.now, 0.0
        self.accepted: dict[Channel, None] = {}
        self.functions = Functions(world, self)
        self.env = TwinEnvironment(world, self)
        self._busy_until = 0.0
        self._message_s = world.calibration.busy_s.get(site.role, 0.0) / min(1.0, site.cores or 1.0)
        self._call_s = world.calibration.call_s if max(world.calibration.call_s.at) > 0 else None
        self.takes_time = self._message_s > 0 or self._call_s is not None
        self._rng = seeds.stream(site.seed, site.node, site.role, "machine")
        self._disks: dict[str, TwinFiles] = {}
        self._tables: dict[str, TableFile] = {}
        self._rows = 0
        self._counts: dict[str, int] = {}
        self._tasks: list[asyncio.Task[Any]] = []
        self._purge_at = 64
        self.context: Context = copy_context()
        self.context.run(CURRENT.set, self)

    # Tasks.

    def begin(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine as a task of this agent; an error in it ends the agent."""
        task = self.world.loop.create_task(coroutine, context=self.context)
        task.add_done_callback(self._ended, context=self.context)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None and self.alive:
            self.world.agent_failed(self, error)

    def owns(self, task: asyncio.Task[Any]) -> None:
        """Note a task that was made in this agent's context, so that it dies with the agent."""
        self._tasks.append(task)
        if len(self._tasks) > self._purge_at:
            self._tasks = [each for each in self._tasks if not each.done()]
            self._purge_at = 2 * len(self._tasks) + 64

    # Messages.

    def take_in(self, extra: float, callback: Callable[..., None], *args: Any) -> None:
        """A message arrived: handle it when the agent comes to it, ``extra`` seconds later than that."""
        if not self.alive:
            return
        loop, cost = self.world.loop, self._message_s
        if cost:
            self.busy_s += cost
            self._busy_until = max(loop.now, self._busy_until) + cost
            loop.at(self._busy_until + extra, callback, *args)
        elif extra:
            loop.at(loop.now + extra, callback, *args)
        else:
            callback(*args)

    def lag(self) -> float:
        """What a call takes beside network, functions and the agents' own work: drawn for each."""
        return self._call_s.draw(self._rng) if self._call_s is not None else 0.0

    # Resources.

    def disk(self, name: str, read_rate: float | None, write_rate: float | None) -> TwinFiles:
        """The agent's disk called ``name``; made at the first question."""
        if name not in self._disks:
            self._disks[name] = TwinFiles(self.world, self, read_rate, write_rate)
        return self._disks[name]

    def count(self, function: str) -> int:
        """The number of this invocation of a function here, from 0."""
        number = self._counts.get(function, 0)
        self._counts[function] = number + 1
        return number

    def emit(self, table: str, row: Row) -> None:
        """Append a row to a table of the system; ValueError for an unknown table or column."""
        if table not in self._tables:
            known = {each.name: each for each in self.world.system.tables}
            if table not in known:
                raise ValueError(f"The system declares no table {table!r}; it declares {', '.join(known) or 'none'}.")
            if self.folder is None:
                return
            self._tables[table] = TableFile(self.folder, known[table])
        self._tables[table].add(row)
        self._rows += 1
        if self._rows >= FLUSH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write all rows that wait."""
        self._rows = 0
        for table in self._tables.values():
            table.flush()

    # The end.

    def die(self) -> None:
        """Gone at this moment, with all its tasks; callers and callees hear it when the news has travelled."""
        self.flush()
        self.alive = False
        tasks, self._tasks = self._tasks, []
        for channel in self.accepted:
            channel.reset_soon()
        for disk in self._disks.values():
            disk.vanish()
        self.env.hang_up()
        for task in tasks:
            task.cancel()
        self.functions.close()


class Listener:
    """A port on which an agent answers."""

    def __init__(self, agent: Agent, service: Service) -> None:
        self.agent = agent
        self._handlers: Mapping[str, Handler | StreamHandler] = {method.name: each for method, each in service.items()}

    def handle(self, exchange: Exchange, channel: Channel, life: int) -> None:
        """Answer a request that has come in, in a task of the agent's own."""
        if not self.agent.alive:
            return  # it waited for its turn when the agent died
        handler: Any = self._handlers.get(exchange.method.name)
        if handler is None:
            channel.refuse(exchange, "protocol", f"{exchange.method.name} is not served here", life)
            return
        answer = self._stream if exchange.method.streams else self._answer
        work = answer(handler, exchange, channel, life)
        loop = self.agent.world.loop
        exchange.work = task = Task(loop.number(), work, loop, None, self.agent.context)
        self.agent.owns(task)

    async def _answer(self, handler: Handler, exchange: Exchange, channel: Channel, life: int) -> None:
        wire, method = self.agent.wire, exchange.method
        try:
            data = wire.encode(await handler(wire.decode(method.request, exchange.data)))
        except Exception as error:  # noqa: BLE001 - as on a real wire, the caller is told
            channel.refuse(exchange, "protocol", f"{type(error).__name__}: {error}", life)
        else:
            channel.answer(exchange, data, life)

    async def _stream(self, handler: StreamHandler, exchange: Exchange, channel: Channel, life: int) -> None:
        wire: Any = self.agent.wire
        method: Method[Any, Any] = exchange.method
        try:
            async for message in handler(wire.decode(method.request, exchange.data)):
                channel.answer(exchange, wire.encode(message), life)
        except Exception as error:  # noqa: BLE001 - as on a real wire, the caller is told
            channel.refuse(exchange, "protocol", f"{type(error).__name__}: {error}", life)
        else:
            channel.refuse(exchange, "unreachable", "the stream ended", life)
