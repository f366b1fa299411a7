"""A lean HTTP/1.1 server: one request after the other on each connection, bodies with a stated length only.

It takes what programs and ``curl`` send and tells anything else what it expects; limits bound what a peer may send.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus

MOST_HEAD_BYTES = 16_384
MOST_BODY_BYTES = 64_000_000
SILENCE_S = 30.0  # in the middle of a request
_LINE = re.compile(rb"([A-Z]{1,16}) (/[!-~]*) HTTP/1\.([01])$")
_FIELD = re.compile(rb"\r\n([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*?)[ \t]*(?=\r\n|$)")

# From verb, target and body to status and body; what it raises ends in a status 500.
Answerer = Callable[[str, str, bytes], Awaitable[tuple[int, bytes]]]


class _Bad(Exception):
    def __init__(self, status: HTTPStatus, detail: str) -> None:
        self.status = status
        super().__init__(detail)


class Connection(asyncio.Protocol):
    """One connection of a peer."""

    def __init__(self, answer: Answerer, known: set[Connection]) -> None:
        self._answer, self._known = answer, known
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._work: asyncio.Task[None] | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._told_to_go_on = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A peer connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._known.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        """It is gone; a request under way is worked on to its end all the same."""
        self._transport = None
        self._known.discard(self)
        self._be_patient(False)

    def close(self) -> None:
        """Close at once, and end the work."""
        if self._work is not None:
            self._work.cancel()
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes came; requests that come while another is under way wait."""
        self._buffer += data
        if self._work is None:
            self._next()
        elif len(self._buffer) > MOST_HEAD_BYTES and self._transport is not None:
            self._transport.pause_reading()

    def _next(self) -> None:
        """Begin the next request if it is whole."""
        if self._transport is None:
            return
        try:
            request = self._whole()
        except _Bad as bad:
            self._reply(bad.status, error_body(str(bad)), keep=False)
            return
        self._be_patient(request is None and bool(self._buffer))
        if request is not None:
            self._work = asyncio.get_running_loop().create_task(self._serve(*request))

    def _whole(self) -> tuple[str, str, bytes, bool] | None:
        """Verb, target, body, and whether the connection lasts; None if there is more to come."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 and len(self._buffer) <= MOST_HEAD_BYTES:
            if len(self._buffer) >= 16 and not re.match(rb"[A-Z]{1,16}( |$)", self._buffer[:17]):
                raise _Bad(HTTPStatus.BAD_REQUEST, "this is not HTTP")
            return None
        if end < 0 or end > MOST_HEAD_BYTES:
            raise _Bad(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"a head has at most {MOST_HEAD_BYTES} bytes")
        head = bytes(self._buffer[:end])
        line = _LINE.match(head.partition(b"\r\n")[0])
        if line is None:
            raise _Bad(HTTPStatus.BAD_REQUEST, "the first line is not that of an HTTP/1.1 request")
        fields = {name.lower(): value for name, value in _FIELD.findall(head)}
        length = _length(fields)
        if len(self._buffer) < end + 4 + length:
            self._go_on(fields)
            return None
        body = bytes(self._buffer[end + 4 : end + 4 + length])
        del self._buffer[: end + 4 + length]
        self._told_to_go_on = False
        lasting = line[3] == b"1" and fields.get(b"connection", b"").lower() != b"close"
        return line[1].decode(), line[2].decode(), body, lasting

    def _go_on(self, fields: dict[bytes, bytes]) -> None:
        """Tell a peer that asks before it sends its body to do so."""
        if not self._told_to_go_on and fields.get(b"expect", b"").lower() == b"100-continue":
            assert self._transport is not None
            self._told_to_go_on = True
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def _serve(self, verb: str, target: str, body: bytes, lasting: bool) -> None:
        try:
            status, reply = await self._answer(verb, target, body)
        except Exception as error:  # noqa: BLE001 - the caller is told, and nobody else is concerned
            status, reply = HTTPStatus.INTERNAL_SERVER_ERROR, error_body(f"{type(error).__name__}: {error}")
        self._work = None
        self._reply(status, reply, lasting)
        if lasting and self._transport is not None:
            self._transport.resume_reading()
            self._next()

    def _reply(self, status: int, body: bytes, keep: bool) -> None:
        if self._transport is None:
            return
        self._transport.write(reply_head(status, len(body), keep) + body)
        if not keep:
            self._transport.close()

    def _be_patient(self, wanted: bool) -> None:
        """A peer that is silent in the middle of a request is not waited for longer than SILENCE_S."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if wanted:
            self._patience = asyncio.get_running_loop().call_later(SILENCE_S, self.close)


def _length(fields: dict[bytes, bytes]) -> int:
    if b"transfer-encoding" in fields:
        raise _Bad(HTTPStatus.LENGTH_REQUIRED, "send a body with its Content-Length, not in chunks")
    text = fields.get(b"content-length", b"0")
    if not text.isdigit() or len(text) > 15:
        raise _Bad(HTTPStatus.BAD_REQUEST, "the Content-Length is not a number")
    if int(text) > MOST_BODY_BYTES:
        raise _Bad(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body has at most {MOST_BODY_BYTES} bytes")
    return int(text)


def reply_head(status: int, length: int, keep: bool = True) -> bytes:
    """The head of a reply with a JSON body of ``length`` bytes."""
    close = "" if keep else "Connection: close\r\n"
    phrase = HTTPStatus(status).phrase
    return (
        f"HTTP/1.1 {status} {phrase}\r\nContent-Type: application/json\r\n{close}Content-Length: {length}\r\n\r\n"
    ).encode()


def error_body(text: str) -> bytes:
    """The body of a reply that tells an error of the request itself."""
    return json.dumps({"error": text}).encode()
