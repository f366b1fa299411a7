"""Transfers between disks that fail, are abandoned, or were never meant to be."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from disk_pair import KB, MB, free_port, left, pair, run

from testbed.roles.api import CallFailed
from testbed.roles.disk import Disk

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def test_a_file_that_is_not_there_cannot_be_fetched(tmp_path: Path) -> None:
    async def body() -> None:
        async with pair(tmp_path) as disks:
            with pytest.raises(CallFailed, match=r"fetching a from .*: there is no such file") as failed:
                await disks.fetch("a")
            assert failed.value.kind == "protocol" and left(tmp_path / "target") == []

    run(body())


def test_nobody_listens(tmp_path: Path) -> None:
    async def body() -> None:
        async with pair(tmp_path) as disks:
            with pytest.raises(CallFailed, match="refused") as failed:
                await disks.target.fetch(f"127.0.0.1:{free_port()}", "a", 5.0)
            assert failed.value.kind == "unreachable" and left(tmp_path / "target") == []

    run(body())


def test_listens_on_its_own_address_only(tmp_path: Path) -> None:
    async def body() -> None:
        async with pair(tmp_path) as disks:
            disks.source.create("a", 1)
            with pytest.raises(CallFailed, match="refused"):
                await disks.target.fetch(f"127.0.0.2:{disks.port}", "a", 5.0)
            with pytest.raises(OSError, match="in use"):
                await disks.target.serve(disks.port)

    run(body())


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


def saying(data: bytes, then: Answer | None = None) -> Answer:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(data)
        if then is not None:
            await then(reader, writer)
        writer.close()

    return answer


@pytest.mark.parametrize(("answer", "kind", "said"), [
    (silent, "timeout", "nothing came for 0.5 s"),
    (saying(b"ok 5000\n" + bytes(4000), silent), "timeout", "nothing came for 0.5 s"),
    (saying(b"ok 5000\n" + bytes(4000)), "unreachable", "ended 1000 bytes too early"),
    (saying(b""), "unreachable", "ended without an answer"),
    (saying(b"ok many\n"), "protocol", "not that of a disk"),
    (saying(b"HTTP/1.1 400 Bad Request\r\n"), "protocol", "not that of a disk"),
    (saying(b"\xff" * 5000), "protocol", "not that of a disk"),
])
def test_a_fetch_that_fails_says_why_and_leaves_nothing(tmp_path: Path, answer: Answer, kind: str, said: str) -> None:
    async def body() -> None:
        disk, port = Disk(tmp_path / "d", "127.0.0.1"), free_port()
        async with await asyncio.start_server(answer, "127.0.0.1", port):
            disk.create("a", 7)
            with pytest.raises(CallFailed, match=said) as failed:
                await disk.fetch(f"127.0.0.1:{port}", "a", 0.5)
            assert failed.value.kind == kind
            assert disk.sizes() == {"a": 7} and left(tmp_path / "d") == ["a"]
        await disk.close()

    run(body())


def test_patience_counts_from_the_last_byte_and_not_from_the_first(tmp_path: Path) -> None:
    async def body() -> None:
        async with pair(tmp_path, 100 * KB) as disks:
            disks.source.create("a", 150 * KB)
            assert await disks.fetch("a", patience=1.0) >= 1.5

    run(body())


def test_an_abandoned_fetch_leaves_nothing(tmp_path: Path) -> None:
    async def body() -> None:
        async with pair(tmp_path, 100 * KB) as disks:
            disks.source.create("a", MB)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await disks.fetch("a")
            assert disks.target.sizes() == {} and left(tmp_path / "target") == []

    run(body())


def test_a_file_that_is_removed_while_it_travels_arrives(tmp_path: Path) -> None:
    async def body() -> None:
        async with pair(tmp_path, MB) as disks:
            disks.source.create("a", 300 * KB)
            fetching = asyncio.create_task(disks.target.fetch(disks.address, "a", 10.0))
            await asyncio.sleep(0.1)
            disks.source.remove("a")
            assert await fetching == 300 * KB and disks.source.sizes() == {}

    run(body())


def test_a_source_that_closes_breaks_what_is_under_way(tmp_path: Path) -> None:
    async def body() -> None:
        async with pair(tmp_path, 100 * KB) as disks:
            disks.source.create("a", MB)
            fetching = asyncio.create_task(disks.target.fetch(disks.address, "a", 10.0))
            await asyncio.sleep(0.2)
            await disks.source.close()
            with pytest.raises(CallFailed, match="unreachable"):
                await fetching
            assert left(tmp_path / "target") == []

    run(body())


@pytest.mark.parametrize("request_line", [
    b"put a\n", b"get \n", b"get ../source/a\n", b"get a b\n", b"get %2e%2E\n", b"\xff\xfe\n",
])
def test_refuses_a_request_that_is_none(tmp_path: Path, request_line: bytes) -> None:
    async def body() -> None:
        async with pair(tmp_path) as disks:
            disks.source.create("a", 5)
            reader, writer = await asyncio.open_connection("127.0.0.1", disks.port)
            writer.write(request_line)
            assert await reader.read() == b"bad\n"
            writer.close()
            assert await disks.fetch("a") > 0  # it serves on

    run(body())
