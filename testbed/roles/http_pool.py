"""The connections of the HTTP client: each carries one request at a time, and is kept for the next."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache

from testbed.roles.api import CallFailed
from testbed.roles.http_reply import Limits, Reply, ReplyReader, Violation

PIECE = 1 << 18  # bytes of a large body that are handed to the kernel at a time

Sink = Callable[[bytes], object]  # takes the body of a reply of status 200, piece by piece
Body = bytes | Sequence[bytes]  # the parts of one are sent one after the other and never joined


@lru_cache(maxsize=1024)
def _split(address: str) -> tuple[str, int]:
    """Host and port of ``host:port`` or ``[v6]:port``."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"{address!r} is no address; expected host:port, with an IPv6 host in brackets")
    return host.removeprefix("[").removesuffix("]"), int(port)


class Connection(asyncio.Protocol):
    """One connection, which carries one request at a time."""

    def __init__(self, pool: Pool, limits: Limits) -> None:
        self._pool, self._limits = pool, limits
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Reply] | None = None
        self._reader = ReplyReader(limits)
        self._full: asyncio.Future[None] | None = None  # while the peer does not read
        self.used = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    @property
    def open(self) -> bool:
        """Whether it can carry another request."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, method: str, data: bytes, sink: Sink | None = None) -> asyncio.Future[Reply]:
        """Write a request; the future gets its reply, or raises CallFailed."""
        assert self._transport is not None
        self._waiter = asyncio.get_running_loop().create_future()
        self._reader.expect(method, sink)
        self._transport.write(data)
        return self._waiter

    async def send_body(self, parts: Body) -> None:
        """Write a body behind its head, as fast as the peer reads; in vain once there is an answer."""
        for part in (parts,) if isinstance(parts, bytes) else parts:
            view = memoryview(part)
            for begin in range(0, len(view), PIECE):
                if self._transport is None or not self.open or self._waiter is None or self._waiter.done():
                    return
                self._transport.write(view[begin : begin + PIECE])
                if self._full is not None:
                    await self._full

    def pause_writing(self) -> None:
        self._full = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        full, self._full = self._full, None
        if full is not None and not full.done():
            full.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self._waiter is None or self._waiter.done():
            self.abort()  # nobody asked for this
            return
        try:
            reply = self._reader.feed(data)
        except Violation as violation:
            self.abort()
            self._waiter.set_exception(CallFailed("protocol", str(violation)))
            return
        if reply is not None:
            self._answer(reply)

    def _answer(self, reply: Reply) -> None:
        assert self._waiter is not None
        self.used = True
        if not reply.keeps_alive or self._full is not None or (
            self._transport and self._transport.get_write_buffer_size()
        ):
            self.abort()  # also where the answer came before the request was out
        self._waiter.set_result(reply)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self.resume_writing()
        self._pool.forget(self)
        if self._waiter is None or self._waiter.done():
            return
        try:
            reply = self._reader.end()
        except Violation as violation:
            said = f"{violation} ({error})" if error else str(violation)
            self._waiter.set_exception(CallFailed("protocol" if self._reader.begun else "unreachable", said))
        else:
            self._waiter.set_result(reply)

    @property
    def answered_nothing(self) -> bool:
        """Whether the peer closed without a single byte, as it does when it had just given up an idle connection."""
        return not self._reader.begun

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()


class Pool:
    """The connections to one address; at most ``most`` at a time, others wait in line."""

    def __init__(self, address: str, most: int, limits: Limits, context: ssl.SSLContext | None) -> None:
        self._host, self._port = _split(address)
        self._address, self._most, self._limits, self._context = address, most, limits, context
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._taken = 0
        self._line: deque[asyncio.Future[None]] = deque()

    async def take(self, fresh: bool = False) -> Connection:
        """An idle connection, or a new one; raises CallFailed if it cannot be made."""
        if self._taken >= self._most:
            await self._stand_in_line()
        else:
            self._taken += 1
        try:
            while self._idle and not fresh:
                connection = self._idle.pop()
                if connection.open:
                    return connection
            return await self._connect()
        except BaseException:
            self._leave()
            raise

    async def _stand_in_line(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()  # its turn came as it went
            else:
                self._line.remove(turn)
            raise

    async def _connect(self) -> Connection:
        connection, loop = Connection(self, self._limits), asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: connection, self._host, self._port, ssl=self._context)
        except OSError as error:
            raise CallFailed("unreachable", f"{self._address}: {error.strerror or error}") from error
        self._open.add(connection)
        return connection

    def give_back(self, connection: Connection) -> None:
        """The request on it is over; one that is still open is kept for the next."""
        if connection.open:
            self._idle.append(connection)
        self._leave()

    def _leave(self) -> None:
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_result(None)  # its place goes to the next in line
                return
        self._taken -= 1

    def forget(self, connection: Connection) -> None:
        """It is closed."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def close(self) -> None:
        """Close all connections; requests under way fail."""
        for connection in tuple(self._open):
            connection.abort()
