"""What a location knows of a session, and where that and the session's data are kept."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from roles.session_offloading.messages import SessionToken, Version, token_of


@dataclass(frozen=True, slots=True)
class Record:
    """What a location knows of a session. ``here``: the data are here.

    ``leaving`` names the location that has been given the data and has not said yet that it keeps them: until it does,
    they are here as well, and nobody touches them.
    """

    token: SessionToken
    version: Version
    here: bool
    leaving: str = ""

    def text(self) -> str:
        """As it is kept."""
        short = [self.version.birth, self.version.moves, int(self.here), self.leaving]
        return json.dumps([self.token.data(), *short], ensure_ascii=False, separators=(",", ":"))


def record_of(text: str | bytes) -> Record:
    """The record in a text that :meth:`Record.text` made."""
    data, birth, moves, here, leaving = json.loads(text)
    return Record(token_of(data), Version(birth, moves), bool(here), leaving)


@dataclass
class Changes:
    """What one invocation, or one move, changes in a session's data, all at once or not at all.

    ``added`` are the texts to put at the end of lists, ``put`` whole values, which come first; ``request`` is the
    number of a request that has been carried out.
    """

    put: dict[str, str] = field(default_factory=dict)
    added: dict[str, list[str]] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.put or self.added or self.gone or self.requests)


class Storage(Protocol):
    """Keeps the records and data of one location. In the twin nothing here waits.

    What ``write`` and ``forget`` have acknowledged survives a crash of the agent, if the storage persists. All methods
    may raise StorageFailed.
    """

    async def open(self) -> Mapping[str, Record]:
        """Begin; gives the records of all sessions known from an earlier life."""

    async def get(self, session: str, key: str) -> str | None:
        """One value."""

    async def items(self, session: str) -> Mapping[str, str]:
        """All data of a session; empty if there are none."""

    async def size(self, session: str) -> int:
        """Bytes of a session's data: keys and values in UTF-8."""

    async def requests(self, session: str) -> Iterable[str]:
        """The requests of a session that have been carried out."""

    async def carried_out(self, session: str, request: str) -> bool:
        """Whether a request of a session has been carried out."""

    async def write(self, record: Record, changes: Changes, *, fresh: bool = False) -> None:
        """Put record and changes down together. ``fresh``: in the place of all data of the session."""

    async def drop(self, record: Record) -> None:
        """Remove a session's data and put down the record, together."""

    async def forget(self, session: str) -> None:
        """Remove all that is known of a session."""

    async def setting(self, name: str) -> str | None:
        """A setting of the location."""

    async def set(self, name: str, value: str) -> None:
        """Put down a setting of the location."""

    async def close(self) -> None:
        """Let go of it."""


class StorageFailed(Exception):
    """The storage did not do what it was asked for."""
