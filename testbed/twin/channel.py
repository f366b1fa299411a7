"""One agent's lasting connection to one address: what calls and streams travel on in the twin."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from testbed.roles.api import CallFailed, Method
from testbed.twin.transport import Connection

if TYPE_CHECKING:
    from testbed.twin.agent import Agent
    from testbed.twin.world import World

Kind = Literal["unreachable", "timeout", "protocol"]


class Exchange:
    """A request under way and what becomes of it. ``told`` gets each answer's bytes, ``failed`` why there is none."""

    __slots__ = ("data", "failed", "method", "told", "work")

    def __init__(
        self, method: Method[Any, Any], data: bytes, told: Callable[[bytes], None], failed: Callable[[Kind, str], None]
    ) -> None:
        self.method, self.data, self.told, self.failed = method, data, told, failed
        self.work: asyncio.Task[None] | None = None


class Channel:
    """From ``agent`` to ``address``; opened by the first exchange, opened again after it broke."""

    def __init__(self, world: World, agent: Agent, address: str, server: str) -> None:
        self._world, self._agent, self._address, self._server = world, agent, address, server
        self._connection: Connection | None = None
        self._open = False
        self._life = 0  # of the connection: what an earlier one brings late counts no more
        self._peer: Agent | None = None
        self._waiting: list[Exchange] = []
        self._under_way: dict[Exchange, None] = {}
        self._sizes: dict[tuple[str, bool], int] = {}

    def submit(self, exchange: Exchange) -> None:
        """Send a request, as soon as there is a connection."""
        self._under_way[exchange] = None
        if self._open:
            self._send(exchange)
            return
        self._waiting.append(exchange)
        if self._connection is None:
            self._connect()

    def forget(self, exchange: Exchange) -> None:
        """Nobody waits for this one any longer; a server that works at it goes on."""
        self._under_way.pop(exchange, None)

    def cancel(self, exchange: Exchange) -> None:
        """As :meth:`forget`, and the server is told to end its work, too: the end of a stream."""
        self.forget(exchange)
        if self._open and self._connection is not None:
            self._connection.send(self._agent.node, 0, _end, exchange)

    def broken(self, why: str) -> None:
        """The connection is gone: all that is under way fails."""
        self._life += 1
        if self._connection is not None:
            self._connection.close()
        self._connection, self._open, self._peer = None, False, None
        lost, self._under_way = self._under_way, {}
        self._waiting.clear()
        for exchange in lost:
            if exchange.method.streams:
                _end(exchange)
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
        self._open, self._peer = True, listener.agent
        listener.agent.accepted[self] = None
        waiting, self._waiting = self._waiting, []
        for exchange in waiting:
            if exchange in self._under_way:
                self._send(exchange)

    def _size(self, exchange: Exchange, data: bytes, reply: bool) -> int:
        key = (exchange.method.name, reply)
        framing = self._sizes.get(key)
        if framing is None:
            framing = self._sizes[key] = self._agent.wire.framing(exchange.method, reply=reply)
        return framing + len(data)

    def _send(self, exchange: Exchange) -> None:
        assert self._connection is not None
        size = self._size(exchange, exchange.data, reply=False)
        self._connection.send(self._agent.node, size, self._arrived, exchange, self._life)

    # At the server.

    def _arrived(self, exchange: Exchange, life: int) -> None:
        if life != self._life or self._connection is None:
            return
        listener = self._world.listeners.get(self._address)
        if listener is None or listener.agent is not self._peer:  # the machine is up, its agent is another or none
            self._connection.send(self._server, 0, self._reset, life)
            return
        for extra in self._world.meddled(exchange.method):
            listener.agent.take_in(extra + listener.agent.lag(), listener.handle, exchange, self, life)

    def _reset(self, life: int) -> None:
        if life == self._life:
            self.broken(f"{self._address} went away")

    def reset_soon(self) -> None:
        """The serving agent died and its machine says so: the calling one hears it a one-way delay later."""
        if self._connection is not None:
            self._connection.send(self._server, 0, self._reset, self._life)

    def answer(self, exchange: Exchange, data: bytes, life: int) -> None:
        """Send an answer back, or one message of a stream."""
        if life == self._life and self._connection is not None:
            self._connection.send(self._server, self._size(exchange, data, reply=True), self._back, exchange, data)

    def refuse(self, exchange: Exchange, kind: Kind, why: str, life: int) -> None:
        """Tell the caller that there will be no (further) answer."""
        if life == self._life and self._connection is not None:
            size = self._size(exchange, why.encode(), reply=True)
            self._connection.send(self._server, size, self._failed, exchange, kind, why)

    # Back at the caller.

    def _back(self, exchange: Exchange, data: bytes) -> None:
        self._agent.take_in(0.0, self._deliver, exchange, data)

    def _deliver(self, exchange: Exchange, data: bytes) -> None:
        if exchange in self._under_way:
            exchange.told(data)

    def _failed(self, exchange: Exchange, kind: Kind, why: str) -> None:
        if self._under_way.pop(exchange, False) is None:
            exchange.failed(kind, why)


def _end(exchange: Exchange) -> None:
    if exchange.work is not None:
        exchange.work.cancel()


def fail(future: asyncio.Future[bytes], kind: Kind, why: str) -> None:
    """End a future with CallFailed, unless it has ended."""
    if not future.done():
        future.set_exception(CallFailed(kind, why))
