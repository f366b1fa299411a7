"""A lean HTTP/1.1 server for messages: many connections, on each one request after the other.

What comes ahead of its turn waits, within bounds; a peer that stops in the middle of a request, or stops reading its
reply, is waited for as long as the limits say, and holds up nobody else. Works with or without TLS.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import chain

from testbed.roles.web import WebReply, WebRequest, said
from testbed.roles.web_reader import RequestReader, WebLimits
from testbed.roles.web_text import NO_CONTENT, Refused, WebText

READ_AHEAD = 1 << 18  # bytes of later requests that a connection holds while an earlier one is worked on
PIECE = 1 << 18  # bytes of a reply that are handed to the kernel at a time
SMALL = 1 << 16  # a body that is copied behind its head, so that both leave in one go
LINGER_S = 2.0  # for a peer that was refused to read why, while what it still sends is thrown away

Answerer = Callable[[WebRequest], Awaitable[WebReply]]
Refuser = Callable[[int, str], WebReply]


class WebServer:
    """The servers of one wire. ``refuse`` makes the reply, of status and reason, for what no handler gets to see."""

    def __init__(self, limits: WebLimits, text: WebText, refuse: Refuser = said) -> None:
        self.limits, self.text, self.refuse = limits, text, refuse
        self.open: set[Connection] = set()
        self.tick = 0  # the time by which peers are waited for
        self.grain_s = max(0.01, min(limits.patience_s, limits.idle_s, LINGER_S * 4) / 8)
        self._servers: list[asyncio.Server] = []
        self._sweep: asyncio.TimerHandle | None = None

    async def serve(self, host: str, port: int, answer: Answerer, context: ssl.SSLContext | None = None) -> None:
        """Listen on this address only; raises OSError if it is taken."""
        self._servers.append(await asyncio.get_running_loop().create_server(
            lambda: Connection(self, answer), host, port, ssl=context, reuse_address=True, backlog=1024,
            family=socket.AF_INET6 if ":" in host else socket.AF_INET,
        ))  # fmt: skip

    def ports(self) -> list[int]:
        """The ports it listens on: where 0 was asked for, the one that was free."""
        return [each.getsockname()[1] for server in self._servers for each in server.sockets]

    def take_in(self, connection: Connection) -> bool:
        """A peer has connected; whether there is room for it."""
        self.open.add(connection)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(self.grain_s, self._look)
        return len(self.open) <= self.limits.connections

    def _look(self) -> None:
        self.tick += 1
        for connection in tuple(self.open):
            connection.look()
        again = asyncio.get_running_loop().call_later(self.grain_s, self._look) if self.open else None
        self._sweep = again

    async def close(self) -> None:
        """End servers, connections and the work on requests."""
        if self._sweep is not None:
            self._sweep.cancel()
        for server in self._servers:
            server.close()
        for connection in tuple(self.open):
            connection.end()
        await asyncio.sleep(0)  # lets the transports go


class Connection(asyncio.Protocol):
    """One connection of a peer."""

    def __init__(self, server: WebServer, answer: Answerer) -> None:
        self._server, self._answer = server, answer
        self._reader = RequestReader(server.limits, server.text)
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._work: asyncio.Task[None] | None = None
        self._since = server.tick  # when the peer last did what it is waited for
        self._full: asyncio.Future[None] | None = None  # while the peer does not read
        self._unsent = 0
        self._leaving = self._at_end = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A peer connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self._server.take_in(self):
            return
        if len(self._server.open) > 2 * self._server.limits.connections:
            transport.abort()  # not even told
        else:
            self._refuse(Refused(503, f"there are {self._server.limits.connections} connections already"))

    def connection_lost(self, error: Exception | None) -> None:
        """It is gone; a request under way is worked on to its end all the same."""
        self._transport = None
        self._server.open.discard(self)
        self.resume_writing()

    def data_received(self, data: bytes) -> None:
        """Bytes came; requests that come while another is under way wait."""
        if self._leaving:
            return
        reader = self._reader
        if not reader.in_head:
            self._since = self._server.tick
        reader.feed(data)
        if self._work is None:
            self._next()
        elif reader.ahead > READ_AHEAD and self._transport is not None:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """The peer says nothing more; what it asked for is still answered."""
        self._at_end = True
        return self._work is not None and not self._leaving and self._can_half_close()

    def _can_half_close(self) -> bool:
        return self._transport is not None and self._transport.can_write_eof()

    def pause_writing(self) -> None:
        """The peer does not read as fast as it is told."""
        self._full = self._loop.create_future()
        self._since, self._unsent = self._server.tick, 1 << 62

    def resume_writing(self) -> None:
        """It has read, or is gone."""
        full, self._full = self._full, None
        if full is not None and not full.done():
            full.set_result(None)

    def end(self) -> None:
        """Close at once, and end the work."""
        if self._work is not None:
            self._work.cancel()
        if self._transport is not None:
            self._transport.abort()

    def look(self) -> None:
        """Once a tick: give up a peer that has been waited for long enough."""
        transport, limits = self._transport, self._server.limits
        age = (self._server.tick - self._since) * self._server.grain_s
        if transport is None or self._leaving or self._full is not None:
            self._look_at_reading(age)
        elif self._work is not None:
            return
        elif self._reader.between:
            if age > limits.idle_s:
                transport.close()
        elif age > limits.patience_s:
            self._refuse(Refused(408, f"the request was not whole after {limits.patience_s:g} s"))

    def _look_at_reading(self, age: float) -> None:
        """A peer that should read: has it, of late?"""
        if self._transport is None:
            return
        unsent = self._transport.get_write_buffer_size()
        if unsent < self._unsent and unsent:
            self._unsent, self._since = unsent, self._server.tick
        elif age > (self._server.limits.patience_s if unsent else LINGER_S):
            self._transport.abort()

    def _next(self) -> None:
        """Begin the next request if it is whole."""
        transport = self._transport
        if transport is None or self._leaving:
            return
        try:
            request = self._reader.next()
        except Refused as refused:
            self._refuse(refused)
            return
        if request is not None:
            self._work = self._loop.create_task(self._serve(request, self._reader.lasting))
        elif self._at_end:
            self._leave()
        elif self._reader.should_go_on():
            transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def _serve(self, request: WebRequest, lasting: bool) -> None:
        bare = request.verb == "HEAD"
        try:
            reply = await self._answer(request)
            lasting = lasting and reply.header("connection").lower() != "close"
            head = self._head(reply, lasting)
        except Exception as error:  # noqa: BLE001 - the caller is told, and the agent's log
            self._log(request, error)
            reply = self._server.refuse(500, f"{type(error).__name__}: {error}")
            head = self._head(reply, lasting)
        if self._transport is not None:
            body = b"" if bare or reply.status in NO_CONTENT else reply.body
            if isinstance(body, bytes) and len(body) <= SMALL:
                self._transport.write(head + body)
            else:
                await self._send(head, body)
            if self._full is not None:
                await self._full
        self._work = None
        if not lasting:
            self._leave()
        elif self._transport is not None:
            self._since = self._server.tick
            self._transport.resume_reading()
            self._next()

    def _head(self, reply: WebReply, lasting: bool) -> bytes:
        body = reply.body
        length = len(body) if isinstance(body, bytes) else sum(map(len, body))
        return self._server.text.begin_reply(reply, length, lasting=lasting)

    def _log(self, request: WebRequest, error: Exception) -> None:
        what = f"{request.verb} {request.target[:200]} was answered with status 500"
        self._loop.call_exception_handler({"message": what, "exception": error})

    async def _send(self, head: bytes, body: bytes | Sequence[bytes]) -> None:
        """Send a reply piece by piece, as fast as the peer reads."""
        for piece in chain((head,), (body,) if isinstance(body, bytes) else body):
            for part in _pieces(piece):
                if self._transport is None or self._transport.is_closing():
                    return
                self._transport.write(part)
                if self._full is not None:
                    await self._full

    def _refuse(self, refused: Refused) -> None:
        """Tell the peer why, and take no more from it."""
        transport = self._transport
        if transport is None:
            return
        reply = self._server.refuse(refused.status, str(refused))
        transport.write(self._head(reply, lasting=False) + reply.content)
        self._leave(linger=True)

    def _leave(self, *, linger: bool = False) -> None:
        """Close when all is sent. A peer that still talks would lose the last words if it were not heard out."""
        self._leaving, self._since, self._unsent = True, self._server.tick, 1 << 62
        if self._transport is None:
            return
        if linger and not self._at_end and self._can_half_close():
            self._transport.resume_reading()
            self._transport.write_eof()
        else:
            self._transport.close()


def _pieces(data: bytes) -> Iterator[bytes | memoryview]:
    if len(data) <= PIECE:
        yield data
        return
    view = memoryview(data)
    for begin in range(0, len(data), PIECE):
        yield view[begin : begin + PIECE]
