"""What travels between locations: the structures of the draft, strict on reading, exact on writing.

    SessionToken   {"session": "marco", "proprietaryLocation": "p3", "currentLocation": "p2"}
    SessionData    {"session_data": [{"key": "k1", "data": "v1"}, ...]}; a list is the text {"list": ["a", "b"]}
    PropagateData  {"value": "...", "function": "reduce"}

What the draft does not have travels in headers, so that its structures stay as they are and its tools go on working:
a :class:`Version` (how often a session has moved), and the name of a move under way.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from testbed.errors import TestbedError

PORT = 31112  # of the gateway
MANAGER = "session-offloading-manager"
SESSION = "x-session"
FORCED = "x-forced-session"
ONLOAD_TO = "x-onload-location"
REQUEST_ID = "x-session-request-id"
VERSION = "x-session-version"
MOVE = "x-session-move"  # the taker's name: it will say whether it has the data, until then they are kept
OWNER = "x-session-owner"  # of the session that the taker was told of: that of another, with the same name, stays
PROOF = "x-session-proof"
MOST_NAME_BYTES = 1024



class Refused(TestbedError):
    """A request that cannot be granted: the status to answer with, and why in words."""

    def __init__(self, status: int, why: str) -> None:
        self.status = status
        super().__init__(why)


@dataclass(frozen=True, slots=True)
class SessionToken:
    """Where a session was created (``owner``) and where it is now (``current``)."""

    session: str
    owner: str
    current: str

    def at(self, location: str) -> SessionToken:
        """The token of the session when it is at ``location``."""
        return replace(self, current=location)

    def data(self) -> dict[str, str]:
        """The token as the draft writes it."""
        return {"session": self.session, "proprietaryLocation": self.owner, "currentLocation": self.current}

    def __str__(self) -> str:
        return json.dumps(self.data(), ensure_ascii=False)


def token_of(data: Any) -> SessionToken:
    """The token in decoded JSON; raises Refused (400). Further fields, as later versions have, are ignored."""
    if not isinstance(data, dict):
        raise Refused(400, f"A session token is a JSON object, not {_kind(data)}.")
    session, owner, current = (_text(data, name) for name in ("session", "proprietaryLocation", "currentLocation"))
    return SessionToken(named(session), owner, current)


def _text(data: dict[str, Any], name: str) -> str:
    value = data.get(name)
    if not isinstance(value, str) or not value:
        raise Refused(400, f"The session token has no {name}, or one that is no text: {str(value)[:80]!r}.")
    return value


def tokens_of(body: bytes) -> list[SessionToken]:
    """The token, or the list of tokens, in a body; raises Refused (400)."""
    data = parsed(body, "a session token")
    return [token_of(each) for each in (data if isinstance(data, list) else [data])]


def named(session: str) -> str:
    """A session's name as it is; raises Refused (400) for none, or one that is too long."""
    if not session:
        raise Refused(400, f"Say which session it is: the header {SESSION} is missing or empty.")
    if len(session.encode("utf-8", "surrogatepass")) > MOST_NAME_BYTES:
        raise Refused(400, f"The name of a session has at most {MOST_NAME_BYTES} bytes.")
    return session


def parsed(body: bytes, what: str) -> Any:
    """The JSON in a body; raises Refused (400)."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"The body should be {what} in JSON: {str(error)[:120]}.") from None


def _kind(data: object) -> str:
    return "null" if data is None else f"{type(data).__name__} {str(data)[:40]!r}"


def list_text(values: Iterable[str]) -> str:
    """How a list is kept as one text."""
    return json.dumps({"list": list(values)}, ensure_ascii=False, separators=(",", ":"))


def list_of(text: str | None) -> list[str] | None:
    """The list in a text; None if there is no text. ValueError for a text that is no list."""
    if text is None:
        return None
    try:
        values = json.loads(text)["list"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"the value is no list: {text[:60]!r}") from error
    if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
        raise ValueError(f"the value is no list of texts: {text[:60]!r}")
    return values


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """How often a session has moved since it was born; ``birth`` tells two sessions of one name apart."""

    birth: str
    moves: int

    @property
    def next(self) -> Version:
        """After one more move."""
        return Version(self.birth, self.moves + 1)

    def __str__(self) -> str:
        return f"{self.birth}:{self.moves}"


def version_of(text: str) -> Version | None:
    """The version in a header; None where there is none, as from a tool that knows the draft alone."""
    birth, colon, moves = text.rpartition(":")
    if not colon or not birth or not moves.isascii() or not moves.isdigit() or len(moves) > 12:
        return None
    return Version(birth, int(moves))
