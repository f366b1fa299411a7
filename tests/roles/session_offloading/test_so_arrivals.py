"""Large sessions that arrive in a storage: all at once in the end, or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from so_stores import looped, opened, record, seen

from roles.session_offloading.records import Changes, StorageFailed
from roles.session_offloading.redis_storage import RedisStorage

needs_redis = pytest.mark.feature("redis-server")


@pytest.mark.parametrize("kind", ["embedded", pytest.param("redis", marks=needs_redis)])
def test_a_large_session_takes_the_place_of_what_was_there_and_outlives_the_storage(kind: str, tmp_path: Path) -> None:
    with looped(tmp_path) as loop:
        first = opened(kind, loop)
        loop.run(first.write(record("s"), Changes({"old": "v"}, {"l": ["a"]}, set(), ["r1"])))
        data = {f"k{number}": str(number) * 300_000 for number in range(10)}
        loop.run(first.write(record("s", 1), Changes(dict(data), {}, set(), ["r2"]), fresh=True))
        assert loop.run(first.size("s")) == sum(len(key) + len(text) for key, text in data.items())
        loop.run(first.close())
        again = opened(kind, loop)
        assert loop.run(seen(again)) == {"settings": [None, None], "s": (record("s", 1), data, {"r2"})}
        loop.run(again.close())


@needs_redis
def test_what_was_put_aside_for_a_session_that_never_arrived_is_forgotten(tmp_path: Path) -> None:
    with looped(tmp_path) as loop:
        redis = loop.redis()
        loop.run(_never_arrived(redis))
        loop.run(redis.close())


async def _never_arrived(redis: RedisStorage) -> None:
    client = redis.server.client
    await client.flushall()
    await redis.write(record("s"), Changes({"k": "old"}))
    large, execute = Changes({f"k{number}": "x" * 600_000 for number in range(4)}), type(client).pipeline

    def losing(self: Any, transaction: bool) -> Any:
        """Somebody has removed what was put aside, before the transaction."""
        pipe = execute(self, transaction=transaction)
        watch = pipe.watch

        async def late(key: bytes) -> Any:
            await client.delete(key)
            return await watch(key)

        pipe.watch = late
        return pipe

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(client), "pipeline", losing)
        with pytest.raises(StorageFailed, match="lost what it was given"):
            await redis.write(record("s", 1), large, fresh=True)
    assert await redis.items("s") == {"k": "old"}
    await client.hset("arriving:s", mapping={"k": "half"})
    await redis.open()
    assert not await client.exists("arriving:s")
