"""Sessions offered to a location below, until it has fetched them or its time is over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from roles.session_offloading.giving import Giving
from roles.session_offloading.messages import Refused, SessionToken
from roles.session_offloading.records import Record
from testbed.roles.web import WebReply, told


class Offers:
    """Answers onload-session: ``most`` sessions at a time, each held for ``seconds``; see Book.offered."""

    def __init__(
        self, giving: Giving, choose: Callable[[Sequence[str]], str], secret: Callable[[], str], most: int,
        seconds: float,
    ) -> None:
        self._giving, self._choose, self._secret, self._most, self._seconds = giving, choose, secret, most, seconds
        self._held: dict[str, asyncio.Event] = {}
        self._secrets: dict[str, str] = {}

    async def down(self, fit: Sequence[str], to: str) -> list[SessionToken]:
        """Offer up to ``most`` of the sessions that ``fit``; their tokens as they are now."""
        left, tokens = list(fit), list[SessionToken]()
        while left and len(tokens) < self._most:
            session = self._choose(left)
            left.remove(session)
            try:
                tokens.append(await self.hold(session, self._seconds))
            except Refused:
                continue  # it has left meanwhile, or is too large: the next one
        return tokens

    async def hold(self, session: str, seconds: float) -> SessionToken:
        """Offer one session for so long; its token. Raises Refused if it is not here when its turn comes."""
        offered: asyncio.Future[SessionToken] = asyncio.get_running_loop().create_future()

        async def until(record: Record) -> WebReply:
            over = self._held[session] = asyncio.Event()
            offered.set_result(record.token)
            try:
                async with asyncio.timeout(seconds):
                    await over.wait()
            except TimeoutError:
                pass
            finally:
                self._held.pop(session, None)
                self._secrets.pop(session, None)
            return told(200, {})

        def ended(task: asyncio.Future[WebReply]) -> None:
            error = None if task.cancelled() else task.exception()
            if not offered.done():
                offered.set_exception(error or Refused(400, f"The session {session!r} is not here."))

        asyncio.ensure_future(self._giving.offering(session, until)).add_done_callback(ended)
        return await offered

    def secret(self, session: str) -> str:
        """What releases a session that is held."""
        return self._secrets.setdefault(session, self._secret())

    def release(self, session: str, secret: str) -> None:
        """Give a held session up; raises Refused unless the secret is its own."""
        if session not in self._held or self._secrets.get(session) != secret:
            raise Refused(400, f"The session {session!r} is not held with this value.")
        self.over(session)

    def over(self, session: str) -> None:
        """The session has been fetched, or is given up: nobody need wait longer."""
        if session in self._held:
            self._held[session].set()

