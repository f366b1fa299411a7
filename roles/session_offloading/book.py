"""The sessions of one location: the records in memory, each change written to the storage before it counts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from roles.session_offloading.locks import Locks
from roles.session_offloading.messages import SessionToken, Version
from roles.session_offloading.records import Changes, Record, Storage

RECEIVER = "@receiver:"  # begins the names of sessions that belong to receivers of a location, which never move


class Book:
    """``name`` is the location. Records change under the session's lock, or by what settles a move that holds it."""

    def __init__(self, name: str, storage: Storage) -> None:
        self.name, self.storage, self.locks = name, storage, Locks()
        self.records: dict[str, Record] = {}
        self.offered: set[str] = set()  # held by a move of ours; whoever fetches them gets them
        self.taking: set[str] = set()  # being fetched by us
        self.given: dict[str, int] = {}  # how often the data of a session that is leaving have been handed out
        self.used: dict[str, float] = {}  # when a session was last used here

    async def open(self) -> None:
        """Read what an earlier life has left."""
        self.records = dict(await self.storage.open())

    def serves(self, session: str) -> bool:
        """Whether the session is here and stays, as far as anybody knows."""
        record = self.records.get(session)
        return record is not None and record.here and record.token.current == self.name and not record.leaving

    def movable(self) -> list[str]:
        """The sessions that a move can begin with."""
        return [session for session, record in self.records.items() if self.serves(session)
                and not self.locks.moving(session) and not record.token.session.startswith(RECEIVER)]  # fmt: skip

    def born(self, session: str, birth: str) -> Record:
        """A new session, created here; it counts for others when something is written of it."""
        record = Record(SessionToken(session, self.name, self.name), Version(birth, 0), here=True)
        self.records[session] = record
        return record

    async def write(self, record: Record, changes: Changes, *, fresh: bool = False) -> None:
        """Write a record, with what changes in the session's data; it counts when this returns."""
        await self.storage.write(record, changes, fresh=fresh)
        self.records[record.token.session] = record

    async def arrived(
        self, token: SessionToken, version: Version, data: dict[str, str], requests: Iterable[str]
    ) -> Record:
        """A session is here from now on, with these data."""
        record = Record(token.at(self.name), version, here=True)
        await self.write(record, Changes(data, requests=list(requests)), fresh=True)
        return record

    async def handed_out(self, session: str, taker: str) -> None:
        """Its data are with ``taker``, who has not said yet that it keeps them."""
        self.given[session] = self.given.get(session, 0) + 1
        if self.records[session].leaving != taker:
            await self.write(replace(self.records[session], leaving=taker), Changes())

    async def gone(self, session: str, current: str) -> None:
        """Its data are elsewhere for good; who asks here is sent to ``current``."""
        record = self.records[session]
        await self._left(Record(record.token.at(current), record.version, here=False))

    async def _left(self, record: Record) -> None:
        session = record.token.session
        await self.storage.drop(record)
        self.records[session] = record
        self.given.pop(session, None)
        self.used.pop(session, None)

    async def stays(self, session: str) -> None:
        """Nobody has taken its data."""
        self.given.pop(session, None)
        await self.write(replace(self.records[session], leaving=""), Changes())

    async def learned(self, token: SessionToken, version: Version | None) -> bool:
        """The holder of an own session tells where it is; False for news that are old. A tool tells no version.

        If the session was leaving here, whoever was given its data has them: they are dropped in the same moment.
        """
        known = self.records[token.session]
        here = known.here or (version is None and token.current == self.name)  # a tool has brought it home, empty
        version = version or known.version.next
        if version.birth == known.version.birth and version.moves < known.version.moves + bool(known.leaving):
            return False
        if known.leaving:
            await self._left(Record(token, version, here=False))
        else:
            await self.write(replace(known, token=token, version=version, here=here), Changes())
        return True

    async def forget(self, session: str) -> None:
        """Remove all that is known of a session."""
        await self.storage.forget(session)
        self.records.pop(session, None)
        self.used.pop(session, None)
