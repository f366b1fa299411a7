"""A lean HTTP/1.1 client for systems' wires and load: keep-alive pool, one request a connection at a time.

General clients cost five to a hundred times more CPU for a request, which on a small machine shows up as latency of the
system under test. What a request means (JSON, paths, status codes) is the caller's affair; a status of 500 is an answer
like any other. Only the absence of an answer raises :class:`~testbed.roles.api.CallFailed`.

    client = HttpClient()
    response = await client.request("POST", "10.0.0.2:8080", "/function/resize", b"...", timeout=5.0)
    await client.close()
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from testbed.roles.api import CallFailed
from testbed.roles.http_pool import Body, Connection, Pool, Sink
from testbed.roles.http_reply import Limits, Reply

__all__ = ["HttpClient", "Limits", "Reply"]

_REPEATABLE = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})  # RFC 9110, 9.2.2
_BODILESS = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})
_FORBIDDEN = frozenset("\r\n\0")
_SMALL = 1 << 16  # a body that is copied behind its head, so that both leave in one go


@lru_cache(maxsize=4096)
def _head(method: str, address: str, target: str, headers: tuple[tuple[str, str], ...]) -> bytes:
    """All of a request's head but its content length, which is the part that changes."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {address}", *(f"{name}: {value}" for name, value in headers)]
    if " " in method + target or any(_FORBIDDEN & set(line) for line in lines):
        raise ValueError(f"not a request that can be sent: {method} {target!r} with headers {dict(headers)}")
    return "\r\n".join(lines).encode("latin-1")


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    data: bytes  # the head, and a small body
    rest: Body  # a body that is sent piece by piece
    repeatable: bool
    sink: Sink | None = None


class HttpClient:
    """Speaks to any number of addresses; ``connections`` is how many it opens to one at a time.

    It follows no redirects. With a ``context`` all its connections are TLS.
    """

    def __init__(
        self, connections: int = 64, limits: Limits = Limits(), context: ssl.SSLContext | None = None  # noqa: B008
    ) -> None:
        if connections < 1:
            raise ValueError("a client needs at least one connection")
        self._connections, self._limits, self._context = connections, limits, context
        self._pools: dict[str, Pool] = {}

    async def request(
        self, method: str, address: str, target: str, body: Body = b"",
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (), timeout: float = 10.0,
    ) -> Reply:
        """The reply of ``address`` (``host:port``, IPv6 in brackets), whatever its status.

        ``timeout`` seconds cover waiting for a connection, making it and the whole exchange. Raises CallFailed:
        ``unreachable`` if there was no connection or it ended without an answer, ``protocol`` for an answer that is not
        HTTP, is cut off or is beyond the limits, ``timeout``. A request that may be repeated is, once, if a connection
        that had been idle turns out to be closed; others never are.
        """
        head = _head(method, address, target, tuple(headers.items() if isinstance(headers, Mapping) else headers))
        size = len(body) if isinstance(body, bytes) else sum(map(len, body))
        length = b"\r\nContent-Length: %d" % size if size or method not in _BODILESS else b""
        whole = b"%b%b\r\n\r\n" % (head, length)
        return await self.exchange(method, address, whole, body, timeout, repeatable=method in _REPEATABLE)

    async def exchange(
        self, method: str, address: str, head: bytes, body: Body, timeout: float, *, repeatable: bool = False,
        sink: Sink | None = None,
    ) -> Reply:  # fmt: skip
        """As :meth:`request`, for a ``head`` that is whole: with the length, and the blank line at its end.

        It is repeated on a new connection only where the caller calls it ``repeatable``. ``sink`` takes the body of a
        reply of status 200 as it comes; the reply then has none.
        """
        if isinstance(body, bytes) and len(body) <= _SMALL:
            request = _Request(method, head + body, b"", repeatable, sink)
        else:
            request = _Request(method, head, body, repeatable, sink)
        pool = self._pools.get(address)
        if pool is None:
            pool = self._pools[address] = Pool(address, self._connections, self._limits, self._context)
        try:
            async with asyncio.timeout(timeout):
                return await _exchange(pool, request)
        except TimeoutError:
            raise CallFailed("timeout", f"no answer from {address} within {timeout:g} s") from None

    async def close(self) -> None:
        """Close all connections; requests under way fail."""
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()
        await asyncio.sleep(0)  # lets the transports go


async def _exchange(pool: Pool, request: _Request) -> Reply:
    connection = await pool.take()
    was_used = connection.used
    try:
        return await _on(connection, request)
    except CallFailed:
        if not (request.repeatable and was_used and connection.answered_nothing):
            raise
    finally:
        pool.give_back(connection)
    connection = await pool.take(fresh=True)
    try:
        return await _on(connection, request)
    finally:
        pool.give_back(connection)


async def _on(connection: Connection, request: _Request) -> Reply:
    answer = connection.send(request.method, request.data, request.sink)
    try:
        if request.rest:
            await connection.send_body(request.rest)
        return await answer
    except asyncio.CancelledError:
        answer.cancel()
        connection.abort()  # a late answer must not be taken for the next one's
        raise
