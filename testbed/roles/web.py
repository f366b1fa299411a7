"""HTTP as messages: for systems whose interface is plain HTTP, in both worlds.

One method, :data:`WEB`, carries every request of such a system; what it means is told by verb, target and headers, as
on the wire. The live wire is :class:`testbed.roles.web_wire.WebWire`; a system gives it a bare ``WebWire()``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, unquote

from testbed.roles.api import Method

Fields = tuple[tuple[str, str], ...]


class _Headed:
    """What requests and replies have in common. Names of headers are in lower case, values without outer blanks."""

    headers: Fields

    def header(self, name: str, default: str = "") -> str:
        """The value of a header (``name`` in lower case); several of one name are joined by commas."""
        return ", ".join([value for key, value in self._all_headers if key == name]) or default

    @property
    def _all_headers(self) -> Fields:
        return self.headers


@dataclass(frozen=True)
class WebRequest(_Headed):
    """A request. ``target`` is path and query as on the request line, percent-encoded.

    One that is not ``lasting`` is the last on its connection, which was opened for it: as of peers that keep none.
    ``sink`` is for who sends it: it takes the body of a reply of status 200 piece by piece as it comes, where the wire
    can do that, and the reply then has none (see :func:`poured`). It must not raise.
    """

    verb: str
    target: str
    headers: Fields = ()
    body: bytes = b""
    lasting: bool = True
    sink: Callable[[bytes], object] | None = field(default=None, compare=False, repr=False)

    @property
    def path(self) -> str:
        """The path, decoded; what cannot be UTF-8 has replacement characters."""
        return unquote(self.target.partition("?")[0], errors="replace")

    @property
    def raw_query(self) -> str:
        """What stands behind the question mark, as sent."""
        return self.target.partition("?")[2]

    @cached_property
    def query(self) -> Mapping[str, str]:
        """The query's fields, decoded; of several with one name the last."""
        return dict(parse_qsl(self.raw_query, keep_blank_values=True, errors="replace"))


@dataclass(frozen=True)
class WebReply(_Headed):
    """A reply, whatever its status. A body of several parts is sent part by part and never joined.

    Parts may be made when they are asked for: that is once for their length and once more when they are sent.
    ``own`` are further headers, of which each reply has other ones, such as an id: nothing is remembered of them.
    """

    status: int = 200
    headers: Fields = ()
    body: bytes | Sequence[bytes] = b""
    own: Fields = ()

    @property
    def _all_headers(self) -> Fields:
        return self.headers + self.own

    @property
    def content(self) -> bytes:
        """The whole body."""
        return self.body if isinstance(self.body, bytes) else b"".join(self.body)

    @property
    def text(self) -> str:
        """The body as text; what is no UTF-8 has replacement characters."""
        return self.content.decode("utf-8", "replace")


def poured(reply: WebReply, sink: Callable[[bytes], object]) -> None:
    """Give ``sink`` the body of a reply of status 200 that came over a wire that did not do so."""
    if reply.status == 200:
        for part in (reply.body,) if isinstance(reply.body, bytes) else reply.body:
            sink(part)


WEB: Method[WebRequest, WebReply] = Method("HTTP", WebRequest, WebReply)


_text_of = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def written(data: Any) -> bytes:
    """Data as JSON, without blanks."""
    return _text_of(data).encode("utf-8", "surrogatepass")


def said(status: int, text: str, *headers: tuple[str, str]) -> WebReply:
    """A reply of plain text."""
    return WebReply(status, (("content-type", "text/plain; charset=utf-8"), *headers), text.encode())


def told(status: int, data: Any, *headers: tuple[str, str]) -> WebReply:
    """A reply of JSON."""
    return WebReply(status, (("content-type", "application/json"), *headers), written(data))


def fields(headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> Fields:
    """Headers in the form that messages have."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return tuple((name.lower(), value.strip()) for name, value in pairs)
