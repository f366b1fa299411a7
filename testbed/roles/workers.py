"""Real functions: Python files that define ``code(ctx, payload)``, each in limited worker processes of its own.

A worker is kept warm after its first call; one that crashed, hung, ran out of memory or was abandoned is replaced at
the next call. What happens inside is in ``worker_main.py``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from testbed import seeds
from testbed.roles.api import Answer, Container, ContainerFailed, Function, FunctionResult
from testbed.roles.worker_process import Template, Worker
from testbed.roles.worker_storage import remove


def function_seed(seed: int, node: str, function: str, number: int) -> int:
    """What ``ctx.rng`` is seeded with in call ``number`` (from 0) of ``function`` on ``node``, in both worlds."""
    return seeds.stream(seed, "function", node, function, str(number)).getrandbits(64)


class Workers:
    """The workers of one agent. Logs and scratch folders go to ``folder/functions``.

    ``node`` and ``seed`` are what functions see as ``ctx.node`` and draw ``ctx.rng`` from. Containers get a file system
    of their own, unless the kernel forbids it or ``mount`` is off. Made without cost; processes start with the first
    call.
    """

    def __init__(self, folder: Path, node: str = "", seed: int = 0, *, mount: bool = True) -> None:
        self._folder, self._node, self._seed = folder.absolute() / "functions", node, seed
        self._mount = mount
        self._pools: dict[str, _Pool] = {}
        self._containers: set[LiveContainer] = set()
        self._template: Template | None = None
        self._count = 0

    async def run(
        self, function: Function, payload: str, answer: Answer | None = None, workers: int | None = None
    ) -> FunctionResult:
        """Run ``function`` once; never raises for what it does. Waits while all its workers are busy.

        ``answer`` gives what ``ctx.ask`` gives in it; time that it takes is the function's, and it ends with it.
        ``function.time_limit_s`` counts from the moment when a worker has it, and again for the start of a worker.
        """
        pool = self._pool(function, workers)
        async with pool.free:
            begun = time.perf_counter()
            worker, failed = await self._worker(function, pool)
            if worker is None:
                return failed
            init_s = time.perf_counter() - begun if worker.calls == 0 else 0.0
            result = await worker.call(*self.number(function), payload, init_s, function.time_limit_s, answer)
            if worker.reusable:
                pool.idle.append(worker)
            return result

    async def container(
        self, function: Function, storage_bytes: int, write_rate: float | None = None, read_rate: float | None = None
    ) -> Container:
        """A worker that is kept for ``function``, with a private folder of ``storage_bytes``; raises ContainerFailed.

        Loading the function's file must end within ``function.time_limit_s``. Rates: what ``ctx.write`` and
        ``ctx.read`` are slowed down to, in bytes per second.
        """
        if function.code is None:
            raise ContainerFailed(f"The function {function.name!r} has no code; a container needs some.")
        extras = {
            "storage_bytes": storage_bytes, "write_rate": write_rate, "read_rate": read_rate, "mount": self._mount,
        }
        container = LiveContainer(self, function, extras)
        failed = await container.start()
        if failed.error:
            raise ContainerFailed(f"The container of {function.name!r} cannot start: {failed.error}: {failed.detail}.")
        self._containers.add(container)
        return container

    async def close(self) -> None:
        """End all workers and containers and remove their folders; the logs stay."""
        await asyncio.gather(*(container.close() for container in tuple(self._containers)))
        if self._template is not None:
            await self._template.close()
        for pool in self._pools.values():
            for worker in pool.idle:
                worker.forget()
            pool.idle.clear()
        with suppress(OSError):
            remove(self._folder / "scratch")

    def number(self, function: Function) -> tuple[int, int]:
        """The number of the next call of ``function`` here, and its seed."""
        pool = self._pool(function)
        number, pool.calls = pool.calls, pool.calls + 1
        return number, function_seed(self._seed, self._node, function.name, number)

    def forget(self, container: LiveContainer) -> None:
        """A container that was closed need not be closed in the end."""
        self._containers.discard(container)

    def _pool(self, function: Function, workers: int | None = None) -> _Pool:
        return self._pools.setdefault(function.name, _Pool(asyncio.Semaphore(workers or function.concurrency)))

    async def _worker(self, function: Function, pool: _Pool) -> tuple[Worker | None, FunctionResult]:
        while pool.idle:
            worker = pool.idle.pop()
            if not worker.ended.done():
                return worker, FunctionResult("")
            worker.forget()
        return await self.start(function, {})

    async def start(
        self, function: Function, extras: Mapping[str, float | None]
    ) -> tuple[Worker | None, FunctionResult]:
        """A new worker that has loaded ``function``, or what went wrong. ``extras`` make it a container's."""
        begun = time.perf_counter()
        self._count += 1
        scratch = self._folder / "scratch" / str(self._count)
        try:
            scratch.mkdir(parents=True, mode=0o700)
        except OSError as error:
            return None, FunctionResult("", "crash", f"no folder for it: {error}")
        if self._template is None or self._template.dead:
            self._template = Template()
        order = {
            "start": self._count, "function": function.name, "node": self._node, "code": function.code,
            "memory_bytes": function.memory_bytes, "scratch": str(scratch),
            "log": str(self._folder / f"{function.file_name}.log"), **extras,
        }
        worker = await self._template.start(order, function, scratch)
        result = await worker.greeting()
        if not result.error:
            return worker, result
        return None, FunctionResult("", result.error, result.detail, time.perf_counter() - begun)


@dataclass
class _Pool:
    """The workers of one function: ``free`` counts those that may still be put to work."""

    free: asyncio.Semaphore
    idle: list[Worker] = field(default_factory=list)
    calls: int = 0


class LiveContainer:
    """One worker that is kept for one function; another takes its place when it had to be ended.

    Runs that are asked for at the same time happen one after the other.
    """

    def __init__(self, workers: Workers, function: Function, extras: Mapping[str, float | None]) -> None:
        self._workers, self._function, self._extras = workers, function, extras
        self._worker: Worker | None = None
        self._init_s = 0.0  # of a worker that has not run yet
        self._turn = asyncio.Lock()
        self._closed = False

    @property
    def mounted(self) -> bool:
        """Whether the quota is that of a file system of its own (else it is counted: see ``worker_storage.py``)."""
        return self._worker is not None and self._worker.mounted

    async def start(self) -> FunctionResult:
        """Start a worker; the result tells what went wrong, if anything."""
        begun = time.perf_counter()
        self._worker, result = await self._workers.start(self._function, self._extras)
        self._init_s = time.perf_counter() - begun
        return result

    async def run(self, payload: str, time_limit: float | None, answer: Answer | None = None) -> FunctionResult:
        """Run the function once; a worker that had to be ended is replaced first.

        ``init_s`` is what the start of the worker took in its first run, and 0 in the others.
        """
        async with self._turn:
            if self._worker is not None and (self._worker.ended.done() or not self._worker.reusable):
                await self._leave()
            if self._worker is None and not self._closed:
                failed = await self.start()
                if self._worker is None:
                    return failed
            if self._closed:
                await self._leave()
            worker = self._worker
            if worker is None:
                return FunctionResult("", "crash", "its container was closed")
            init_s, self._init_s = self._init_s, 0.0
            limit = time_limit if time_limit is not None and time_limit > 0 else None
            return await worker.call(*self._workers.number(self._function), payload, init_s, limit, answer)

    async def _leave(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            await worker.end()

    async def close(self) -> None:
        """End the worker, whatever it does, and remove its folder."""
        self._closed = True
        await self._leave()
        self._workers.forget(self)
