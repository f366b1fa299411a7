"""The live Environment without an agent around it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import pytest

from testbed import seeds
from testbed.roles.api import CallFailed, Container, ContainerFailed, Function, FunctionResult, Method, Service, Site
from testbed.roles.live import LiveEnvironment
from testbed.tables import Column, Table

NAMES: Method[str, str] = Method("names", str, str, streams=True)
COLUMNS = (Column("t", "number", "s", ""), Column("what", "text", "", ""), Column("ok", "truth", "", ""))
TABLE = Table("seen", "", COLUMNS)
SITE = Site("n1", "server", 3, {"n1": "10.0.0.9"}, {}, {"f": Function(name="f", code="/f.py")})


class Loopback:
    """A wire that ends in itself."""

    def __init__(self) -> None:
        self.served: list[tuple[str, int]] = []
        self.closed = False

    def encode(self, message: Any) -> bytes:
        return str(message).encode()

    def decode(self, kind: type[Any], data: bytes) -> Any:
        return data.decode()

    async def serve(self, host: str, port: int, service: Service) -> None:
        self.served.append((host, port))

    async def call(self, address: str, method: Method[Any, Any], message: Any, timeout: float) -> Any:
        raise CallFailed("unreachable", address)

    async def stream(self, address: str, method: Method[Any, Any], message: Any) -> AsyncIterator[Any]:
        for letter in message:
            yield letter

    def framing(self, method: Method[Any, Any], *, reply: bool) -> int:
        return 0

    async def close(self) -> None:
        self.closed = True


class Doubler:
    """Runs every function alike."""

    closed = False

    async def run(
        self, function: Function, payload: str, answer: object = None, workers: int | None = None
    ) -> FunctionResult:
        return FunctionResult(payload * 2)

    async def container(
        self, function: Function, storage_bytes: int, write_rate: float | None = None, read_rate: float | None = None
    ) -> Container:
        raise ContainerFailed(f"no room for {storage_bytes} bytes")

    async def close(self) -> None:
        self.closed = True


def run(body: Coroutine[Any, Any, None]) -> None:
    asyncio.run(body)


def test_now_is_the_monotonic_clock_and_its_offset(tmp_path: Path) -> None:
    async def body() -> None:
        env = LiveEnvironment(SITE, Loopback(), tmp_path, clock_offset=1000.0)
        before = time.monotonic()
        assert before + 1000 <= env.now() <= time.monotonic() + 1000
        await env.sleep(-1)
        await env.close()

    run(body())


def test_streams_of_random_numbers_depend_on_seed_node_role_and_name(tmp_path: Path) -> None:
    async def body() -> None:
        env = LiveEnvironment(SITE, Loopback(), tmp_path)
        assert env.rng("a") is env.rng("a")
        assert env.rng("a").random() == seeds.stream(3, "n1", "server", "a").random()
        assert env.rng("b").random() == seeds.stream(3, "n1", "server", "b").random()
        await env.close()

    run(body())


def test_serves_on_the_node_s_own_address(tmp_path: Path) -> None:
    async def body() -> None:
        wire = Loopback()
        env = LiveEnvironment(SITE, wire, tmp_path)
        await env.serve(80, {})
        assert wire.served == [("10.0.0.9", 80)]
        with pytest.raises(CallFailed, match="unreachable: x:1"):
            await env.call("x:1", NAMES, "ab")
        assert [name async for name in env.stream("x:1", NAMES, "ab")] == ["a", "b"]
        await env.close()
        assert wire.closed

    run(body())


def test_rows_are_written_whole_and_without_an_end_of_the_agent(tmp_path: Path) -> None:
    async def body() -> None:
        env = LiveEnvironment(SITE, Loopback(), tmp_path, [TABLE])
        env.emit("seen", {"t": 1.5, "what": 'a "b", c', "ok": True})
        env.emit("seen", {"what": None})
        assert not (tmp_path / "seen.csv").exists()
        async with asyncio.timeout(30):
            while not (tmp_path / "seen.csv").exists():
                await asyncio.sleep(0.01)
        assert (tmp_path / "seen.csv").read_text() == 't,what,ok\n1.5,"a ""b"", c",1\n,,\n'
        env.emit("seen", {"t": 2.0})
        await env.close()
        assert (tmp_path / "seen.csv").read_text().endswith("\n,,\n2,,\n")

    run(body())


def test_unknown_tables_and_columns_are_refused(tmp_path: Path) -> None:
    async def body() -> None:
        env = LiveEnvironment(SITE, Loopback(), tmp_path, [TABLE])
        with pytest.raises(ValueError, match="declares no table 'saw'; it declares seen"):
            env.emit("saw", {})
        with pytest.raises(ValueError, match="Table seen has no column colour; it has t, what, ok"):
            env.emit("seen", {"colour": "red"})
        await env.close()
        assert list(tmp_path.iterdir()) == []

    run(body())


def test_the_first_error_of_something_spawned_is_kept_and_the_rest_is_cancelled(tmp_path: Path) -> None:
    ended = []

    async def fails() -> None:
        raise ValueError("first")

    async def lasts() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("lasts")

    async def body() -> None:
        env = LiveEnvironment(SITE, Loopback(), tmp_path)
        env.spawn(lasts())
        env.spawn(fails())
        with pytest.raises(ValueError, match="first"):
            await env.failed
        await env.close()
        assert ended == ["lasts"]

    run(body())


def test_real_functions_go_to_the_workers(tmp_path: Path) -> None:
    async def body() -> None:
        workers = Doubler()
        env = LiveEnvironment(SITE, Loopback(), tmp_path, functions=workers)
        assert (await env.run_function("f", "ab")).output == "abab"
        await env.close()
        assert workers.closed
        bare = LiveEnvironment(SITE, Loopback(), tmp_path)
        with pytest.raises(RuntimeError, match="no workers to run the function 'f'"):
            await bare.run_function("f", "")
        await bare.close()

    run(body())
