"""The gateway of a location: /function/<name> runs a function where its session is, or says where that is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from roles.session_offloading.book import RECEIVER
from roles.session_offloading.commands import Commands
from roles.session_offloading.edgedb import EdgeDb
from roles.session_offloading.messages import MANAGER, REQUEST_ID, SESSION, Refused, named
from roles.session_offloading.propagating import propagate
from roles.session_offloading.records import Changes, Record, StorageFailed
from roles.session_offloading.running import failure
from testbed.roles.web import WebReply, WebRequest, said

if TYPE_CHECKING:
    from roles.session_offloading.location import Location

RETRY_AFTER = ("retry-after", "5")
_FUNCTION = "/function/"


class Gateway:
    """Answers every request that comes to a location."""

    def __init__(self, location: Location) -> None:
        self._location, self._book = location, location.book
        self._commands = Commands(location)

    async def answer(self, request: WebRequest) -> WebReply:
        """The answer, whatever was asked."""
        try:
            return await self._answer(request)
        except Refused as refused:
            headers = (RETRY_AFTER,) if refused.status == 503 else ()
            return said(refused.status, f"{refused}\n", *headers)
        except StorageFailed as failed:
            return said(500, f"The storage of {self._location.place.name} failed: {failed}\n")

    async def _answer(self, request: WebRequest) -> WebReply:
        path = request.path
        name = path.removeprefix(_FUNCTION).rstrip("/")
        if seconds := self._location.options.taking_in(len(request.body)):
            await self._location.env.sleep(seconds)
        if not path.startswith(_FUNCTION) or not name:
            raise Refused(404, f"There is nothing at {path[:200]!r}; functions are below {_FUNCTION}.")
        if name == MANAGER:
            return await self._commands.answer(request)
        if name not in self._location.functions:
            known = ", ".join(self._location.functions) or "none"
            raise Refused(404, f"The function {name!r} is not deployed at {self._location.place.name}; there are: "
                          f"{known}.")  # fmt: skip
        return await self.serve(name, request, self._session(request))

    def _session(self, request: WebRequest) -> str:
        session = named(request.header(SESSION))
        if session.startswith(RECEIVER):
            raise Refused(400, f"The names of sessions do not begin with {RECEIVER}.")
        return session

    async def serve(self, name: str, request: WebRequest, session: str) -> WebReply:
        """Run a function for a session, or say where it is."""
        locks, options = self._book.locks, self._location.options
        if options.busy == "503" and locks.moving(session):
            raise Refused(503, f"The session {session!r} is on its way.")
        if options.born_up and self._location.status == "reject" and session not in self._book.records:
            await self._born_up(session)
        reads = self._location.reads(name)
        async with locks.reading(session) if reads else locks.writing(session):
            record = self._book.records.get(session)
            if record is None:
                record = self._book.born(session, self._location.birth())
            if record.token.current != self._location.place.name:
                return self._redirect(name, request, record)
            self._book.used[session] = self._location.env.now()
            return await self._run(name, request, record, reads)

    async def _born_up(self, session: str) -> None:
        async with self._book.locks.writing(session):
            if session not in self._book.records:
                await self._book.write(self._book.born(session, self._location.birth()), Changes())
        if self._location.place.parent is not None and self._book.serves(session):
            await self._commands.offload(session)

    def _redirect(self, name: str, request: WebRequest, record: Record) -> WebReply:
        where = f"http://{self._location.place.address(record.token.current)}{_FUNCTION}{name}"
        query = f"?{request.raw_query}" if request.raw_query else ""
        return said(307, "", ("location", where + query), ("x-location", self._location.place.name))

    async def _run(self, name: str, request: WebRequest, record: Record, reads: bool) -> WebReply:
        session = record.token.session
        number = request.header(REQUEST_ID) if self._location.options.request_ids else ""
        if number and await self._book.storage.carried_out(session, number):
            return said(208, "This request has been carried out before.\n", ("x-location", self._location.place.name))
        db = EdgeDb(self._book.storage, session, lambda: self._details(request, session))
        result, queue_s = await self._location.runner.run(name, _text(request.body), db)
        if result.error:
            if not self._is_written(record):
                await self._book.write(record, Changes())
            raise failure(name, result)
        changes = Changes() if reads else db.changes
        if number and not reads:
            changes.requests.append(number)
        if changes or not self._is_written(record):
            await self._book.write(record, changes)
        self._location.written.add(session)
        for each in db.propagated:
            await propagate(self._location, each)
        times = (("x-init-s", result.init_s), ("x-exec-s", result.exec_s), ("x-queue-s", queue_s))
        headers = [("x-location", self._location.place.name), *((key, f"{value:.6f}") for key, value in times)]
        headers += [(key.lower(), value) for key, value in db.headers.items()]
        return said(db.status, result.output, *headers)

    def _is_written(self, record: Record) -> bool:
        return record.token.session in self._location.written

    def _details(self, request: WebRequest, session: str) -> Mapping[str, Any]:
        return {
            "verb": request.verb,
            "query": dict(request.query),
            "headers": dict(request.headers),
            "session": session,
            "location": self._location.place.name,
        }


def _text(body: bytes) -> str:
    return body.decode("utf-8", "replace")
