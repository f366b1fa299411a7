"""Real functions in the twin: their code runs, their waiting does not.

A function's ``ctx.sleep``, ``ctx.compute``, ``ctx.read`` and ``ctx.write`` take no time here; what they would take is
added up. What the function does beside them counts as nothing. All calls are answered one after the other, by one
worker process for each function (so its global variables are the same on all nodes), without threads or an event loop.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.roles.answers import AtOnce
from testbed.roles.api import Function, FunctionResult
from testbed.roles.worker_process import END_S, launch, result_of, told
from testbed.roles.worker_storage import remove
from testbed.roles.workers import function_seed

GUARD_S = 10.0  # real time that a call may take at least, before its worker is killed
_HEAD = 4


_Key = tuple[str, str | None, int]


@dataclass(frozen=True, slots=True)
class Reckoned:
    """What a call gave, and the time that it takes in the twin: the sum of its ``steps`` (kind, seconds or bytes)."""

    result: FunctionResult
    spent_s: float
    steps: tuple[tuple[str, float], ...] = ()


class Reckoner:
    """Runs functions for a twin; ``close`` it once. Logs go to ``logs`` as FUNCTION.log, or nowhere."""

    def __init__(self, logs: Path | None = None) -> None:
        self._logs = logs
        self._template: _Template | None = None
        self._workers: dict[_Key, _Worker] = {}

    def run(
        self,
        function: Function,
        payload: str,
        seed: int,
        number: int,
        node: str,
        time_limit: float | None,
        storage_bytes: int | None,
        read_rate: float | None,
        write_rate: float | None,
        answers: AtOnce | None = None,
    ) -> Reckoned:
        """Run ``function`` once; never raises for what it does.

        ``seed`` is the run's, ``number`` counts the calls of the function on ``node``, both as in emulation;
        ``time_limit`` (None or not above 0: none) counts reckoned time; rates are in bytes per second (None: no time).
        ``answers`` are for what the function asks, which takes no time.
        """
        limit = time_limit if time_limit is not None and time_limit > 0 else None
        worker = self._workers.get(_key(function))
        if worker is None:
            worker, failed = self._start(function)
            if worker is None:
                return Reckoned(failed, 0.0)
        request = {
            "invocation": number, "seed": function_seed(seed, node, function.name, number), "node": node,
            "payload": payload, "time_limit": limit, "storage_bytes": storage_bytes, "read_rate": read_rate,
            "write_rate": write_rate,
        }
        if answers is not None:
            request["asks"] = True
        return self._asked(function, worker, request, limit, answers)

    def _asked(
        self,
        function: Function,
        worker: _Worker,
        request: dict[str, Any],
        limit: float | None,
        answers: AtOnce | None = None,
    ) -> Reckoned:
        try:
            reply = worker.ask(request, max(GUARD_S, limit or 0.0), None if answers is None else answers.packed)
        except TimeoutError:
            self._end(function)
            spent = limit or GUARD_S
            result = FunctionResult("", "timeout", "no result, in the time of a wall clock; its worker was killed")
            return Reckoned(result, spent)
        except (OSError, EOFError, ValueError) as error:
            unreadable = "it sent something unreadable" if isinstance(error, ValueError) else ""
            return Reckoned(FunctionResult("", "crash", told(self._end(function), unreadable)), 0.0)
        if reply.get("ends"):
            self._end(function)
        spent = reply.get("exec_s", 0.0)
        steps = tuple((kind, amount) for kind, amount in reply.get("steps", ()))
        return Reckoned(result_of(reply, function, 0.0), spent, steps)

    def _start(self, function: Function) -> tuple[_Worker | None, FunctionResult]:
        if self._template is not None and self._template.ended:
            self._template.close()
            self._template = None
        if self._template is None:
            self._template = _Template()
        worker = self._workers[_key(function)] = self._template.start(function, self._logs)
        asked = self._asked(function, worker, {}, function.time_limit_s)
        if not asked.result.error:
            return worker, asked.result
        if _key(function) in self._workers:
            self._end(function)
        return None, asked.result

    def _end(self, function: Function) -> int | None:
        worker, template = self._workers.pop(_key(function)), self._template
        return None if template is None else template.end(worker)

    def close(self) -> None:
        """End all workers and remove their folders."""
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()
        if self._template is not None:
            self._template.close()
            self._template = None


def _key(function: Function) -> _Key:
    return function.name, function.code, function.memory_bytes


class _Worker:
    """The twin's side of one worker process."""

    def __init__(self, number: int, folder: Path, channel: socket.socket) -> None:
        self.number, self._folder, self._channel = number, folder, channel

    def ask(
        self, request: dict[str, Any], patience: float, answers: Callable[[str], bytes] | None
    ) -> dict[str, Any]:
        """Its reply, or its greeting where nothing is requested; OSError, EOFError or ValueError if it has none.

        What it asks before that is answered, if there are ``answers``.
        """
        deadline = time.monotonic() + patience
        if request:
            self._tell(json.dumps(request).encode(), deadline)
        reply = self._heard(deadline)
        while answers is not None and "ask" in reply:
            self._tell(answers(str(reply["ask"])), deadline)
            reply = self._heard(deadline)
        return reply

    def _tell(self, data: bytes, deadline: float) -> None:
        self._channel.settimeout(max(0.001, deadline - time.monotonic()))
        self._channel.sendall(len(data).to_bytes(_HEAD, "big") + data)

    def _heard(self, deadline: float) -> dict[str, Any]:
        self._channel.settimeout(max(0.001, deadline - time.monotonic()))
        heard = self._channel.recv(1 << 16)
        size = int.from_bytes(heard[:_HEAD], "big")
        while len(heard) < _HEAD + size or len(heard) < _HEAD:
            self._channel.settimeout(max(0.001, deadline - time.monotonic()))
            part = self._channel.recv(1 << 20) if heard else b""
            if not part:
                raise EOFError
            heard += part
            size = int.from_bytes(heard[:_HEAD], "big")
        reply = json.loads(heard[_HEAD:])
        if not isinstance(reply, dict):
            raise ValueError("not an object")
        return reply

    def close(self) -> None:
        """Forget it, and remove its folder."""
        self._channel.close()
        with contextlib.suppress(OSError):
            remove(self._folder)


class _Template:
    """The twin's side of the process that forks the workers."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process: subprocess.Popen[bytes] = launch(theirs)
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # files come and go faster there
        self._folder = Path(tempfile.mkdtemp(prefix="testbed-functions-", dir=memory))
        self._count = 0

    @property
    def ended(self) -> bool:
        """Whether somebody killed it, and with it all workers."""
        return self._process.poll() is not None

    def start(self, function: Function, logs: Path | None) -> _Worker:
        """A new worker, which has not said yet that it is ready."""
        self._count += 1
        scratch = self._folder / str(self._count)
        scratch.mkdir(mode=0o700)
        order = {
            "start": self._count, "function": function.name, "node": "", "code": function.code, "reckon": True,
            "memory_bytes": function.memory_bytes, "scratch": str(scratch),
            "log": "/dev/null" if logs is None else str(logs / f"{function.file_name}.log"),
        }
        ours, theirs = socket.socketpair()
        with theirs, contextlib.suppress(OSError):  # a template that died: the worker's greeting is missed
            socket.send_fds(self._control, [json.dumps(order).encode()], [theirs.fileno()])
        return _Worker(self._count, scratch, ours)

    def end(self, worker: _Worker, patience: float = 0.1) -> int | None:
        """See to the end of a worker; its exit status (negative: the signal). One that is dying tells its own."""
        try:
            status = self._status(worker.number, patience)
            return self._killed(worker.number) if status is None else status
        finally:
            worker.close()

    def _killed(self, number: int) -> int | None:
        with contextlib.suppress(OSError):
            self._control.send(json.dumps({"kill": number}).encode())
        return self._status(number, END_S)

    def _status(self, number: int, patience: float) -> int | None:
        deadline = time.monotonic() + patience
        while select.select([self._control], [], [], max(0.0, deadline - time.monotonic()))[0]:
            data = self._control.recv(1 << 16)
            if not data:
                return -signal.SIGKILL  # a worker dies with its template
            message = json.loads(data)
            if message["ended"] == number:
                status: int = message["status"]
                return status
        return None

    def close(self) -> None:
        """End it, and with it every worker."""
        self._control.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with contextlib.suppress(OSError):
            remove(self._folder)
