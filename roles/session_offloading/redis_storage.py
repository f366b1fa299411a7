"""The storage in Redis: a real ``redis-server`` of the location's own, on its host, in the agent's folder.

    redis-cli -h HOST -p 6379 -a "$(sed -n 's/^requirepass //p' redis/redis.conf)" hgetall data:SESSION

``data:SESSION`` is a hash of texts, ``requests:SESSION`` a set; the hashes ``sessions``, ``sizes``, ``writes`` and
``settings`` have a field for each session or setting. What belongs together is written in one MULTI. All is absolute,
so that writing it once more does no harm. The data of a large session that arrives are put aside under
``arriving:SESSION``, part by part, and take their place in the MULTI.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any

from roles.session_offloading.messages import list_of, list_text
from roles.session_offloading.records import Changes, Record, StorageFailed, record_of
from roles.session_offloading.redis_server import CONNECTION, REFUSED, RedisServer

_PART = 1 << 20  # bytes of values in one command, about
_Client = Any  # its methods' types are wide: each may wait or not


class RedisStorage:
    """Keeps everything in ``server``, which it closes in the end.

    A write whose connection broke is looked for when the server is back: then it has been done or has failed.
    """

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self._life, self._count = secrets.token_hex(4), itertools.count()

    async def open(self) -> Mapping[str, Record]:
        """The records of all sessions."""
        await self._read(_forget_arriving)
        found = await self._read(lambda client: client.hgetall("sessions"))
        return {_text(name): record_of(_text(text)) for name, text in found.items()}

    async def get(self, session: str, key: str) -> str | None:
        """One value."""
        found = await self._read(lambda client: client.hget(_data(session), _bytes(key)))
        return None if found is None else _text(found)

    async def items(self, session: str) -> Mapping[str, str]:
        """All data of a session."""
        if await self.size(session) > _PART:
            large: dict[str, str] = await self._read(lambda client: _scanned(client, session))
            return large
        found = await self._read(lambda client: client.hgetall(_data(session)))
        return {_text(key): _text(value) for key, value in found.items()}

    async def size(self, session: str) -> int:
        """Bytes of a session's data."""
        return int(await self._read(lambda client: client.hget("sizes", _bytes(session))) or 0)

    async def requests(self, session: str) -> Iterable[str]:
        """The requests that have been carried out."""
        return sorted(map(_text, await self._read(lambda client: client.smembers(_requests(session)))))

    async def carried_out(self, session: str, request: str) -> bool:
        """Whether a request has been carried out."""
        return bool(await self._read(lambda client: client.sismember(_requests(session), _bytes(request))))

    async def write(self, record: Record, changes: Changes, *, fresh: bool = False) -> None:
        """Put record and changes down together."""
        session = record.token.session
        size, held = (0, {}) if fresh or not changes else await self._held(session, changes)
        after = _after(changes, held)
        size += sum(_size(key, value) for key, value in after.items() if value is not None)
        gone = [_bytes(key) for key, value in after.items() if value is None]
        aside = fresh and size > _PART
        if aside:
            await self._put_aside(session, after)

        def fill(pipe: _Client) -> None:
            if fresh:
                pipe.delete(_data(session), _requests(session))
            if gone:
                pipe.hdel(_data(session), *gone)
            if aside:
                pipe.rename(_arriving(session), _data(session))
            for part in () if aside else _parts(after):
                pipe.hset(_data(session), mapping=part)
            if changes.requests:
                pipe.sadd(_requests(session), *map(_bytes, changes.requests))
            if fresh or changes:
                pipe.hset("sizes", _bytes(session), size)

        await self._put(record, fill, _arriving(session) if aside else b"")

    async def drop(self, record: Record) -> None:
        """Remove a session's data and put down the record."""
        await self._put(record, lambda pipe: _remove(pipe, record.token.session))

    async def forget(self, session: str) -> None:
        """Remove all that is known of a session."""

        def fill(pipe: _Client) -> None:
            _remove(pipe, session)
            pipe.hdel("sessions", _bytes(session))
            pipe.hdel("writes", _bytes(session))

        async def done(client: _Client) -> bool:
            return not await client.hexists("sessions", _bytes(session))

        await self._write(fill, done)

    async def setting(self, name: str) -> str | None:
        """A setting of the location."""
        found = await self._read(lambda client: client.hget("settings", name))
        return None if found is None else _text(found)

    async def set(self, name: str, value: str) -> None:
        """Put down a setting."""

        async def done(client: _Client) -> bool:
            return bool(await client.hget("settings", name) == _bytes(value))

        await self._write(lambda pipe: pipe.hset("settings", name, _bytes(value)), done)

    async def close(self) -> None:
        """End the server."""
        await self.server.close()

    # How Redis is asked.

    async def _held(self, session: str, changes: Changes) -> tuple[int, dict[str, str | None]]:
        """The session's bytes without those of all keys that change, and the texts that are added to."""
        keys = list(dict.fromkeys([*changes.gone, *changes.put, *changes.added]))
        added = [key for key in changes.added if key not in changes.gone and key not in changes.put]

        def ask(client: _Client) -> Awaitable[Any]:
            pipe = client.pipeline(transaction=False)
            pipe.hget("sizes", _bytes(session))
            for key in keys:
                pipe.hexists(_data(session), _bytes(key)).hstrlen(_data(session), _bytes(key))
            for key in added:
                pipe.hget(_data(session), _bytes(key))
            found: Awaitable[Any] = pipe.execute()
            return found

        whole, *found = await self._read(ask)
        lengths, texts = found[: 2 * len(keys)], found[2 * len(keys) :]
        pairs = zip(keys, lengths[::2], lengths[1::2], strict=True)
        size = int(whole or 0) - sum(len(_bytes(key)) + length for key, there, length in pairs if there)
        return size, {key: None if text is None else _text(text) for key, text in zip(added, texts, strict=True)}

    async def _put_aside(self, session: str, data: Mapping[str, str | None]) -> None:
        async def ask(client: _Client) -> None:
            await client.delete(_arriving(session))
            for part in _parts(data):
                await client.hset(_arriving(session), mapping=part)

        await self._read(ask)

    async def _put(self, record: Record, fill: Callable[[_Client], object], needed: bytes = b"") -> None:
        session, mark = _bytes(record.token.session), f"{self._life}:{next(self._count)}".encode()

        def whole(pipe: _Client) -> None:
            fill(pipe)
            pipe.hset("sessions", session, _bytes(record.text()))
            pipe.hset("writes", session, mark)

        async def done(client: _Client) -> bool:
            return bool(await client.hget("writes", session) == mark)

        await self._write(whole, done, needed)

    async def _read(self, ask: Callable[[_Client], Awaitable[Any]]) -> Any:
        client = self.server.client
        try:
            return await ask(client)
        except CONNECTION as error:
            await self.server.fell(client)
            raise StorageFailed(f"its redis-server did not answer: {error}") from error
        except REFUSED as error:
            raise StorageFailed(f"its redis-server refused: {error}") from error

    async def _write(
        self, fill: Callable[[_Client], object], done: Callable[[_Client], Awaitable[bool]], needed: bytes = b""
    ) -> None:
        """All that ``fill`` asks for, or nothing; ``done`` looks whether it was done.

        A key that is ``needed`` has to be there: Redis carries out the rest of a MULTI of which a part fails.
        """
        client = self.server.client
        pipe = client.pipeline(transaction=True)
        try:
            if needed:
                await pipe.watch(needed)
                if not await pipe.exists(needed):
                    raise StorageFailed("its redis-server has lost what it was given a moment ago")
                pipe.multi()
            fill(pipe)
            await pipe.execute()
        except CONNECTION as error:
            await self.server.fell(client)
            if not await self._settled(done):
                raise StorageFailed(f"its redis-server died before it had written: {error}") from error
        except REFUSED as error:
            raise StorageFailed(f"its redis-server refused: {error}") from error

    async def _settled(self, done: Callable[[_Client], Awaitable[bool]]) -> bool:
        while True:
            client = await self.server.back()
            try:
                return await done(client)
            except CONNECTION:
                await self.server.fell(client)


def _after(changes: Changes, held: Mapping[str, str | None]) -> dict[str, str | None]:
    """What becomes of each key that changes; None: it goes."""
    after: dict[str, str | None] = {**dict.fromkeys(changes.gone), **changes.put}
    for key, values in changes.added.items():
        before = after[key] if key in after else held.get(key)
        after[key] = list_text([*(list_of(before) or []), *values])
    return after


def _parts(after: Mapping[str, str | None]) -> Iterator[dict[bytes, bytes]]:
    """What is to be put, in commands that are not too long."""
    part: dict[bytes, bytes] = {}
    size = 0
    for key, value in after.items():
        if value is not None:
            part[_bytes(key)] = text = _bytes(value)
            size += len(text)
        if size > _PART:
            yield part
            part, size = {}, 0
    if part:
        yield part


def _remove(pipe: _Client, session: str) -> None:
    pipe.delete(_data(session), _requests(session))
    pipe.hdel("sizes", _bytes(session))


def _data(session: str) -> bytes:
    return b"data:" + _bytes(session)


def _arriving(session: str) -> bytes:
    return b"arriving:" + _bytes(session)


async def _scanned(client: _Client, session: str) -> dict[str, str]:
    """All data of a session, not in one answer, whose bytes would be held beside the texts."""
    return {_text(key): _text(value) async for key, value in client.hscan_iter(_data(session), count=16)}


async def _forget_arriving(client: _Client) -> None:
    async for key in client.scan_iter(match="arriving:*"):
        await client.delete(key)


def _requests(session: str) -> bytes:
    return b"requests:" + _bytes(session)


def _size(key: str, value: str) -> int:
    return len(_bytes(key)) + len(_bytes(value))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")
