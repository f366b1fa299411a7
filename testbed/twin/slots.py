"""A number of equal places that tasks take and give back, first come, first served."""

from __future__ import annotations

import asyncio
from collections import deque


class Slots:
    """``capacity`` places; ``async with slots`` waits for one, and holds it inside.

    Leaner than asyncio's semaphore, and a place that is given back goes straight to the one who waited longest, so
    nobody who comes later can slip in. ``free`` places are left; ``waiting`` tasks are in the queue.
    """

    __slots__ = ("_queue", "capacity", "free")

    def __init__(self, capacity: int) -> None:
        self.capacity = self.free = capacity
        self._queue: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return sum(not each.done() for each in self._queue)

    def try_take(self) -> bool:
        """Take a place if one is free."""
        if not self.free:
            return False
        self.free -= 1
        return True

    async def take(self) -> None:
        """Take a place, once one is free and all who came before have theirs."""
        if self.free:
            self.free -= 1
            return
        place = asyncio.get_running_loop().create_future()
        self._queue.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():  # given, and cancelled before it could be used
                self.give()
            raise

    def give(self) -> None:
        """Give a place back: to the first who waits, if anybody does."""
        queue = self._queue
        while queue:
            place = queue.popleft()
            if not place.done():
                place.set_result(None)
                return
        self.free += 1

    async def __aenter__(self) -> None:
        if self.free:
            self.free -= 1
        else:
            await self.take()

    async def __aexit__(self, *_: object) -> None:
        self.give()
