"""One lock for each session: shared by what only reads, exclusive for what writes or moves it, in order of arrival."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field


@dataclass
class _Lock:
    readers: int = 0
    owner: str = ""  # why it is held exclusively; empty if it is not
    line: deque[tuple[asyncio.Future[None], str]] = field(default_factory=deque)

    @property
    def idle(self) -> bool:
        return not (self.readers or self.owner or self.line)

    def admit(self) -> None:
        """Let in whoever may go, from the front of the line."""
        while self.line and not self.owner:
            waiter, purpose = self.line[0]
            if waiter.cancelled():
                self.line.popleft()
                continue
            if purpose and self.readers:
                return
            self.line.popleft()
            self.take(purpose)
            waiter.set_result(None)

    def take(self, purpose: str) -> None:
        if purpose:
            self.owner = purpose
        else:
            self.readers += 1

    def leave(self, purpose: str) -> None:
        if purpose:
            self.owner = ""
        else:
            self.readers -= 1
        self.admit()


class Locks:
    """The locks of all sessions of one location. ``MOVE`` holds a session that is on its way."""

    MOVE = "move"
    WRITE = "write"

    def __init__(self) -> None:
        self._locks: dict[str, _Lock] = {}

    def moving(self, session: str) -> bool:
        """Whether a move holds the session, or will when its turn comes."""
        lock = self._locks.get(session)
        return lock is not None and (
            lock.owner == self.MOVE or any(purpose == self.MOVE for waiter, purpose in lock.line if not waiter.done())
        )

    def held(self, session: str) -> bool:
        """Whether anybody has the session, or waits for it."""
        return session in self._locks

    def reading(self, session: str) -> Hold:
        """Hold a session together with others that only read."""
        return Hold(self, session, "")

    def writing(self, session: str) -> Hold:
        """Hold a session alone, to run what may write."""
        return Hold(self, session, self.WRITE)

    def move(self, session: str) -> Hold:
        """Hold a session alone, to move it."""
        return Hold(self, session, self.MOVE)

    async def take(self, session: str, purpose: str) -> _Lock:
        """The lock of a session, when it is its turn."""
        lock = self._locks.get(session)
        if lock is None:
            lock = self._locks[session] = _Lock()
        if not lock.owner and not lock.line and not (purpose and lock.readers):
            lock.take(purpose)
        else:
            await self._wait(lock, session, purpose)
        return lock

    def leave(self, lock: _Lock, session: str, purpose: str) -> None:
        """Give it back."""
        lock.leave(purpose)
        self._forget(session, lock)

    async def _wait(self, lock: _Lock, session: str, purpose: str) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        lock.line.append((waiter, purpose))
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                lock.leave(purpose)  # its turn came as it went
            else:
                waiter.cancel()
                lock.admit()
            self._forget(session, lock)
            raise

    def _forget(self, session: str, lock: _Lock) -> None:
        if lock.idle and self._locks.get(session) is lock:
            del self._locks[session]


class Hold:
    """Holds a session's lock for a block."""

    __slots__ = ("_lock", "_locks", "_purpose", "_session")

    def __init__(self, locks: Locks, session: str, purpose: str) -> None:
        self._locks, self._session, self._purpose = locks, session, purpose

    async def __aenter__(self) -> None:
        self._lock = await self._locks.take(self._session, self._purpose)

    async def __aexit__(self, *_: object) -> None:
        self._locks.leave(self._lock, self._session, self._purpose)
