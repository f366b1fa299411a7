"""A disk of limited speed in the live world: real files, copied as real bytes over real connections.

One direction of a disk is a :class:`Pace`. Transfers take turns on it in pieces of the same size, so that those under
way at the same time share it fairly; reading, the network and writing overlap, since each end buffers a few pieces.

On the wire, a fetch is one connection: the line ``get NAME`` with the name in percent-encoding; the answer is the line
``ok SIZE`` and the bytes, or ``absent``, or ``bad``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from testbed.roles.api import CallFailed
from testbed.roles.disk_wire import (
    LARGEST_PIECE,
    connect,
    encoded,
    family,
    fits,
    hole,
    line,
    promised,
    say,
    send,
    told,
    write,
)

PIECE_S = 0.0025  # what one piece takes on the disk: short enough to overlap well, long enough to cost little CPU
SMALLEST_PIECE = 4096
CREDIT_S = 0.05  # how late a wake-up may be without a loss of speed
REQUEST_S = 10.0  # what a connection has to say what it wants
UNSENT_BYTES = 1 << 18  # read ahead of the network


class Pace:
    """One direction of a disk: ``rate`` in bytes per second, None for no limit."""

    def __init__(self, rate: float | None) -> None:
        if rate is not None and not rate > 0:
            raise ValueError(f"The rate of a disk is {rate:g} bytes per second; it must be more than 0.")
        self.rate = rate
        self.piece = LARGEST_PIECE if rate is None else int(min(max(rate * PIECE_S, SMALLEST_PIECE), LARGEST_PIECE))
        self.free_at = 0.0  # on the clock of the event loop


class Turns:
    """The turns of one transfer on one direction of a disk."""

    def __init__(self, pace: Pace) -> None:
        self._pace, self._loop = pace, asyncio.get_running_loop()
        self._due = self._loop.time()

    async def take(self, count: int) -> None:
        """Return when the disk has done ``count`` bytes for this transfer; one that is late catches up a little."""
        if self._pace.rate is None:
            await asyncio.sleep(0)  # the loop has other things to do as well
            return
        now = self._loop.time()
        begin = max(self._due, now - CREDIT_S, self._pace.free_at)
        self._due = self._pace.free_at = begin + count / self._pace.rate
        await asyncio.sleep(max(0.0, self._due - now))


class Disk:
    """The files of one agent in ``folder``, which is emptied first; ``host`` is the address to serve on.

    Rates are in bytes per second, None for no limit. Files are made of zeros, which every copy keeps as holes: all
    bytes travel, but the machine's own disk and its cache, which all nodes share, are not in the way.
    """

    def __init__(
        self, folder: Path, host: str, read_rate: float | None = None, write_rate: float | None = None
    ) -> None:
        self._folder, self._host = folder, host
        self._reading, self._writing = Pace(read_rate), Pace(write_rate)
        self._sizes: dict[str, int] = {}
        self._fetches = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening: list[socket.socket] = []
        self._clear()
        folder.mkdir(parents=True)

    def create(self, name: str, size: int) -> None:
        """Make a file of ``size`` bytes at once, in the place of one of the same name."""
        if size < 0:
            raise ValueError(f"A file cannot have {size} bytes.")
        path = self._path(name)
        path.unlink(missing_ok=True)  # who reads the old one reads it to its end
        with path.open("xb") as file:
            file.truncate(size)
        self._sizes[name] = size

    def sizes(self) -> Mapping[str, int]:
        """The whole files there are, with their sizes in bytes."""
        return dict(self._sizes)

    def remove(self, name: str) -> None:
        """Remove a file; transfers of it that are under way end well."""
        if self._sizes.pop(name, None) is not None:
            self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._folder / encoded(name)

    async def load(self, name: str) -> int:
        """Read a whole file at the disk's pace, without keeping it, and return its size; KeyError if it is missing."""
        size, piece, turns = self._sizes[name], self._reading.piece, Turns(self._reading)
        with self._path(name).open("rb", buffering=0) as file:
            for offset in range(0, size, piece):
                count = min(piece, size - offset)
                await turns.take(count)
                if not hole(file.fileno(), offset, count):
                    os.pread(file.fileno(), count, offset)
        return size

    async def serve(self, port: int) -> None:
        """Give the files to others on ``port`` of this node's own address only; raises OSError if it is taken."""
        listening = socket.socket(family(self._host))
        self._listening.append(listening)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setblocking(False)
        listening.bind((self._host, port))
        listening.listen(128)
        self._spawn(self._accept(listening))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listening)
            except ConnectionError:
                continue  # it went away again
            self._spawn(self._answer(connection))

    async def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, EOFError, CallFailed):  # the other end notices, if it is there
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
            async with asyncio.timeout(REQUEST_S):
                asked = await line(connection)
            word, _, rest = asked.partition(" ")
            name = unquote(rest)
            if word != "get" or not fits(name) or encoded(name) != rest:
                await say(connection, "bad")
            elif name not in self._sizes:
                await say(connection, "absent")
            else:
                await self._give(connection, name)

    async def _give(self, connection: socket.socket, name: str) -> None:
        size, turns, sent = self._sizes[name], Turns(self._reading), 0
        with self._path(name).open("rb", buffering=0) as file:
            await say(connection, f"ok {size}")
            while sent < size:
                count = min(self._reading.piece, size - sent)
                await turns.take(count)
                await send(connection, file.fileno(), sent, count)
                sent += count

    async def fetch(self, address: str, name: str, patience: float) -> int:
        """Copy a file from the disk served at ``address``, return its size; raises CallFailed, and leaves nothing then.

        ``patience``: seconds without a byte after which it is given up.
        """
        self._fetches += 1
        partial = self._folder / f".partial-{self._fetches}"
        with told(address, name, patience):
            try:
                connection = await connect(address, patience)
                with connection, partial.open("xb", buffering=0) as file:
                    await say(connection, f"get {encoded(name)}")
                    size = await self._receive(connection, file.fileno(), patience)
                partial.replace(self._path(name))
            finally:
                partial.unlink(missing_ok=True)
        self._sizes[name] = size
        return size

    async def _receive(self, connection: socket.socket, file: int, patience: float) -> int:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(patience):
            left = size = promised(await line(connection))
        turns, nothing, buffer = Turns(self._writing), bytes(self._writing.piece), bytearray(self._writing.piece)
        view = memoryview(buffer)
        while left:
            filled, wanted = 0, min(len(view), left)
            while filled < wanted:
                async with asyncio.timeout(patience):
                    count = await loop.sock_recv_into(connection, view[filled:wanted])
                if not count:
                    raise ConnectionResetError(f"the connection ended {left - filled} bytes too early")
                filled += count
            await turns.take(wanted)
            if buffer.startswith(nothing[:wanted]):
                os.lseek(file, wanted, os.SEEK_CUR)
            else:
                write(file, view[:wanted])
            left -= wanted
        os.truncate(file, size)
        return size

    async def close(self) -> None:
        """Stop serving, end what is under way for others, and remove all files."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for listening in self._listening:
            listening.close()
        self._clear()

    def _clear(self) -> None:
        self._sizes.clear()
        shutil.rmtree(self._folder, ignore_errors=True)
