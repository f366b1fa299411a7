"""Real functions: Python files that define ``code(ctx, payload)``, each in limited worker processes of its own.

A worker is kept warm after its first call; one that crashed, hung, ran out of memory or was abandoned is replaced at
the next call. What happens inside is in ``worker_main.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testbed import seeds
from testbed.roles.api import Function, FunctionResult

END_S = 5.0  # how long a killed worker may take to be gone


class Workers:
    """The workers of one agent. Logs and scratch folders go to ``folder/functions``.

    ``node`` and ``seed`` are what functions see as ``ctx.node`` and draw ``ctx.rng`` from. Made without cost; processes
    start with the first call.
    """

    def __init__(self, folder: Path, node: str = "", seed: int = 0) -> None:
        self._folder, self._node, self._seed = folder.absolute() / "functions", node, seed
        self._pools: dict[str, _Pool] = {}
        self._template: _Template | None = None
        self._count = 0

    async def run(self, function: Function, payload: str) -> FunctionResult:
        """Run ``function`` once; never raises for what it does. Waits while all its workers are busy.

        ``function.time_limit_s`` counts from the moment when a worker has it, and again for the start of a worker.
        """
        pool = self._pools.setdefault(function.name, _Pool(asyncio.Semaphore(function.concurrency)))
        async with pool.free:
            begun = time.perf_counter()
            worker, failed = await self._worker(function, pool)
            if worker is None:
                return failed
            init_s = time.perf_counter() - begun if worker.calls == 0 else 0.0
            number, pool.calls = pool.calls, pool.calls + 1
            result = await worker.call(number, self._draw(function.name, number), payload, init_s)
            if worker.reusable:
                pool.idle.append(worker)
            return result

    async def close(self) -> None:
        """End all workers and remove their scratch folders; the logs stay."""
        if self._template is not None:
            await self._template.close()
        for pool in self._pools.values():
            for worker in pool.idle:
                worker.forget()
            pool.idle.clear()
        shutil.rmtree(self._folder / "scratch", ignore_errors=True)

    def _draw(self, function: str, number: int) -> int:
        return seeds.stream(self._seed, "function", self._node, function, str(number)).getrandbits(64)

    async def _worker(self, function: Function, pool: _Pool) -> tuple[_Worker | None, FunctionResult]:
        while pool.idle:
            worker = pool.idle.pop()
            if not worker.ended.done():
                return worker, FunctionResult("")
            worker.forget()
        return await self._start(function)

    async def _start(self, function: Function) -> tuple[_Worker | None, FunctionResult]:
        begun = time.perf_counter()
        self._count += 1
        scratch = self._folder / "scratch" / str(self._count)
        scratch.mkdir(parents=True, mode=0o700)
        if self._template is None or self._template.dead:
            self._template = _Template()
        order = {
            "start": self._count, "function": function.name, "node": self._node, "code": function.code,
            "memory_bytes": function.memory_bytes, "scratch": str(scratch),
            "log": str(self._folder / f"{function.name}.log"),
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
    idle: list[_Worker] = field(default_factory=list)
    calls: int = 0


class _Template:
    """The agent's side of the template process."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setblocking(False)
        program = Path(__file__).with_name("worker_main.py")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-s", "-P", str(program), str(theirs.fileno())], pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL, start_new_session=True,  # the terminal's Ctrl-C is for the driver alone
                env=kept | {"PYTHONHASHSEED": "0"},  # sets of texts in the same order in each run
            )
        self._ended: dict[int, asyncio.Future[int]] = {}
        self.dead = False
        asyncio.get_running_loop().add_reader(self._control, self._hear)

    async def start(self, order: dict[str, Any], function: Function, scratch: Path) -> _Worker:
        """A new worker, which has not said yet that it is ready."""
        ours, theirs = socket.socketpair()
        ended = self._ended[order["start"]] = asyncio.get_running_loop().create_future()
        with theirs:
            try:
                socket.send_fds(self._control, [json.dumps(order).encode()], [theirs.fileno()])
            except OSError:  # the template died: the worker counts as dead, the next call gets a new template
                self._lose()
        reader, writer = await asyncio.open_connection(sock=ours)
        return _Worker(function, order["start"], scratch, reader, writer, ended, self)

    def kill(self, number: int) -> None:
        """Ask for the end of a worker and of all that it started; ``ended`` tells when it is gone."""
        with contextlib.suppress(OSError):
            self._control.send(json.dumps({"kill": number}).encode())

    def _hear(self) -> None:
        try:
            data = self._control.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lose()
            return
        message = json.loads(data)
        ended = self._ended.pop(message["ended"])
        if not ended.done():
            ended.set_result(message["status"])

    def _lose(self) -> None:
        if not self.dead:
            self.dead = True
            asyncio.get_running_loop().remove_reader(self._control)
            self._control.close()
        for ended in self._ended.values():
            if not ended.done():
                ended.set_result(-signal.SIGKILL)  # a worker dies with its template
        self._ended.clear()

    async def close(self) -> None:
        """End the template, and with it every worker."""
        self._lose()
        deadline = time.monotonic() + END_S
        while self._process.poll() is None:
            if time.monotonic() > deadline:
                self._process.kill()
                self._process.wait()
            await asyncio.sleep(0.002)


class _Broken(Exception):
    """The worker went away, or said something that nobody understands."""


@dataclass
class _Worker:
    """The agent's side of one worker process. ``ended`` gets its exit status (negative: the signal)."""

    function: Function
    number: int
    scratch: Path
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    ended: asyncio.Future[int]
    template: _Template
    calls: int = 0
    reusable: bool = True

    async def greeting(self) -> FunctionResult:
        """Wait until it has loaded the function."""
        return await self._guarded(None, 0.0)

    async def call(self, number: int, seed: int, payload: str, init_s: float) -> FunctionResult:
        """Carry out one call; afterwards ``reusable`` tells whether it may have another."""
        self.calls += 1
        return await self._guarded({"invocation": number, "seed": seed, "payload": payload}, init_s)

    async def _guarded(self, request: dict[str, Any] | None, init_s: float) -> FunctionResult:
        begun = time.perf_counter()
        try:
            async with asyncio.timeout(self.function.time_limit_s):
                reply = await self._exchange(request)
        except asyncio.CancelledError:
            self._discard()
            raise
        except TimeoutError:
            await self._gone()
            what = "result" if request else "worker that was ready"
            detail = f"no {what} within {self.function.time_limit_s:g} s; its worker was killed"
            return FunctionResult("", "timeout", detail, init_s, time.perf_counter() - begun)
        except _Broken as broken:
            status = await self._gone(patience=0.1)
            return FunctionResult("", "crash", _told(status, str(broken)), init_s, time.perf_counter() - begun)
        exec_s = reply.get("exec_s", 0.0)
        if not reply.get("error"):
            return FunctionResult(reply.get("output", ""), init_s=init_s, exec_s=exec_s)
        if reply["error"] == "memory" or request is None:
            await self._gone()
        detail = reply["detail"] or f"it needed more than its {self.function.memory_bytes / 1e6:g} MB of memory"
        return FunctionResult("", reply["error"], detail, init_s, exec_s)

    async def _exchange(self, request: dict[str, Any] | None) -> dict[str, Any]:
        try:
            if request is not None:
                data = json.dumps(request).encode()
                self.writer.write(len(data).to_bytes(4, "big") + data)
                await self.writer.drain()
            size = int.from_bytes(await self.reader.readexactly(4), "big")
            reply = json.loads(await self.reader.readexactly(size))
        except (OSError, EOFError, ValueError) as error:
            raise _Broken("it sent something unreadable" if isinstance(error, ValueError) else "") from error
        if not isinstance(reply, dict):
            raise _Broken("it sent something unreadable")
        return reply

    async def _gone(self, patience: float = 0.0) -> int | None:
        """See to its end and forget it. One that is dying by itself is given ``patience`` to tell its own status."""
        self.reusable = False
        if patience:
            await asyncio.wait({self.ended}, timeout=patience)
        self.template.kill(self.number)
        await asyncio.wait({self.ended}, timeout=END_S)
        self.forget()
        return self.ended.result() if self.ended.done() else None

    def _discard(self) -> None:
        self.reusable = False
        self.template.kill(self.number)
        self.forget()

    def forget(self) -> None:
        """Close its channel and remove its scratch folder."""
        self.writer.close()
        shutil.rmtree(self.scratch, ignore_errors=True)


def _told(status: int | None, broken: str) -> str:
    if broken:
        return f"its worker was killed: {broken}"
    if status is None:
        return "its worker went away"
    if status >= 0:
        return f"its worker ended by itself with status {status}"
    name = signal.Signals(-status).name
    return f"its worker died of {name}" + (" (was the machine out of memory?)" if name == "SIGKILL" else "")
