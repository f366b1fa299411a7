"""Reading HTTP/1.1 replies from a stream of bytes (RFC 9112), without any input or output of its own."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-5]\d\d)(?: [^\r\n\0]*)?$")
_FRAMING = re.compile(rb"\r\n(content-length|transfer-encoding|connection)[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE)
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;[^\r\n]*)?$")
_MAX_CHUNK_LINE = 4096


class Violation(Exception):
    """What the peer sent is not a reply that this client takes."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a peer may send: bytes of a head (also of the trailers), bytes of a body."""

    head_bytes: int = 65_536
    body_bytes: int = 64_000_000


@dataclass(frozen=True)
class Reply:
    """A whole reply. ``head`` is its status line and header lines as received."""

    status: int
    head: bytes
    body: bytes
    keeps_alive: bool

    @cached_property
    def headers(self) -> dict[str, str]:
        """Header names in lower case with their values; those that come several times are joined by commas."""
        found: dict[str, str] = {}
        for line in self.head.split(b"\r\n")[1:]:
            name, _, value = line.decode("latin-1").partition(":")
            key, text = name.strip().lower(), value.strip()
            found[key] = f"{found[key]}, {text}" if key in found else text
        return found


@dataclass(slots=True)
class _Framing:
    """How the body of a reply ends: after ``length`` bytes, by chunks, or (neither) with the connection."""

    keeps_alive: bool
    chunked: bool = False
    length: int | None = None


class ReplyReader:
    """Feeds on bytes and gives one reply after each :meth:`expect`."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.expect("GET")

    def expect(self, method: str, sink: Callable[[bytes], object] | None = None) -> None:
        """A request was sent; its reply is what comes now. ``sink`` gets the body of one of status 200 in pieces."""
        self._method, self._sink = method, sink
        self._buffer = b""
        self._framing: _Framing | None = None
        self._status, self._head = 0, b""
        self._first = b""  # part of the body
        self._more: io.BytesIO | None = None  # the body, where it came in several
        self._received = 0
        self._left = self._trailer_bytes = 0
        self._after_data = self._in_trailers = self._ended = False
        self.begun = False

    def feed(self, data: bytes) -> Reply | None:
        """Take ``data``; the reply once it is whole. Raises Violation, also for bytes behind the reply's end."""
        self.begun = True
        self._buffer = self._buffer + data if self._buffer else data
        while self._framing is None:
            if not self._read_head():
                return None
        if self._framing.chunked:
            return self._chunks()
        if self._framing.length is None:
            self._take(self._buffer)
            self._buffer = b""
            return None
        return self._counted(self._framing.length)

    def end(self) -> Reply:
        """The connection ended; the reply if this is how it ends. Raises Violation."""
        framing = self._framing
        if framing is not None and not framing.chunked and framing.length is None:
            return self._reply()
        what = "in the middle of its answer" if self.begun else "without an answer"
        raise Violation(f"the peer closed the connection {what}")

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 and len(self._buffer) <= self._limits.head_bytes:
            if not b"HTTP/1.".startswith(self._buffer[:7]):
                raise Violation(f"this is not HTTP/1: {self._buffer[:40]!r}")
            return False
        if end < 0 or end > self._limits.head_bytes:
            raise Violation(f"the head of the answer is longer than {self._limits.head_bytes} bytes")
        head, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
        line = _STATUS.match(head.partition(b"\r\n")[0])
        if line is None:
            raise Violation(f"this is not the beginning of an HTTP/1 answer: {head[:40]!r}")
        status = int(line[2])
        if status == 101:
            raise Violation("the peer switched to another protocol, which nobody asked for")
        if status >= 200:  # those before are interim: the answer is still to come
            self._status, self._head = status, head
            self._framing = self._framed(head, status, line[1] == b"1")
        return True

    def _framed(self, head: bytes, status: int, persistent: bool) -> _Framing:
        found: dict[bytes, set[bytes]] = {}
        for name, value in _FRAMING.findall(head):
            found.setdefault(name.lower(), set()).update(each.strip() for each in value.lower().split(b","))
        options = found.get(b"connection", set())
        framing = _Framing(b"close" not in options and (persistent or b"keep-alive" in options))
        if self._method == "HEAD" or status in (204, 304):
            framing.length = 0
        elif b"transfer-encoding" in found:
            if found[b"transfer-encoding"] != {b"chunked"} or b"content-length" in found:
                raise Violation("the answer's length is given in two ways or in an unknown one")
            framing.chunked = True
        elif b"content-length" in found:
            framing.length = self._length(found[b"content-length"])
        else:
            framing.keeps_alive = False
        return framing

    def _length(self, values: set[bytes]) -> int:
        if len(values) != 1 or not (value := next(iter(values))).isdigit():
            raise Violation(f"not a content length: {b', '.join(sorted(values))[:40]!r}")
        if len(value) > 15 or int(value) > self._limits.body_bytes:
            raise Violation(f"the answer is longer than {self._limits.body_bytes} bytes")
        return int(value)

    def _take(self, data: bytes) -> None:
        self._received += len(data)
        if self._received > self._limits.body_bytes:
            raise Violation(f"the answer is longer than {self._limits.body_bytes} bytes")
        if self._sink is not None and self._status == 200:
            self._sink(data)
        elif self._more is not None:
            self._more.write(data)
        elif not self._first:
            self._first = data
        else:
            self._more = io.BytesIO()  # gives its bytes away without copying them: a large body is held once
            self._more.write(self._first)
            self._more.write(data)
            self._first = b""

    def _counted(self, length: int) -> Reply | None:
        self._take(self._buffer)
        self._buffer = b""
        if self._received > length:
            raise Violation("the peer sent more than its answer")
        return self._reply() if self._received == length else None

    def _chunks(self) -> Reply | None:
        """Take whole lines and whatever there is of chunks; the position moves on, so that many chunks stay cheap."""
        at, buffer = 0, self._buffer
        while not self._ended:
            if self._left:
                part = buffer[at : at + self._left]
                self._take(part)
                self._left -= len(part)
                at += len(part)
                if self._left:
                    break
                self._after_data = True
            end = buffer.find(b"\r\n", at)
            if end < 0:
                self._bound(len(buffer) - at)
                break
            self._line(buffer[at:end])
            at = end + 2
        self._buffer = buffer[at:]
        if self._ended and self._buffer:
            raise Violation("the peer sent more than its answer")
        return self._reply() if self._ended else None

    def _line(self, line: bytes) -> None:
        """A line between chunks: the end of one, the size of the next, or (after the last) a trailer."""
        self._bound(len(line))
        if self._after_data:
            if line:
                raise Violation("a chunk is longer than it says")
            self._after_data = False
        elif self._in_trailers:
            self._trailer_bytes += len(line)
            self._bound(self._trailer_bytes)
            self._ended = not line
        else:
            size = _CHUNK.match(line)
            if size is None:
                raise Violation(f"not the beginning of a chunk: {line[:40]!r}")
            self._left = int(size[1], 16)
            if self._received + self._left > self._limits.body_bytes:
                raise Violation(f"the answer is longer than {self._limits.body_bytes} bytes")
            self._in_trailers = self._left == 0

    def _bound(self, length: int) -> None:
        if length > (self._limits.head_bytes if self._in_trailers else _MAX_CHUNK_LINE):
            raise Violation("a line between the chunks of the answer is too long")

    def _reply(self) -> Reply:
        assert self._framing is not None
        body = self._first if self._more is None else self._more.getvalue()
        return Reply(self._status, self._head, body, self._framing.keeps_alive)
