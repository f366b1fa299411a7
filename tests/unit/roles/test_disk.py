"""Disks of limited speed: real files over real connections."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest
from disk_pair import MB, free_port, left, pair, run

from testbed.roles.api import CallFailed, Site
from testbed.roles.disk import Disk
from testbed.roles.live import LiveEnvironment


def test_files_are_there_at_once_and_gone_when_removed(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "d", "127.0.0.1", 1.0, 1.0)
    disk.create("a", 10 * MB)
    disk.create("b", 0)
    disk.create("b", 5)
    assert disk.sizes() == {"a": 10 * MB, "b": 5}
    disk.remove("a")
    disk.remove("a")
    assert disk.sizes() == {"b": 5} and left(tmp_path / "d") == ["b"]
    with pytest.raises(ValueError, match="-1 bytes"):
        disk.create("c", -1)


def test_a_disk_is_empty_at_first_and_gone_in_the_end(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "old").write_text("from an agent that was killed")
    disk = Disk(tmp_path / "d", "127.0.0.1")
    disk.create("new", 3)
    assert disk.sizes() == {"new": 3} and left(tmp_path / "d") == ["new"]
    asyncio.run(disk.close())
    assert disk.sizes() == {} and left(tmp_path) == []


@pytest.mark.parametrize("rate", [0.0, -1.0])
def test_refuses_a_disk_that_does_not_move(tmp_path: Path, rate: float) -> None:
    with pytest.raises(ValueError, match="must be more than 0"):
        Disk(tmp_path, "127.0.0.1", rate)


@pytest.mark.parametrize("name", ["", "x" * 241, "/" * 100])
def test_refuses_a_name_that_no_file_can_have(tmp_path: Path, name: str) -> None:
    disk = Disk(tmp_path, "127.0.0.1")
    with pytest.raises(ValueError, match="percent-encoding"):
        disk.create(name, 1)


@pytest.mark.parametrize("name", ["plain", "a/b", "../../up", "..", ".", ".hidden", "grüße 100%", "new\nline", "%41"])
def test_a_file_travels_under_any_name_and_lies_in_its_folder(tmp_path: Path, name: str) -> None:
    async def body() -> None:
        async with pair(tmp_path) as disks:
            disks.source.create(name, 1234)
            assert await disks.target.fetch(disks.address, name, 10.0) == 1234
            assert disks.target.sizes() == {name: 1234}
            [copy] = (tmp_path / "target").iterdir()
            assert copy.is_file() and copy.stat().st_size == 1234
            assert sorted(left(tmp_path)) == ["source", "target"]

    run(body())


@pytest.mark.parametrize("size", [0, 1, 262_144, 262_145, 3 * MB])
def test_every_byte_arrives_as_it_was(tmp_path: Path, size: int) -> None:
    content = os.urandom(size // 3) + bytes(size // 3) + os.urandom(size - 2 * (size // 3))

    async def body() -> None:
        async with pair(tmp_path) as disks:
            disks.source.create("a", size)
            (tmp_path / "source" / "a").write_bytes(content)
            await disks.fetch("a")
            assert (tmp_path / "target" / "a").read_bytes() == content
            assert await disks.target.load("a") == size

    run(body())


def test_a_copy_of_zeros_takes_no_room_on_the_machine_s_own_disk(tmp_path: Path) -> None:
    async def body() -> None:
        async with pair(tmp_path) as disks:
            disks.source.create("a", 20 * MB)
            await disks.fetch("a")
            status = (tmp_path / "target" / "a").stat()
            assert status.st_size == 20 * MB and status.st_blocks * 512 < MB

    run(body())


@pytest.mark.parametrize(("read", "write"), [(4 * MB, None), (None, 4 * MB), (4 * MB, 40 * MB)])
def test_the_slowest_of_reading_and_writing_sets_the_pace(tmp_path: Path, read: float, write: float) -> None:
    async def body() -> None:
        async with pair(tmp_path, read, write) as disks:
            disks.source.create("a", 2 * MB)
            assert await disks.fetch("a") >= 0.5

    run(body())


def test_reading_and_writing_overlap(tmp_path: Path) -> None:
    async def body() -> None:
        async with pair(tmp_path, 2 * MB, 2 * MB) as disks:
            disks.source.create("a", 2 * MB)
            assert 1.0 <= await disks.fetch("a") < 1.8  # one after the other: 2 s

    run(body())


@pytest.mark.parametrize("side", ["read", "write"])
def test_transfers_share_a_disk_fairly(tmp_path: Path, side: str) -> None:
    async def body() -> None:
        async with pair(tmp_path, **{side: 4 * MB}) as disks:
            disks.source.create("large", 4 * MB)
            disks.source.create("small", 1 * MB)
            large, small = await asyncio.gather(disks.fetch("large"), disks.fetch("small"))
            assert large >= 1.25  # the disk is never faster than it is
            assert 0.3 < small / large < 0.55  # half of the disk: 0.5 s of 1.25 s, and not last or first in a line

    run(body())


def test_loading_takes_its_time_and_keeps_the_file(tmp_path: Path) -> None:
    async def body() -> None:
        disk = Disk(tmp_path, "127.0.0.1", 4 * MB)
        disk.create("a", 2 * MB)
        begun = time.perf_counter()
        assert await disk.load("a") == 2 * MB
        assert time.perf_counter() - begun >= 0.5
        with pytest.raises(KeyError):
            await disk.load("b")

    run(body())


def test_the_agent_goes_on_with_other_things_during_a_transfer(tmp_path: Path) -> None:
    async def body() -> None:
        async with pair(tmp_path) as disks:
            disks.source.create("a", 200 * MB)
            fetching = asyncio.create_task(disks.fetch("a"))
            turns = 0
            while not fetching.done():
                await asyncio.sleep(0)
                turns += 1
            assert turns > 200 * MB / 262_144  # at least one for each piece

    run(body())


def test_an_agent_s_disk_serves_on_its_address_and_ends_with_it(tmp_path: Path) -> None:
    class NoWire:
        async def close(self) -> None: ...

    async def body() -> None:
        site = Site("n1", "server", 1, {"n1": "127.0.0.1"}, {}, {})
        env = LiveEnvironment(site, NoWire(), tmp_path)  # type: ignore[arg-type]
        disk, port = env.files("di/sk", read_rate=MB), free_port()
        assert env.files("di/sk") is disk and env.files("other") is not disk
        disk.create("a", 9)
        await disk.serve(port)
        assert await env.files("other").fetch(f"127.0.0.1:{port}", "a", 5.0) == 9
        assert sorted(left(tmp_path / "files")) == ["di%2Fsk", "other"]
        await env.close()
        assert left(tmp_path / "files") == []
        with pytest.raises(CallFailed, match="refused"):
            await Disk(tmp_path / "d", "127.0.0.1").fetch(f"127.0.0.1:{port}", "a", 5.0)

    run(body())
