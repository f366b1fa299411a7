"""Both storages, open in one event loop, and all that can be seen of one."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from roles.session_offloading.embedded import EmbeddedStorage
from roles.session_offloading.messages import SessionToken, Version
from roles.session_offloading.records import Record, Storage
from roles.session_offloading.redis_server import redis_server
from roles.session_offloading.redis_storage import RedisStorage
from testbed.roles.api import Site
from testbed.roles.live import LiveEnvironment
from testbed.roles.web_wire import WebWire

T = TypeVar("T")
HOST = "127.0.0.1"


class Loop:
    """An event loop that waits while nobody uses it, with the world of one live agent in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self.folder = folder
        self.env = self.run(self._environment())
        with socket.create_server((HOST, 0)) as free:
            self.port = free.getsockname()[1]

    async def _environment(self) -> LiveEnvironment:
        return LiveEnvironment(Site("p1", "location", 1, {"p1": HOST}, {}, {}), WebWire(), self.folder)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result; no longer than a minute."""
        return self._loop.run_until_complete(asyncio.wait_for(work, 60))

    def embedded(self, *, persist: bool = True) -> EmbeddedStorage:
        """As a location opens it."""
        return EmbeddedStorage(self.env.journal("sessions") if persist else None)

    def redis(self, *, persist: bool = True) -> RedisStorage:
        """As a location opens it."""
        return RedisStorage(self.run(redis_server(self.env, HOST, self.port, keep=persist)))

    def close(self) -> None:
        """End what is left."""
        self.run(self.env.close())
        self._loop.close()


@contextmanager
def looped(folder: Path) -> Iterator[Loop]:
    """A loop, closed in the end."""
    loop = Loop(folder)
    try:
        yield loop
    finally:
        loop.close()


def record(session: str, moves: int = 0, *, here: bool = True, leaving: str = "") -> Record:
    """A record of a session whose owner is p3."""
    return Record(SessionToken(session, "p3", "p1" if here else "p2"), Version("b", moves), here, leaving)


def opened(kind: str, loop: Loop, *, persist: bool = True) -> Storage:
    """A storage of a kind, as an agent opens it at its start."""
    return loop.redis(persist=persist) if kind == "redis" else loop.embedded(persist=persist)


async def seen(storage: Storage) -> dict[str, Any]:
    """All that can be asked of a storage."""
    records = await storage.open()
    found: dict[str, Any] = {"settings": [await storage.setting(name) for name in ("offloading", "ключ")]}
    for session, each in records.items():
        items = dict(await storage.items(session))
        assert await storage.size(session) == sum(_bytes(key) + _bytes(value) for key, value in items.items())
        assert items == {key: await storage.get(session, key) for key in items}
        requests = set(await storage.requests(session))
        assert [number for number in requests if not await storage.carried_out(session, number)] == []
        found[session] = each, items, requests
    return found


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
