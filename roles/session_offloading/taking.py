"""The side that a session comes to: it fetches the data, keeps them, tells the owner, and lets the giver forget.

In this order, so that at each moment somebody has the data and whoever asks is sent to where they are or will be. Only
fetching and keeping happen under the session's lock. What remains to be told is told again until it is heard, also
after a restart.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from roles.session_offloading.book import Book
from roles.session_offloading.giving import CONFIRM, REQUESTS
from roles.session_offloading.messages import (
    MOVE,
    OWNER,
    VERSION,
    Refused,
    SessionToken,
    token_of,
    version_of,
)
from roles.session_offloading.place import Post
from roles.session_offloading.records import Record
from roles.session_offloading.session_data import Reading
from testbed.roles.web import WebReply, said
from testbed.tables import Cell

MOST_WAIT = 8  # times the usual pause between two attempts to tell an owner


class Taking:
    """Takes sessions in."""

    def __init__(self, book: Book, post: Post) -> None:
        self._book, self._place, self._courier, self._signing = book, post.place, post.courier, post.signing
        self._env, self._ask_again = post.env, post.ask_again
        self.telling: set[str] = set()

    async def accept(self, token: SessionToken) -> WebReply:
        """Take the session that a location below offers."""
        if not self._place.tree.holds(self._place.name, token.current) or token.current == self._place.name:
            raise Refused(403, f"The session {token.session!r} is not below {self._place.name}: {token}.")
        self._place.address(token.owner)
        record = await self.take(token)
        return said(200, f"Offloaded:\n\tOld: {token}\n\tNew: {record.token}\n")

    async def take(self, token: SessionToken) -> Record:
        """Fetch a session from where its token says that it is; raises Refused if that fails.

        Goes on to its end whoever waits for it.
        """
        done: asyncio.Future[Record] = asyncio.get_running_loop().create_future()

        async def work() -> None:
            try:
                done.set_result(await self._take(token))
            except Exception as error:  # noqa: BLE001 - raised where somebody waits
                if not done.done():
                    done.set_exception(error)

        self._env.spawn(work())
        return await done

    async def _take(self, token: SessionToken) -> Record:
        session = token.session
        async with self._book.locks.move(session):
            if self._book.serves(session):
                record = self._book.records[session]
                if record.token.owner != token.owner:
                    raise Refused(403, f"{self._place.name} has a session {session!r} of {record.token.owner} already; "
                                  f"this one claims to be of {token.owner}.")  # fmt: skip
                return record
            self._book.taking.add(session)
            try:
                record = await self._fetch(token)
            finally:
                self._book.taking.discard(session)
        if not await self._tell_once(record, token.current):
            self._tell_later(record, token.current)
        return record

    async def _fetch(self, token: SessionToken) -> Record:
        begun = self._env.now()
        headers = {MOVE: self._place.name, OWNER: token.owner, **self._signing.proof(token, "migrate")}
        data = Reading()
        reply = await self._courier.send(
            token.current, "migrate-session", headers=headers, session=token.session, sink=data.take
        )
        if reply.status != 200:
            status = 403 if reply.status == 403 else 502
            raise Refused(status, f"{token.current} does not give {token.session!r}: {reply.status} {reply.text[:200]}")
        version = version_of(reply.header(VERSION))
        if version is None:
            raise Refused(400, f"{token.current} does not have the session {token.session!r}.")
        requests = json.loads(reply.header(REQUESTS) or "[]")
        record = await self._book.arrived(token, version.next, data.done(), requests)
        self._book.used[token.session] = self._env.now()
        await self._note(token, self._env.now() - begun)
        return record

    async def _note(self, token: SessionToken, duration_s: float) -> None:
        row: dict[str, Cell] = {"t": self._env.now(), "session": token.session, "owner": token.owner}
        row |= {"source": token.current, "target": self._place.name, "duration_s": duration_s}
        row["size_bytes"] = await self._book.storage.size(token.session)
        self._env.emit("so_moves", row)

    # What remains to be told.

    def resume(self) -> None:
        """After a restart: tell the owners of all sessions that are here, in case an earlier life could not."""
        for record in self._book.records.values():
            if record.here and record.token.current == self._place.name and record.token.owner != self._place.name:
                self._tell_later(record, "")

    def _tell_later(self, record: Record, giver: str) -> None:
        if record.token.session not in self.telling:
            self.telling.add(record.token.session)
            self._env.spawn(self._tell(record.token.session, giver))

    async def _tell(self, session: str, giver: str) -> None:
        """Tell until it is heard, or the session has moved on: then the next holder tells."""
        wait = self._ask_again
        try:
            while True:
                record = self._book.records.get(session)
                if record is None or not record.here or await self._tell_once(record, giver):
                    return
                await self._env.sleep(wait)
                wait = min(2 * wait, MOST_WAIT * self._ask_again)
        finally:
            self.telling.discard(session)

    async def _tell_once(self, record: Record, giver: str) -> bool:
        """Tell the owner, then the giver; False if the owner has not heard it."""
        if record.token.owner != self._place.name and not await self._tell_owner(record):
            return False
        if giver and giver != record.token.owner:  # an owner who knows where its session is has let go of the data
            await self._confirm(record, giver)
        return True

    async def _tell_owner(self, record: Record) -> bool:
        headers = {VERSION: str(record.version), **self._signing.proof(record.token, "update")}
        try:
            reply = await self._courier.send(
                record.token.owner, "update-session", str(record.token).encode("utf-8", "surrogatepass"), headers
            )
        except Refused:
            return False
        return reply.status == 200 or reply.status == 400  # an owner that lost its memory knows no such session

    async def _confirm(self, record: Record, giver: str) -> None:
        """The giver may forget the data. If it does not hear this, it will ask."""
        before = record.token.at(giver)
        headers = {MOVE: self._place.name, CONFIRM: str(record.version), **self._signing.proof(before, "confirm")}
        try:
            await self._courier.send(giver, "migrate-session", headers=headers, session=record.token.session)
        except Refused:
            return

    # Onload: from above.

    async def pull(self, climb: bool) -> list[tuple[SessionToken, SessionToken]]:
        """Ask the parent (or, climbing, one ancestor after the other) for sessions, and take them: old and new tokens.

        Raises Refused (400) if none of them has one to give.
        """
        above = tuple(reversed(self._place.tree.path(self._place.name)))[1:]
        said_last = ""
        for ancestor in above if climb else above[:1]:
            mine = SessionToken("-", self._place.name, self._place.name)
            headers = {"x-onload-location": self._place.name, **self._signing.proof(mine, "onload")}
            reply = await self._courier.send(ancestor, "onload-session", headers=headers)
            if reply.status == 200:
                return await self._take_each(reply)
            said_last = reply.text.strip()[:200]
        raise Refused(400, f"Nothing to onload: {said_last}")

    async def _take_each(self, reply: WebReply) -> list[tuple[SessionToken, SessionToken]]:
        try:
            data: Any = json.loads(reply.content)
        except ValueError:
            raise Refused(502, f"What came is no session token: {reply.text[:80]!r}.") from None
        tokens = [token_of(each) for each in (data if isinstance(data, list) else [data])]
        taken, failed = [], ""
        for token in tokens:
            try:
                taken.append((token, (await self.take(token)).token))
            except Refused as refused:
                failed = str(refused)
        if not taken:
            raise Refused(502, failed or "The answer names no session.")
        return taken

