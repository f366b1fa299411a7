"""The live Environment: a real event loop, the system's own wire, the machine's monotonic clock."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import suppress
from operator import itemgetter
from pathlib import Path
from typing import Any, Protocol, TypeVar

from testbed import seeds
from testbed.roles.api import (
    Answer,
    Container,
    ContainerFailed,
    Files,
    Function,
    FunctionResult,
    Journal,
    Method,
    Service,
    Site,
    Wire,
)
from testbed.roles.disk import Disk
from testbed.roles.disk_wire import encoded
from testbed.roles.journal import FileJournal, journal_file
from testbed.tables import Row, Table, cells

Request = TypeVar("Request")
Reply = TypeVar("Reply")

FLUSH_S = 0.2


class FunctionRunner(Protocol):
    """Runs real functions in limited worker processes."""

    async def run(
        self, function: Function, payload: str, answer: Answer | None = None, workers: int | None = None
    ) -> FunctionResult:
        """The function's result; never raises for what the function does."""

    async def container(
        self, function: Function, storage_bytes: int, write_rate: float | None = None, read_rate: float | None = None
    ) -> Container:
        """A worker that is kept for one function; raises ContainerFailed."""

    async def close(self) -> None:
        """End all workers."""


class TableFile:
    """One table that grows: whole rows are appended to ``<table>.csv``, so that a reader never sees half of one."""

    def __init__(self, folder: Path, table: Table) -> None:
        self._path, self._header = folder / f"{table.name}.csv", table.header
        self._known, self._waiting = frozenset(table.header), io.StringIO()
        self._all = itemgetter(*table.header, table.header[0])  # one more, since of one alone it gives no tuple
        self._writer = csv.writer(self._waiting, lineterminator="\n")
        self._begun = self._path.exists() and self._path.stat().st_size > 0  # by an agent that lived here before

    def add(self, row: Row) -> None:
        """Keep a row for the next flush; raises ValueError for a column that the table does not have."""
        if len(row) == len(self._header):
            with suppress(KeyError):  # it has another one instead
                self.add_cells(self._all(row)[:-1])
                return
        if not row.keys() <= self._known:
            wrong = ", ".join(sorted(row.keys() - self._known))
            raise ValueError(f"Table {self._path.stem} has no column {wrong}; it has {', '.join(self._header)}.")
        self.add_cells(map(row.get, self._header))

    def add_cells(self, values: Iterable[object]) -> None:
        """Keep a row whose values stand in the order of the columns: the quick way."""
        if not self._begun:
            self._writer.writerow(self._header)
            self._begun = True
        self._writer.writerow(cells(values))

    def flush(self) -> None:
        """Write what waits, in one step."""
        text = self._waiting.getvalue()
        if text:
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                os.write(file, text.encode())
            finally:
                os.close(file)
            self._waiting.seek(0)
            self._waiting.truncate()


class LiveEnvironment:
    """The world of one live agent; make it inside a running event loop, ``close`` it once.

    ``clock_offset`` is what this machine's monotonic clock lacks to the run's reference clock, in seconds; ``calendar``
    gives the seconds since 1970. Tables are written to ``folder`` at least every 0.2 s. ``failed`` gets the first error
    of a spawned coroutine.
    """

    def __init__(
        self,
        site: Site,
        wire: Wire,
        folder: Path,
        tables: Iterable[Table] = (),
        *,
        clock_offset: float = 0.0,
        calendar: Callable[[], float] = time.time,
        functions: FunctionRunner | None = None,
    ) -> None:
        self.node = site.node
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._site, self._wire, self._functions, self._offset = site, wire, functions, clock_offset
        self.folder, self._calendar = folder, calendar
        self._disks: dict[str, Disk] = {}
        self._journals: dict[str, FileJournal] = {}
        self._tables = {table.name: TableFile(folder, table) for table in tables}
        self._streams: dict[str, random.Random] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._flush_due: asyncio.TimerHandle | None = None

    def now(self) -> float:
        """Seconds on the run's reference clock."""
        return time.monotonic() + self._offset

    def wall(self) -> float:
        """Seconds since 1970 on this host's calendar."""
        return self._calendar()

    async def sleep(self, seconds: float) -> None:
        """Wait; a negative time counts as none."""
        await asyncio.sleep(max(0.0, seconds))

    def rng(self, name: str) -> random.Random:
        """The random stream ``name`` of this node and role."""
        if name not in self._streams:
            self._streams[name] = seeds.stream(self._site.seed, self._site.node, self._site.role, name)
        return self._streams[name]

    async def serve(self, port: int, service: Service) -> None:
        """Answer these methods on ``port`` of this node's own address; raises OSError if it is taken."""
        await self._wire.serve(self._site.address, port, service)

    async def call(
        self, address: str, method: Method[Request, Reply], message: Request, timeout: float = 10.0
    ) -> Reply:
        """Call a method at ``host:port``; raises CallFailed when no answer came within ``timeout`` seconds."""
        return await self._wire.call(address, method, message, timeout)

    def stream(self, address: str, method: Method[Request, Reply], message: Request) -> AsyncIterator[Reply]:
        """The messages of a streaming method; raises CallFailed when it breaks."""
        return self._wire.stream(address, method, message)

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run ``coroutine`` beside the role; its error goes to ``failed``."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self.failed.done():
            self.failed.set_exception(error)

    async def run_function(
        self, name: str, payload: str, answer: Answer | None = None, workers: int | None = None
    ) -> FunctionResult:
        """Run a real function in one of its ``workers``, each of them limited; ``answer`` gets what it asks."""
        if self._functions is None:
            raise RuntimeError(f"This agent has no workers to run the function {name!r} in.")
        return await self._functions.run(self._site.functions[name], payload, answer, workers)

    async def container(
        self,
        function: Function,
        storage_bytes: int,
        *,
        write_rate: float | None = None,
        read_rate: float | None = None,
    ) -> Container:
        """Start a worker that is kept for ``function``, with a private folder of ``storage_bytes``."""
        if self._functions is None:
            raise ContainerFailed(f"This agent has no workers to run the function {function.name!r} in.")
        return await self._functions.container(function, storage_bytes, write_rate, read_rate)

    def files(self, name: str, read_rate: float | None = None, write_rate: float | None = None) -> Files:
        """The agent's disk ``name``, in its folder ``files/name``; the same one at each call."""
        if name not in self._disks:
            folder = self.folder / "files" / encoded(name)
            self._disks[name] = Disk(folder, self._site.address, read_rate, write_rate)
        return self._disks[name]

    def journal(self, name: str) -> Journal:
        """The agent's journal ``name``, in its folder ``journals``; the same one at each call."""
        if name not in self._journals:
            self._journals[name] = FileJournal(journal_file(self.folder, name))
        return self._journals[name]

    def emit(self, table: str, row: Row) -> None:
        """Append a row; raises ValueError for a table or column that the system does not declare."""
        if table not in self._tables:
            known = ", ".join(self._tables) or "none"
            raise ValueError(f"The system declares no table {table!r}; it declares {known}.")
        self._tables[table].add(row)
        if self._flush_due is None:
            self._flush_due = asyncio.get_running_loop().call_later(FLUSH_S, self.flush)

    def flush(self) -> None:
        """Write all rows that wait."""
        if self._flush_due is not None:
            self._flush_due.cancel()
            self._flush_due = None
        for table in self._tables.values():
            table.flush()

    async def close(self) -> None:
        """End what was spawned, the servers, the connections and the workers; write what waits."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            for disk in self._disks.values():
                await disk.close()
            for journal in self._journals.values():
                journal.close()
            await self._wire.close()
            if self._functions is not None:
                await self._functions.close()
        finally:
            self.flush()
            if self.failed.done() and not self.failed.cancelled():
                self.failed.exception()  # seen: asyncio would complain otherwise
            self.failed.cancel()
