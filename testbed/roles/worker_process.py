"""The agent's side of the processes in which functions run: one template, and the workers that it forks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.places import PACKAGE
from testbed.roles.answers import answered
from testbed.roles.api import Answer, Function, FunctionResult
from testbed.roles.worker_storage import remove

END_S = 5.0  # how long a killed worker may take to be gone


def launch(control: socket.socket) -> subprocess.Popen[bytes]:
    """Start a template process (``worker_main.py``) that obeys the other end of ``control``."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    program = "import sys; sys.path.append(sys.argv[1]); from testbed.roles import worker_main; worker_main.main()"
    return subprocess.Popen(
        [sys.executable, "-s", "-P", "-c", program, str(PACKAGE.parent), str(control.fileno())],
        pass_fds=[control.fileno()],
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # the terminal's Ctrl-C is for the driver alone
        env=kept | {"PYTHONHASHSEED": "0"},  # sets of texts in the same order in each run
    )


class Template:
    """The agent's side of the template process; it starts with this object."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setblocking(False)
        with theirs:
            self._process = launch(theirs)
        self._ended: dict[int, asyncio.Future[int]] = {}
        self.dead = False
        asyncio.get_running_loop().add_reader(self._control, self._hear)

    async def start(self, order: dict[str, Any], function: Function, scratch: Path) -> Worker:
        """A new worker, which has not said yet that it is ready."""
        ours, theirs = socket.socketpair()
        ended = self._ended[order["start"]] = asyncio.get_running_loop().create_future()
        with theirs:
            try:
                socket.send_fds(self._control, [json.dumps(order).encode()], [theirs.fileno()])
            except OSError:  # the template died: the worker counts as dead, the next call gets a new template
                self._lose()
        reader, writer = await asyncio.open_connection(sock=ours)
        return Worker(function, order["start"], scratch, reader, writer, ended, self)

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
class Worker:
    """The agent's side of one worker process. ``ended`` gets its exit status (negative: the signal)."""

    function: Function
    number: int
    scratch: Path
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    ended: asyncio.Future[int]
    template: Template
    calls: int = 0
    reusable: bool = True
    mounted: bool = False  # whether its quota is that of a file system of its own

    async def greeting(self) -> FunctionResult:
        """Wait until it has loaded the function."""
        return await self._guarded(None, 0.0, self.function.time_limit_s)

    async def call(
        self, number: int, seed: int, payload: str, init_s: float, limit_s: float | None, answer: Answer | None = None
    ) -> FunctionResult:
        """Carry out one call; afterwards ``reusable`` tells whether it may have another. No ``limit_s``: no limit."""
        self.calls += 1
        request: dict[str, Any] = {"invocation": number, "seed": seed, "payload": payload}
        if answer is not None:
            request["asks"] = True
        return await self._guarded(request, init_s, limit_s, answer)

    async def _guarded(
        self, request: dict[str, Any] | None, init_s: float, limit_s: float | None, answer: Answer | None = None
    ) -> FunctionResult:
        begun = time.perf_counter()
        try:
            async with asyncio.timeout(limit_s):
                reply = await self._exchange(request, answer)
        except asyncio.CancelledError:
            self._discard()
            raise
        except TimeoutError:
            await self.end()
            what = "result" if request else "worker that was ready"
            detail = f"no {what} within {limit_s:g} s; its worker was killed"
            return FunctionResult("", "timeout", detail, init_s, time.perf_counter() - begun)
        except _Broken as broken:
            status = await self.end(patience=0.1)
            return FunctionResult("", "crash", told(status, str(broken)), init_s, time.perf_counter() - begun)
        self.mounted = reply.get("mounted", self.mounted)
        if reply.get("ends") or (request is None and reply.get("error")):
            await self.end()
        return result_of(reply, self.function, init_s)

    async def _exchange(self, request: dict[str, Any] | None, answer: Answer | None) -> dict[str, Any]:
        try:
            if request is not None:
                await self._tell(json.dumps(request).encode())
            reply = await self._heard()
            while answer is not None and "ask" in reply:
                await self._tell(await answered(answer, str(reply["ask"])))
                reply = await self._heard()
        except (OSError, EOFError, ValueError) as error:
            raise _Broken("it sent something unreadable" if isinstance(error, ValueError) else "") from error
        return reply

    async def _tell(self, data: bytes) -> None:
        self.writer.write(len(data).to_bytes(4, "big") + data)
        await self.writer.drain()

    async def _heard(self) -> dict[str, Any]:
        size = int.from_bytes(await self.reader.readexactly(4), "big")
        reply = json.loads(await self.reader.readexactly(size))
        if not isinstance(reply, dict):
            raise ValueError("not an object")
        return reply

    async def end(self, patience: float = 0.0) -> int | None:
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
        with contextlib.suppress(OSError):  # what is left is tried again when the agent ends
            remove(self.scratch)


def result_of(reply: dict[str, Any], function: Function, init_s: float) -> FunctionResult:
    """What a worker's reply means."""
    exec_s = reply.get("exec_s", 0.0)
    if not reply.get("error"):
        return FunctionResult(reply.get("output", ""), init_s=init_s, exec_s=exec_s)
    detail = reply["detail"] or f"it needed more than its {function.memory_bytes / 1e6:g} MB of memory"
    return FunctionResult("", reply["error"], detail, init_s, exec_s)


def told(status: int | None, broken: str) -> str:
    """A sentence about the end of a worker."""
    if broken:
        return f"its worker was killed: {broken}"
    if status is None:
        return "its worker went away"
    if status >= 0:
        return f"its worker ended by itself with status {status}"
    name = signal.Signals(-status).name
    return f"its worker died of {name}" + (" (was the machine out of memory?)" if name == "SIGKILL" else "")
