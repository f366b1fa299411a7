"""The side that a session leaves: it keeps the data until the taker has said that it has them.

While a session is leaving, its lock is held: what comes for it waits. If the taker falls silent, it is asked, again and
again; it has the session if its version is newer than ours. That it has not and will not is only believed if the data
were not handed out again meanwhile.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress

from roles.session_offloading.book import Book
from roles.session_offloading.messages import MOVE, OWNER, VERSION, Refused, Version, version_of
from roles.session_offloading.place import Post
from roles.session_offloading.records import Record, StorageFailed
from roles.session_offloading.session_data import Written
from testbed.roles.web import WebReply, WebRequest, told

CONFIRM = "x-session-confirm"  # the version that the taker has now
REQUESTS = "x-session-requests"  # how many entries of the body, at its end, are numbers of requests
_EMPTY = b'{"session_data":[]}'


class Giving:
    """Lets sessions go. ``largest`` is what a session may have in bytes to be moved."""

    def __init__(self, book: Book, post: Post, largest: int) -> None:
        self._book, self._place, self._courier, self._signing = book, post.place, post.courier, post.signing
        self._ask_again, self._largest = post.ask_again, largest
        self._settled: dict[str, asyncio.Event] = {}
        self.asked: dict[str, int] = {}  # how often each location (empty: a tool) has asked for data
        self._env, self.begun = post.env, dict[str, float]()  # when the sessions on their way were handed out
        self.left: Callable[[str], None] = lambda _: None  # is told of each session that has left

    # Offers: a move that begins here holds the lock until it is clear where the session is.

    async def offering(self, session: str, until: Callable[[Record], Awaitable[WebReply]]) -> WebReply:
        """Offer a session for as long as ``until`` takes; its result, when it is told, may come before all is clear.

        Raises Refused (400) if the session is not here when its turn comes.
        """
        answer: asyncio.Future[WebReply] = asyncio.get_running_loop().create_future()
        self._env.spawn(self._offer(session, until, answer))
        return await answer

    async def _offer(
        self, session: str, until: Callable[[Record], Awaitable[WebReply]], answer: asyncio.Future[WebReply]
    ) -> None:
        async with self._book.locks.move(session):
            try:
                if not self._book.serves(session):
                    raise Refused(400, f"The session {session!r} is not here (any more).")
                if await self._book.storage.size(session) > self._largest:
                    raise Refused(400, f"The session {session!r} has more than {self._largest} bytes; it stays.")
                self._book.offered.add(session)
                reply = await until(self._book.records[session])
                if not answer.done():
                    answer.set_result(reply)
            except Exception as error:  # noqa: BLE001 - raised where somebody waits for the answer
                if not answer.done():
                    answer.set_exception(error)
            finally:
                self._book.offered.discard(session)
            await self._clear(session)

    # What takers ask.

    async def migrate(self, request: WebRequest) -> WebReply:
        """The command migrate-session."""
        session = request.query.get("session", "")
        record = self._book.records.get(session)
        if record is None:
            return WebReply(200, (("content-type", "application/json"),), _EMPTY)
        taker = request.header(MOVE)
        if request.header(CONFIRM):
            return await self._confirmed(record, taker, request)
        self._signing.check(request, record.token, "migrate")
        if request.header(OWNER, record.token.owner) != record.token.owner:
            raise Refused(403, f"The session {session!r} is of {record.token.owner}, not of {request.header(OWNER)}.")
        self.asked[taker] = self.asked.get(taker, 0) + 1
        if not taker:
            return await self._at_once(session)
        self._place.address(taker)
        if record.leaving and record.leaving != taker:
            raise Refused(503, f"The session {session!r} is on its way to {record.leaving}.")
        if not record.here:
            return WebReply(200, (("content-type", "application/json"),), _EMPTY)
        if record.leaving or session in self._book.offered:
            return await self._hand_out(session, taker)
        return await self._unasked(session, taker)

    async def _at_once(self, session: str) -> WebReply:
        """As the draft has it: the data, which are gone at the same moment."""
        if session in self._book.offered:
            return await self._read_and_drop(session)
        async with self._book.locks.move(session):
            return await self._read_and_drop(session)

    async def _read_and_drop(self, session: str) -> WebReply:
        record = self._book.records[session]
        if record.leaving:
            raise Refused(503, f"The session {session!r} is on its way to {record.leaving}.")
        if not record.here:
            return WebReply(200, (("content-type", "application/json"),), _EMPTY)
        body = Written(await self._book.storage.items(session))
        offered = session in self._book.offered and record.token.owner != self._book.name
        await self._book.gone(session, record.token.owner if offered else record.token.current)
        self.left(session)
        return WebReply(200, (("content-type", "application/json"),), body)

    async def _unasked(self, session: str, taker: str) -> WebReply:
        """Somebody fetches what nobody has offered: hold the lock from now until it is clear who has it."""
        answer: asyncio.Future[WebReply] = asyncio.get_running_loop().create_future()

        async def hold() -> None:
            async with self._book.locks.move(session):
                try:
                    if not self._book.serves(session):
                        raise Refused(503, f"The session {session!r} is not here any more.")
                    answer.set_result(await self._hand_out(session, taker))
                except Exception as error:  # noqa: BLE001 - raised where somebody waits for the answer
                    if not answer.done():
                        answer.set_exception(error)
                await self._clear(session)

        self._env.spawn(hold())
        return await answer

    async def _hand_out(self, session: str, taker: str) -> WebReply:
        await self._book.handed_out(session, taker)
        self.begun.setdefault(session, self._env.now())
        record, items = self._book.records[session], await self._book.storage.items(session)
        requests = list(await self._book.storage.requests(session))
        headers = [("content-type", "application/json"), (VERSION, str(record.version))]
        if requests:
            headers.append((REQUESTS, json.dumps(requests)))
        return WebReply(200, tuple(headers), Written(items))

    async def _confirmed(self, record: Record, taker: str, request: WebRequest) -> WebReply:
        self._signing.check(request, record.token, "confirm")
        # What comes late may be of an earlier move between the same two: the version tells.
        confirmed = record.leaving == taker and version_of(request.header(CONFIRM)) == record.version.next
        if confirmed:
            await self._take_leave(record)
        return told(200, {"session": record.token.session, "confirmed": confirmed})

    async def _take_leave(self, record: Record) -> None:
        token = record.token
        await self._book.gone(token.session, record.leaving if token.owner == self._book.name else token.owner)
        self.settled(token.session)

    def settled(self, session: str) -> None:
        """A session that was leaving is elsewhere for good."""
        self.left(session)
        if session in self._settled:
            self._settled[session].set()

    # What becomes of a session that is leaving.

    def resume(self) -> None:
        """After a restart: ask on where an earlier life has left sessions on their way."""
        for session, record in self._book.records.items():
            if record.leaving:
                self.begun[session] = self._env.now()
                self._env.spawn(self._resume(session))

    async def _resume(self, session: str) -> None:
        async with self._book.locks.move(session):
            await self._clear(session)

    async def _clear(self, session: str) -> None:
        """Return when it is clear whether the session has left; the lock is held."""
        event = self._settled[session] = asyncio.Event()
        try:
            while (record := self._book.records.get(session)) is not None and record.leaving:
                try:
                    async with asyncio.timeout(self._ask_again):
                        await event.wait()
                except TimeoutError:
                    await self._ask(record)
        finally:
            self._settled.pop(session, None)
            self.begun.pop(session, None)

    async def _ask(self, record: Record) -> None:
        """Ask the taker once."""
        session, taker = record.token.session, record.leaving
        given = self._book.given.get(session)
        try:
            reply = await self._courier.send(taker, "test-function", session=session, format="json")
            found = json.loads(reply.content)
            version, taking = version_of(str(found["version"])), bool(found["taking"])
        except (Refused, ValueError, KeyError, TypeError):
            return
        now = self._book.records.get(session)
        if now is None or now.leaving != taker:
            return
        with suppress(StorageFailed):  # asked again
            if is_newer(version, record.version):
                await self._take_leave(now)
            elif not taking and self._book.given.get(session) == given:
                await self._book.stays(session)


def is_newer(version: Version | None, than: Version) -> bool:
    """Whether it is the same session after more moves."""
    return version is not None and version.birth == than.birth and version.moves > than.moves
