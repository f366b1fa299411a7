"""The two storages, one beside the other: what is written is there, together or not at all, also after a crash."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from so_stores import HOST, Loop, looped, opened, record, seen
from so_world import Tree

from roles.session_offloading.embedded import EmbeddedStorage
from roles.session_offloading.messages import list_text
from roles.session_offloading.records import Changes, Storage, StorageFailed
from roles.session_offloading.redis_storage import RedisStorage
from testbed.errors import MachineLacks, TestbedError
from testbed.places import home
from testbed.roles.journal import FileJournal

needs_redis = pytest.mark.feature("redis-server")
SESSIONS = ("s", "ключ\u2028", "a:b", "\ud800")
KEYS = ("k", "", "\0", "\U0001f600\n", "data:k", "\udfff")
TEXTS = st.text(st.characters(), max_size=12)  # surrogates as well
LISTS = ("l", "ls\u2029")  # keys that only have lists


@st.composite
def operations(draw: st.DrawFn) -> tuple[str, Any]:
    """One thing to do to a storage."""
    kind = draw(st.sampled_from(["write", "write", "write", "fresh", "drop", "forget", "set"]))
    if kind == "set":
        return kind, (draw(st.sampled_from(["offloading", "ключ"])), draw(TEXTS))
    session = draw(st.sampled_from(SESSIONS))
    one = record(session, draw(st.integers(0, 9)), here=draw(st.booleans()), leaving=draw(st.sampled_from(["", "p2"])))
    changes = Changes(
        draw(st.dictionaries(st.sampled_from(KEYS), TEXTS, max_size=3)),
        draw(st.dictionaries(st.sampled_from(LISTS), st.lists(TEXTS, max_size=3), max_size=2)),
        draw(st.sets(st.sampled_from(KEYS + LISTS), max_size=2)),
        draw(st.lists(st.text(max_size=5), max_size=2)),
    )
    return kind, (one, changes)


async def do(storage: Storage, kind: str, what: Any) -> None:
    """Do it."""
    if kind == "set":
        await storage.set(*what)
    elif kind == "forget":
        await storage.forget(what[0].token.session)
    elif kind == "drop":
        await storage.drop(what[0])
    else:
        await storage.write(*what, fresh=kind == "fresh")


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    """One for all."""
    with looped(tmp_path_factory.mktemp("stores")) as found:
        yield found


@pytest.fixture(scope="module")
def redis(loop: Loop) -> Iterator[RedisStorage]:
    """A server for all."""
    storage = loop.redis()
    yield storage
    loop.run(storage.close())


@needs_redis
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(todo=st.lists(operations(), min_size=1, max_size=12))
def test_both_storages_keep_the_same_and_a_journal_gives_it_again(
    todo: list[tuple[str, Any]], loop: Loop, redis: RedisStorage, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async def story() -> None:
        await redis.server.client.flushall()
        path = tmp_path_factory.mktemp("one") / "sessions.log"
        embedded = EmbeddedStorage(FileJournal(path))
        for kind, what in todo:
            await do(embedded, kind, what)
            await do(redis, kind, what)
        expected = await seen(redis)
        assert await seen(EmbeddedStorage(FileJournal(path))) == expected
        assert await embedded.items("s") == await redis.items("s")
        assert await embedded.size("s") == await redis.size("s")

    loop.run(story())


@pytest.mark.parametrize("kind", ["embedded", pytest.param("redis", marks=needs_redis)])
@pytest.mark.parametrize("persist", [True, False])
def test_what_was_written_is_there_in_the_next_life_if_it_persists(kind: str, persist: bool, tmp_path: Path) -> None:
    with looped(tmp_path) as loop:
        first = opened(kind, loop, persist=persist)
        loop.run(first.write(record("s"), Changes({"k": "v"}, {"l": ["a"]}, set(), ["r1"])))
        loop.run(first.write(record("s", 1), Changes({}, {"l": ["b"]}, set(), ["r2"])))
        loop.run(first.set("offloading", "reject"))
        loop.run(first.close())
        again = opened(kind, loop, persist=persist)
        session = record("s", 1), {"k": "v", "l": list_text(["a", "b"])}, {"r1", "r2"}
        kept = {"settings": ["reject", None], "s": session}
        assert loop.run(seen(again)) == (kept if persist else {"settings": [None, None]})
        loop.run(again.close())


def test_a_journal_that_has_grown_is_written_anew_and_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "sessions.log"

    async def story() -> None:
        storage = EmbeddedStorage(FileJournal(path))
        for number in range(60):
            await storage.write(record("s", number), Changes({"k": "x" * 50_000}, {"l": [str(number)]}, set(), ["r"]))
        await storage.write(record("t"), Changes({"k": "v"}))
        await storage.drop(record("t", 1, here=False))
        await storage.set("offloading", "reject")
        assert path.stat().st_size < 1_200_000  # of three million that were written
        journal = FileJournal(path)
        assert await seen(EmbeddedStorage(journal)) == {
            "settings": ["reject", None],
            "s": (record("s", 59), {"k": "x" * 50_000, "l": list_text(map(str, range(60)))}, {"r"}),
            "t": (record("t", 1, here=False), {}, set()),
        }

    asyncio.run(story())


@pytest.mark.parametrize("cut", [1, 10, 40])
def test_a_write_that_a_crash_cut_short_has_not_been(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "sessions.log"

    async def story() -> None:
        storage = EmbeddedStorage(FileJournal(path))
        await storage.write(record("s"), Changes({"k": "old"}))
        await storage.write(record("s", 1), Changes({"k": "new"}, {"l": ["a"]}, set(), ["r"]))
        os.truncate(path, path.stat().st_size - cut)
        again = EmbeddedStorage(FileJournal(path))
        assert await seen(again) == {"settings": [None, None], "s": (record("s"), {"k": "old"}, set())}
        await again.write(record("s", 2), Changes({"k": "newer"}))
        assert (await seen(EmbeddedStorage(FileJournal(path))))["s"][1] == {"k": "newer"}

    asyncio.run(story())


@needs_redis
def test_a_server_that_is_killed_comes_back_with_all_that_was_acknowledged(tmp_path: Path) -> None:
    with looped(tmp_path) as loop:
        storage = loop.redis()

        async def story() -> tuple[list[str], list[str]]:
            acknowledged, failed = [], []
            for number in range(200):
                if number in (50, 120):
                    os.kill(storage.server.pid, signal.SIGKILL)
                try:
                    await storage.write(record("s", number), Changes({}, {"l": [str(number)]}))
                    acknowledged.append(str(number))
                except StorageFailed as error:
                    failed.append(str(error))
                    await storage.server.back()
            assert await storage.get("s", "l") == list_text(acknowledged)
            return acknowledged, failed

        acknowledged, failed = loop.run(story())
        assert len(acknowledged) > 150
        assert len(failed) >= 2
        assert all("redis-server" in each for each in failed)
        loop.run(storage.close())


@needs_redis
def test_a_write_is_found_again_where_the_server_died_right_after_it(loop: Loop, redis: RedisStorage) -> None:
    async def story() -> None:
        await redis.server.client.flushall()

        async def write(value: str, *, first: bool) -> None:
            """The server dies with the transaction, before or after it has carried it out."""
            client = redis.server.client
            real = client.pipeline

            def dying(transaction: bool) -> Any:
                pipe = real(transaction=transaction)
                execute = pipe.execute

                async def and_die() -> None:
                    if not first:
                        await execute()
                    os.kill(redis.server.pid, signal.SIGKILL)
                    raise ConnectionResetError("died")

                if transaction:
                    pipe.execute = and_die
                return pipe

            client.pipeline = dying
            await redis.write(record("s"), Changes({"k": value}))

        await write("v", first=False)  # acknowledged all the same
        assert dict(await redis.items("s")) == {"k": "v"}
        with pytest.raises(StorageFailed, match="died before it had written"):
            await write("w", first=True)
        assert dict(await redis.items("s")) == {"k": "v"}

    loop.run(story())


@needs_redis
def test_the_password_is_in_a_file_of_the_agents_own_and_nowhere_else(loop: Loop, redis: RedisStorage) -> None:
    conf = loop.folder / "redis" / "redis.conf"
    password = next(line.split()[1] for line in conf.read_text().splitlines() if line.startswith("requirepass"))
    assert stat.S_IMODE(conf.stat().st_mode) == 0o600
    pid = redis.server.pid
    assert password not in Path(f"/proc/{pid}/cmdline").read_text() + Path(f"/proc/{pid}/environ").read_text()
    asked = ["redis-cli", "-h", HOST, "-p", str(loop.port), "ping"]
    assert "NOAUTH" in subprocess.run(asked, capture_output=True, text=True, check=False, timeout=20).stdout


@needs_redis
def test_the_server_dies_with_its_agent(tmp_path: Path) -> None:
    program = (
        "import sys, os, pathlib, signal\n"
        "from so_stores import Loop\n"
        "loop = Loop(pathlib.Path(sys.argv[1])); storage = loop.redis()\n"
        "print(storage.server.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    paths = os.pathsep.join([str(home()), str(Path(__file__).parent)])
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], env=os.environ | {"PYTHONPATH": paths},
                          capture_output=True, text=True, check=False, timeout=60)  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    pid = int(done.stdout)
    watched = Path(f"/proc/{pid}/stat")
    for _ in range(500):
        if not watched.exists() or watched.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        asyncio.run(asyncio.sleep(0.02))
    pytest.fail(watched.read_text())


@needs_redis
def test_an_address_that_is_taken_is_told_with_what_the_server_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roles.session_offloading.redis_server.PATIENCE_S", 0.5)
    with looped(tmp_path) as loop:
        loop.port = 1 if os.geteuid() else 0
        with pytest.raises(TestbedError, match=r"redis-server cannot be used at 127\.0\.0\.1"):
            loop.redis()


def test_a_machine_without_redis_is_told_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("testbed.substrate.programs.shutil.which", lambda *_, **__: None)
    with looped(tmp_path) as loop, pytest.raises(MachineLacks, match=r"redis-server.*apt-get install"):
        loop.redis()


def test_the_twin_says_that_it_has_no_redis() -> None:
    async def story(tree: Tree) -> None:
        pytest.fail("it started")

    with pytest.raises(TestbedError, match="storage: redis needs a real program, and the twin has none"):
        Tree({"storage": "redis"}).run(story)
