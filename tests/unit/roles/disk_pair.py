"""Two disks on this machine, one served to the other."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from testbed.roles.disk import Disk

KB, MB = 1_000, 1_000_000


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Pair:
    """A source, served at ``address``, and a target."""

    def __init__(self, source: Disk, target: Disk, port: int, folder: Path) -> None:
        self.source, self.target, self.port, self.folder = source, target, port, folder
        self.address = f"127.0.0.1:{port}"

    async def fetch(self, name: str, patience: float = 10.0) -> float:
        """Seconds that it took."""
        begun = time.perf_counter()
        await self.target.fetch(self.address, name, patience)
        return time.perf_counter() - begun


@asynccontextmanager
async def pair(folder: Path, read: float | None = None, write: float | None = None) -> AsyncIterator[Pair]:
    source, target = Disk(folder / "source", "127.0.0.1", read), Disk(folder / "target", "127.0.0.1", None, write)
    try:
        port = free_port()
        await source.serve(port)
        yield Pair(source, target, port, folder)
    finally:
        await target.close()
        await source.close()


def run(body: Coroutine[Any, Any, None]) -> None:
    asyncio.run(body)


def left(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]
