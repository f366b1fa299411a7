"""Reading HTTP/1.1 requests from a stream of bytes, without any input or output of its own."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass

from testbed.roles.web import WebRequest
from testbed.roles.web_text import CHUNKED, Refused, RequestHead, WebText

_CHUNK = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;[^\r\n]*)?")
_BEGINNING = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}(?: |$)")
_MAX_CHUNK_LINE = 4096
_BLANK = b"\r\n"


@dataclass(frozen=True, slots=True)
class WebLimits:
    """What a server takes from its peers, and how long it waits for them.

    A head must be whole ``patience_s`` seconds after its first byte; a body, and a reply that is read, may not stand
    still for longer. A connection without a request is closed after ``idle_s``. Times are kept to an eighth.
    """

    head_bytes: int = 65_536
    body_bytes: int = 256_000_000
    connections: int = 4096
    patience_s: float = 30.0
    idle_s: float = 300.0


class RequestReader:
    """Feeds on bytes and gives one request after the other.

    A body grows with what came of it, whatever length was announced, and is not copied when it is whole.
    """

    def __init__(self, limits: WebLimits, text: WebText) -> None:
        self._limits, self._text = limits, text
        self._buffer: bytes | bytearray = b""
        self._at = self._searched = 0
        self._head: RequestHead | None = None
        self._body: io.BytesIO | None = None
        self._chunks: _Chunks | None = None
        self._told = False
        self.lasting = True  # whether the connection outlives the request that was given last

    @property
    def ahead(self) -> int:
        """Bytes that came and are not part of any request yet."""
        return len(self._buffer) - self._at

    @property
    def between(self) -> bool:
        """Whether no request has begun."""
        return self._head is None and self._at == len(self._buffer)

    @property
    def in_head(self) -> bool:
        """Whether a head has begun and is not whole."""
        return self._head is None and self._at < len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take ``data``."""
        if self._at == len(self._buffer):
            self._buffer, self._at, self._searched = data, 0, 0
        elif isinstance(self._buffer, bytes):
            self._buffer, self._at, self._searched = bytearray(self._buffer[self._at :]) + data, 0, 0
        else:
            del self._buffer[: self._at]  # or pieces that never end with a request would add to it for ever
            self._at, self._searched = 0, max(0, self._searched - self._at)
            self._buffer += data

    def next(self) -> WebRequest | None:
        """The next request if it is whole; raises Refused."""
        head = self._head
        if head is None:
            head = self._head = self._read_head()
            if head is None:
                return None
        body = self._counted(head.length) if head.length != CHUNKED else self._chunked()
        if body is None:
            return None
        self._head, self._told, self.lasting = None, False, head.lasting
        return WebRequest(head.verb, head.target, head.headers, body, head.lasting)

    def should_go_on(self) -> bool:
        """Whether the peer waits to be told to send its body; true once for a request."""
        waits = self._head is not None and self._head.waits and not self._told and not self.ahead
        self._told = self._told or waits
        return waits and self._body is None

    def _read_head(self) -> RequestHead | None:
        buffer = self._buffer
        while buffer[self._at : self._at + 2] == _BLANK:  # left over from a careless peer
            self._at += 2
        if self._at == len(buffer):
            return None
        end = buffer.find(b"\r\n\r\n", max(self._at, self._searched - 3))
        size = (end if end >= 0 else len(buffer)) - self._at
        if size > self._limits.head_bytes:
            raise Refused(431, f"a head has at most {self._limits.head_bytes} bytes")
        if end < 0:
            self._searched = len(buffer)
            if _BEGINNING.match(buffer[self._at : self._at + 33]) is None and size > 1:
                raise Refused(400, "this is not HTTP")
            return None
        head = self._text.request_head(bytes(buffer[self._at : end]))
        self._at, self._searched = end + 4, 0
        if head.length > self._limits.body_bytes:
            raise Refused(413, f"a body has at most {self._limits.body_bytes} bytes")
        return head

    def _counted(self, length: int) -> bytes | None:
        if length == 0:
            return b""
        missing = length - (self._body.tell() if self._body is not None else 0)
        part = self._buffer[self._at : self._at + missing]
        self._at += len(part)
        if self._body is None:
            if len(part) == length:
                return bytes(part)
            if not part:
                return None
            self._body = io.BytesIO()
        self._body.write(part)
        if len(part) < missing:
            return None
        body, self._body = self._body.getvalue(), None
        return body

    def _chunked(self) -> bytes | None:
        if self._chunks is None:
            self._chunks = _Chunks(self._limits)
        self._at = self._chunks.take(self._buffer, self._at)
        if not self._chunks.ended:
            return None
        body, self._chunks = self._chunks.body.getvalue(), None
        return body


class _Chunks:
    """A body that comes in chunks."""

    def __init__(self, limits: WebLimits) -> None:
        self._limits = limits
        self.body = io.BytesIO()
        self.ended = False
        self._left = self._trailers = 0
        self._after = self._last = False

    def take(self, buffer: bytes | bytearray, at: int) -> int:
        """Take what there is from ``at`` on; where it ends."""
        while not self.ended:
            if self._left:
                part = buffer[at : at + self._left]
                at += self.body.write(part)
                self._left -= len(part)
                if self._left:
                    break
                self._after = True
            end = buffer.find(b"\r\n", at)
            self._bound((end if end >= 0 else len(buffer)) - at)
            if end < 0:
                break
            self._line(bytes(buffer[at:end]))
            at = end + 2
        return at

    def _line(self, line: bytes) -> None:
        """The end of a chunk, the size of the next, or (after the last) a trailer."""
        if self._after:
            if line:
                raise Refused(400, "a chunk is longer than it says")
            self._after = False
        elif self._last:
            self._trailers += len(line) + 2
            self._bound(self._trailers)
            self.ended = not line
        else:
            size = _CHUNK.fullmatch(line)
            if size is None:
                raise Refused(400, f"not the beginning of a chunk: {line[:40]!r}")
            self._left = int(size[1], 16)
            self._last = self._left == 0
            if self.body.tell() + self._left > self._limits.body_bytes:
                raise Refused(413, f"a body has at most {self._limits.body_bytes} bytes")

    def _bound(self, length: int) -> None:
        if length > (self._limits.head_bytes if self._last else _MAX_CHUNK_LINE):
            raise Refused(400, "a line between the chunks is too long")
