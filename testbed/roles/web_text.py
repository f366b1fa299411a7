"""The text of HTTP/1.1 messages, there and back (RFC 9112): without any input or output of its own.

Length, transfer encoding and the life of the connection are the wire's own affair: the headers that tell of them are
written by it, dropped where a message has some of its own, and not among the headers of a message that came in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import TypeVar

from testbed.roles.web import Fields, WebReply, WebRequest

K = TypeVar("K")
V = TypeVar("V")

OWN = frozenset({"content-length", "transfer-encoding", "connection", "keep-alive", "expect"})
BODILESS = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})  # no length is told where such a request has no body
NO_CONTENT = frozenset({204, 304})
SOME_HOST = "10.0.0.10:8080"  # where the address is not known: one of middling length
CHUNKED = -1
KEPT, KEPT_BYTES = 512, 1024  # heads that are remembered, and how long they may be: most come again and again

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_NAME = re.compile(rf"{_TOKEN}+")
_VERB = re.compile(rf"{_TOKEN}{{1,32}}")
_TARGET = re.compile(r"/[!-~]*|\*")
_FORBIDDEN = re.compile(r"[\r\n\0]")
_LINE = re.compile(rf"({_TOKEN}{{1,32}}) ([^\x00-\x20\x7f]+) HTTP/(\d)\.(\d)")
_STATUS = re.compile(r"HTTP/1\.[01] ([2-5]\d\d)(?: [^\r\n\0]*)?")
_FIELD = re.compile(rf"(?:\A|\r\n)({_TOKEN}+):([^\r\n\0]*)(?=\r\n|\Z)")
_PHRASES = {status.value: status.phrase for status in HTTPStatus}


class Refused(Exception):
    """A request that is answered with ``status`` and the text, after which the connection ends."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        super().__init__(text)


@dataclass(slots=True)  # not frozen: made for each request whose target is new
class RequestHead:
    """What the head of a request says; a ``length`` of CHUNKED means that the body ends by itself."""

    verb: str
    target: str
    headers: Fields
    length: int
    lasting: bool
    waits: bool  # for a word to go on, before it sends its body


@dataclass(frozen=True, slots=True)
class _Fields:
    """What the lines behind the first say: the headers that are shown, and what the wire makes of the others."""

    shown: Fields
    hosts: int
    length: int = 0
    options: frozenset[str] = frozenset()
    waits: bool = False


class WebText:
    """Reads and writes messages; remembers short heads, of which the most come again."""

    def __init__(self) -> None:
        self._requests: dict[bytes, RequestHead] = {}
        self._fields: dict[bytes, _Fields] = {}
        self._replies: dict[bytes, tuple[int, Fields]] = {}
        self._reply_texts: dict[tuple[int, Fields], bytes] = {}
        self._request_texts: dict[tuple[str, str, str, Fields, bool], bytes] = {}

    def request_head(self, head: bytes) -> RequestHead:
        """What a head says, from its first line to the end of its last; raises Refused."""
        found = self._requests.get(head)
        if found is None:
            first, _, rest = head.partition(b"\r\n")
            fields = self._fields.get(rest)
            if fields is None:
                fields = _own(*_fields(rest.decode("utf-8", "surrogateescape")))
                _keep(self._fields, rest, fields, len(rest))
            found = _request_head(first.decode("utf-8", "surrogateescape"), fields)
            _keep(self._requests, head, found, len(head))
        return found

    def reply_head(self, head: bytes) -> tuple[int, Fields]:
        """Status and headers of a reply; raises ValueError."""
        found = self._replies.get(head)
        if found is None:
            found = _reply_head(head.decode("utf-8", "surrogateescape"))
            _keep(self._replies, head, found, len(head))
        return found

    def begin_reply(self, reply: WebReply, length: int, *, lasting: bool = True) -> bytes:
        """The head of a reply whose body has ``length`` bytes; raises ValueError for what cannot be sent."""
        key = (reply.status, reply.headers)
        text = self._reply_texts.get(key)
        if text is None:
            text = _reply_text(*key)
            _keep(self._reply_texts, key, text, len(text))
        if reply.own:
            text += _lines("", reply.own)
        close = b"" if lasting else b"connection: close\r\n"
        if reply.status in NO_CONTENT:
            if length:
                raise ValueError(f"a reply with status {reply.status} has no body, but this one has {length} bytes")
            return b"%b%b\r\n" % (text, close)
        return b"%b%bcontent-length: %d\r\n\r\n" % (text, close, length)

    def begin_request(self, request: WebRequest, host: str, length: int) -> bytes:
        """The head of a request with a body of ``length`` bytes; ``host`` unless it names one. Raises ValueError."""
        key = (request.verb, request.target, host, request.headers, request.lasting)
        text = self._request_texts.get(key)
        if text is None:
            text = _request_text(*key)
            _keep(self._request_texts, key, text, len(text))
        if length or request.verb not in BODILESS:
            return b"%bcontent-length: %d\r\n\r\n" % (text, length)
        return text + b"\r\n"

    def encode(self, message: WebRequest | WebReply) -> bytes:
        """The bytes of a whole message as they travel."""
        if isinstance(message, WebRequest):
            return self.begin_request(message, SOME_HOST, len(message.body)) + message.body
        content = message.content
        return self.begin_reply(message, len(content)) + content

    def decode(self, kind: type[WebRequest | WebReply], data: bytes) -> WebRequest | WebReply:
        """The message in these bytes, which :meth:`encode` made; raises ValueError."""
        end = data.find(b"\r\n\r\n")
        if end < 0:
            raise ValueError("the head of the message has no end")
        head, body = data[:end], data[end + 4 :]
        if kind is WebReply:
            return WebReply(*self.reply_head(head), body)
        try:
            read = self.request_head(head)
        except Refused as refused:
            raise ValueError(str(refused)) from None
        if read.length != len(body):
            raise ValueError(f"a body of {len(body)} bytes where {read.length} are announced")
        headers = tuple(pair for pair in read.headers if pair != ("host", SOME_HOST))
        return WebRequest(read.verb, read.target, headers, body, read.lasting)


def _keep(known: dict[K, V], key: K, value: V, size: int) -> None:
    if size <= KEPT_BYTES:
        if len(known) >= KEPT:
            known.clear()
        known[key] = value


@lru_cache(maxsize=1024)
def _is_said(name: str) -> bool | None:
    """Whether a header of this name is sent as it is given; None for what is no name."""
    return None if _NAME.fullmatch(name) is None else name.lower() not in OWN


def _lines(first: str, headers: Fields) -> bytes:
    lines = [first]
    for name, value in headers:
        said = _is_said(name)
        if said is None or _FORBIDDEN.search(value):
            raise ValueError(f"not a header that can be sent: {name!r} with {value[:80]!r}")
        if said:
            lines.append(f"{name}: {value}\r\n")
    return "".join(lines).encode("utf-8", "surrogateescape")


def _reply_text(status: int, headers: Fields) -> bytes:
    if not 200 <= status <= 599:
        raise ValueError(f"{status} is not the status of a reply; expected 200 to 599")
    return _lines(f"HTTP/1.1 {status} {_PHRASES.get(status, '')}\r\n", headers)


def _request_text(verb: str, target: str, host: str, headers: Fields, lasting: bool) -> bytes:
    if _VERB.fullmatch(verb) is None or _TARGET.fullmatch(target) is None:
        raise ValueError(f"not a request that can be sent: {verb!r} {target[:200]!r}; expected a percent-encoded path")
    named = any(name.lower() == "host" for name, _ in headers)
    first = f"{verb} {target} HTTP/1.1\r\n" + ("" if named else f"host: {host}\r\n")
    return _lines(first if lasting else f"{first}connection: close\r\n", headers)


def _fields(text: str) -> tuple[list[tuple[str, str]], dict[str, list[str]]]:
    """Of the lines behind the first, the headers that are shown, and the values of the wire's own; raises Refused."""
    shown: list[tuple[str, str]] = []
    own: dict[str, list[str]] = {}
    found = _FIELD.findall(text)
    if len(found) != (text.count("\r\n") + 1 if text else 0):
        raise Refused(400, "a line of the head is not NAME: VALUE")
    for name, value in found:
        name, value = name.lower(), value.strip(" \t")
        if name in OWN:
            own.setdefault(name, []).append(value)
        else:
            shown.append((name, value))
    return shown, own


def _own(shown: list[tuple[str, str]], own: dict[str, list[str]]) -> _Fields:
    hosts = sum([name == "host" for name, _ in shown])
    if not own:
        return _Fields(tuple(shown), hosts)
    options = frozenset(each.strip() for value in own.get("connection", ()) for each in value.lower().split(","))
    if "expect" in own and own["expect"][0].lower() != "100-continue":
        raise Refused(417, "of expectations, only 100-continue is known here")
    return _Fields(tuple(shown), hosts, _length(own), options, "expect" in own)


def _reply_head(text: str) -> tuple[int, Fields]:
    first, _, rest = text.partition("\r\n")
    line = _STATUS.fullmatch(first)
    if line is None:
        raise ValueError(f"this is not the beginning of a reply: {first[:40]!r}")
    try:
        return int(line[1]), tuple(_fields(rest)[0])
    except Refused as refused:
        raise ValueError(str(refused)) from None


def _request_head(first: str, fields: _Fields) -> RequestHead:
    line = _LINE.fullmatch(first)
    if line is None:
        raise Refused(400, f"the first line is not that of an HTTP/1.1 request: {first[:80]!r}")
    verb, written, major, minor = line.groups()
    if major != "1":
        raise Refused(505, "expected HTTP/1.1")
    modern = minor != "0"
    if fields.hosts > 1 or (not fields.hosts and modern):
        raise Refused(400, "expected one Host header")
    lasting = "close" not in fields.options and (modern or "keep-alive" in fields.options)
    return RequestHead(
        verb, _origin(verb, written), fields.shown, fields.length, lasting, fields.waits and modern
    )  # fmt: skip


def _origin(verb: str, target: str) -> str:
    """Path and query of a target, with bytes beyond ASCII percent-encoded."""
    if target.startswith(("http://", "https://")):
        _, slash, rest = target.partition("//")[2].partition("/")
        target = slash + rest if slash else "/"
    if not (target.startswith("/") or target == "*") or verb == "CONNECT":
        raise Refused(400, f"expected a path that begins with /, found {target[:80]!r}")
    if target.isascii():
        return target
    data = target.encode("utf-8", "surrogateescape")
    return "".join(chr(each) if each < 128 else f"%{each:02X}" for each in data)


def _length(values: dict[str, list[str]]) -> int:
    stated = {each.strip() for value in values.get("content-length", []) for each in value.split(",")}
    if "transfer-encoding" in values:
        if ",".join(values["transfer-encoding"]).lower() != "chunked":
            raise Refused(501, "of transfer encodings, only chunked is known here")
        if stated:
            raise Refused(400, "the body's length is given in two ways")
        return CHUNKED
    if not stated:
        return 0
    text = stated.pop()
    if stated or not (text.isascii() and text.isdigit()) or len(text) > 15:
        raise Refused(400, "the Content-Length is not a number")
    return int(text)
