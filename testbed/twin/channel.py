"""One agent's lasting connection to one address: what calls and streams travel on in the twin."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Any, Literal

from testbed.roles.api import CallFailed, Method
from testbed.twin.transport import Connection

if TYPE_CHECKING:
    from testbed.twin.agent import Agent
    from testbed.twin.loop import VirtualLoop
    from testbed.twin.tcp_sender import Sender
    from testbed.twin.world import World

Kind = Literal["unreachable", "timeout", "protocol"]


class Exchange(ABC):
    """A request under way. ``work`` is the task of the agent that answers it."""

    __slots__ = ("data", "method", "work")

    def __init__(self, method: Method[Any, Any], data: bytes) -> None:
        self.method, self.data = method, data
        self.work: asyncio.Task[None] | None = None

    @abstractmethod
    def told(self, data: bytes) -> None:
        """An answer is here."""

    @abstractmethod
    def failed(self, kind: Kind, why: str) -> None:
        """There will be none, or none any more."""

    def end(self) -> None:
        """Nobody wants its answers any longer: the work on it ends."""
        if self.work is not None:
            self.work.cancel()


class Call(Exchange):
    """A request that wants one answer, into ``future``, within ``timeout`` seconds."""

    __slots__ = ("address", "due", "future", "number", "timeout")

    due: tuple[float, int]  # when it expires, and the place of that among the loop's timers

    def __init__(
        self, method: Method[Any, Any], data: bytes, future: asyncio.Future[bytes], address: str, timeout: float
    ) -> None:
        self.method, self.data, self.work = method, data, None
        self.future, self.address, self.timeout = future, address, timeout

    def told(self, data: bytes) -> None:
        """Give it to whoever waits."""
        if not self.future.done():
            self.future.set_result(data)

    def failed(self, kind: Kind, why: str) -> None:
        """Raise it where somebody waits."""
        if not self.future.done():
            self.future.set_exception(CallFailed(kind, why))

    def expire(self) -> None:
        """Its time is over."""
        self.failed("timeout", f"{self.address} did not answer within {self.timeout:g} s")


class Patience:
    """Ends calls that all wait for ``seconds``: one timer, that of the first, does for all of them.

    Each call has its place in the order of the loop's timers as if it had a timer of its own.
    """

    def __init__(self, loop: VirtualLoop, seconds: float) -> None:
        self._loop, self._seconds = loop, seconds
        self._calls: deque[Call] = deque()  # the first to expire first
        self._is_set = False

    def begin(self, call: Call) -> None:
        """From now on ``call`` has so many seconds."""
        calls, loop = self._calls, self._loop
        call.due = loop.now + self._seconds, loop.number()
        while calls and calls[0].future.done():
            calls.popleft()
        calls.append(call)
        if not self._is_set:
            self._set()

    def _set(self) -> None:
        calls = self._calls
        while calls and calls[0].future.done():
            calls.popleft()
        self._is_set = bool(calls)
        if calls:
            when, number = calls[0].due
            self._loop.at_place(when, number, self._strike, when, number)

    def _strike(self, when: float, number: int) -> None:
        calls = self._calls
        if calls and calls[0].due == (when, number):
            calls.popleft().expire()
        self._set()


class Subscription(Exchange):
    """A request for a stream: all that comes, and at last why no more does."""

    __slots__ = ("arrived",)

    def __init__(self, method: Method[Any, Any], data: bytes) -> None:
        super().__init__(method, data)
        self.arrived: asyncio.Queue[bytes | CallFailed] = asyncio.Queue()

    def told(self, data: bytes) -> None:
        """Keep it for the reader."""
        self.arrived.put_nowait(data)

    def failed(self, kind: Kind, why: str) -> None:
        """Tell the reader after all that came before."""
        self.arrived.put_nowait(CallFailed(kind, why))


class Channel:
    """From ``agent`` to ``address``; opened by the first exchange, opened again after it broke.

    ``under_way`` has the exchanges that somebody waits for; a server works on at one that is taken out.
    """

    def __init__(self, world: World, agent: Agent, address: str, server: str) -> None:
        self._world, self._agent, self._address, self._server = world, agent, address, server
        self._connection: Connection | None = None
        self._out: Sender | None = None  # what sends to the server, while the connection is open
        self._home: Sender | None = None  # what sends to the caller
        self._life = 0  # of the connection: what an earlier one brings late counts no more
        self._peer: Agent | None = None
        self._waiting: list[Exchange] = []
        self.under_way: dict[Exchange, None] = {}
        self._framing: tuple[dict[str, int], dict[str, int]] = {}, {}

    def submit(self, exchange: Exchange) -> None:
        """Send a request, as soon as there is a connection."""
        self.under_way[exchange] = None
        if self._out is not None:
            size = self._size(exchange, exchange.data, False)
            self._out.send(size, self._arrived, (exchange, self._life))
            return
        self._waiting.append(exchange)
        if self._connection is None:
            self._connect()

    def cancel(self, exchange: Exchange) -> None:
        """Nobody waits for this one any longer, and the server is told to end its work, too: the end of a stream."""
        self.under_way.pop(exchange, None)
        if self._out is not None:
            self._out.send(0, exchange.end, ())

    def broken(self, why: str) -> None:
        """The connection is gone: all that is under way fails."""
        self._life += 1
        if self._connection is not None:
            self._connection.close()
        if self._peer is not None:
            self._peer.accepted.pop(self, None)
        self._connection = self._out = self._home = self._peer = None
        lost, self.under_way = self.under_way, {}
        self._waiting.clear()
        for exchange in lost:
            if exchange.method.streams:
                exchange.end()
            exchange.failed("unreachable", why)

    def _connect(self) -> None:
        def listening() -> bool:
            return self._address in self._world.listeners

        connection = self._world.network.connection(self._agent.node, self._server, listening)
        self._connection = connection
        connection.open(lambda accepted: self._opened(connection, accepted))

    def _opened(self, connection: Connection, accepted: bool) -> None:
        if connection is not self._connection:
            return
        listener = self._world.listeners.get(self._address)
        if not accepted or listener is None:
            self.broken(f"nobody listens at {self._address}")
            return
        self._out, self._peer = connection.sender(self._agent.node), listener.agent
        self._home = connection.sender(self._server)
        listener.agent.accepted[self] = None
        waiting, self._waiting = self._waiting, []
        for exchange in waiting:
            if exchange in self.under_way:
                self.submit(exchange)

    def _size(self, exchange: Exchange, data: bytes, reply: bool) -> int:
        name, known = exchange.method.name, self._framing[reply]
        if name not in known:
            known[name] = self._agent.wire.framing(exchange.method, reply=reply)
        return known[name] + len(data)

    # At the server.

    def _arrived(self, exchange: Exchange, life: int) -> None:
        if life != self._life or self._home is None:
            return
        listener = self._world.listeners.get(self._address)
        if listener is None or listener.agent is not self._peer:  # the machine is up, its agent is another or none
            self._home.send(0, self._reset, (life,))
            return
        if self._world.meddler is None and not listener.agent.takes_time:
            listener.handle(exchange, self, life)
            return
        for extra in self._world.meddled(exchange.method, self._agent.node, self._server):
            listener.agent.take_in(extra + listener.agent.lag(), listener.handle, exchange, self, life)

    def _reset(self, life: int) -> None:
        if life == self._life:
            self.broken(f"{self._address} went away")

    def reset_soon(self) -> None:
        """The serving agent died and its machine says so: the calling one hears it a one-way delay later."""
        if self._home is not None:
            self._home.send(0, self._reset, (self._life,))

    def answer(self, exchange: Exchange, data: bytes, life: int) -> None:
        """Send an answer back, or one message of a stream."""
        if life == self._life and self._home is not None:
            self._home.send(self._size(exchange, data, True), self._back, (exchange, data))

    def refuse(self, exchange: Exchange, kind: Kind, why: str, life: int) -> None:
        """Tell the caller that there will be no (further) answer."""
        if life == self._life and self._home is not None:
            self._home.send(self._size(exchange, why.encode(), True), self._failed, (exchange, kind, why))

    # Back at the caller.

    def _back(self, exchange: Exchange, data: bytes) -> None:
        if self._agent.takes_time:
            self._agent.take_in(0.0, self._deliver, exchange, data)
        elif self._agent.alive:
            self._deliver(exchange, data)

    def _deliver(self, exchange: Exchange, data: bytes) -> None:
        if exchange in self.under_way:
            exchange.told(data)

    def _failed(self, exchange: Exchange, kind: Kind, why: str) -> None:
        if self.under_way.pop(exchange, False) is None:
            exchange.failed(kind, why)
