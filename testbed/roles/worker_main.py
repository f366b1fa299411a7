"""The processes in which real functions run. Started by ``workers.py`` as a script; standard library only.

One small template process imports what every worker needs and forks a worker whenever the agent asks for one, which
takes a millisecond where a new Python takes twenty or more. It never runs a function's code itself, has one thread,
and answers at all times: it alone starts, reaps and kills, so a kill cannot hit a number that was given to another.

    agent <-> template   one JSON object a packet: start (with the worker's channel), kill; ended
    agent <-> worker     JSON objects, each behind its length in four bytes

A worker's memory limit is RLIMIT_DATA: private memory that can be written. RLIMIT_AS would count reserved address
space as well, of which numeric libraries and WebAssembly engines take gigabytes without using them.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import random
import resource
import select
import signal
import socket
import sys
import time
import traceback
import types
from pathlib import Path
from typing import Any, NoReturn

PR_SET_PDEATHSIG = 1
MAX_FILES = 256
MAX_FILE_BYTES = 256_000_000
MAX_PROCESSES = 4096  # the kernel counts all processes of the user, so this only stops a fork bomb
MAX_MESSAGE_BYTES = 64_000_000
OUT_OF_MEMORY = b'{"error": "memory", "detail": ""}'


class Context:
    """What a function gets beside its payload."""

    def __init__(self, function: str, node: str, invocation: int, seed: int) -> None:
        self.function, self.node, self.invocation = function, node, invocation
        self.rng = random.Random(seed)

    def sleep(self, seconds: float) -> None:
        """Wait without using the CPU."""
        time.sleep(seconds)

    def log(self, *words: object) -> None:
        """Write a line into the function's log on this node."""
        print(f"[{self.invocation}]", *words, flush=True)  # noqa: T201 - standard output is the log


class Channel:
    """JSON objects over a stream socket, each behind its length in four bytes (big-endian)."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def send(self, data: bytes) -> None:
        """Send one encoded object."""
        self._socket.sendall(len(data).to_bytes(4, "big") + data)

    def receive(self) -> Any:
        """The next object; ends the process when the agent has closed its end."""
        return json.loads(self._exactly(int.from_bytes(self._exactly(4), "big")))

    def _exactly(self, count: int) -> bytes:
        parts = []
        while count:
            part = self._socket.recv(min(count, 1 << 20))
            if not part:
                os._exit(0)
            parts.append(part)
            count -= len(part)
        return b"".join(parts)


# A worker.


def work(channel: Channel, order: dict[str, Any]) -> NoReturn:
    """Load the function, say so, and run it once for each request until the agent goes away."""
    try:
        code = load(Path(order["code"]))
    except BaseException as error:  # noqa: BLE001 - whatever the function's file does is the function's failure
        channel.send(failure(error, order["code"]))
        os._exit(1)
    channel.send(b'{"ready": true}')
    while True:
        request = channel.receive()
        context = Context(order["function"], order["node"], request["invocation"], request["seed"])
        begun = time.perf_counter()
        reply = attempt(code, context, request["payload"], order["code"])
        channel.send(b'{"exec_s": %.9f, %s' % (time.perf_counter() - begun, reply[1:]))
        if reply == OUT_OF_MEMORY:
            os._exit(1)  # nobody knows what is left half-done


def load(path: Path) -> Any:
    """The function ``code`` of the Python file ``path``, whose folder is searched for what it imports."""
    sys.path.insert(0, str(path.parent))
    module = types.ModuleType(path.stem)
    module.__file__ = str(path)
    sys.modules.setdefault(path.stem, module)  # a function called json does not replace the library
    exec(compile(path.read_bytes(), str(path), "exec"), vars(module))  # noqa: S102 - running user code is the purpose
    code = getattr(module, "code", None)
    if not callable(code):
        raise TypeError(f"{path.name} defines no function code(ctx, payload)")
    return code


def attempt(code: Any, context: Context, payload: str, path: str) -> bytes:
    """The encoded reply to one request."""
    try:
        return json.dumps({"output": text_of(code(context, payload))}).encode()
    except (MemoryError, SystemExit, Exception) as error:  # noqa: BLE001 - told to the agent
        return failure(error, path)


def text_of(result: object) -> str:
    """A text as it is, anything else as JSON; raises TypeError or ValueError for what is neither."""
    if not isinstance(result, str):
        try:
            result = json.dumps(result)
        except (TypeError, ValueError) as error:
            kind = type(result).__name__
            raise TypeError(f"the result is neither text nor something that JSON can hold, but a {kind}") from error
    if len(result.encode()) > MAX_MESSAGE_BYTES:
        raise ValueError(f"the result is larger than {MAX_MESSAGE_BYTES // 10**6} MB")
    return result


def failure(error: BaseException, path: str) -> bytes:
    """The encoded reply for an error; its traceback goes to the log. ``sys.exit`` ends the worker, as it asks to."""
    if isinstance(error, MemoryError):
        return OUT_OF_MEMORY
    with contextlib.suppress(Exception):  # an error whose own text fails is still an error
        traceback.print_exception(error)
    if isinstance(error, SystemExit):
        os._exit(error.code if isinstance(error.code, int) else 1)
    return json.dumps({"error": "exception", "detail": explain(error, path)}).encode()


def explain(error: BaseException, path: str) -> str:
    """Kind, text and line of an error in the function's file, in one line."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    try:
        said = " ".join(str(error).split())[:400].encode("utf-8", "replace").decode()
    except Exception:  # noqa: BLE001 - an error whose own text fails
        said = "(its text cannot be had)"
    where = f" ({Path(path).name}, line {line})" if line and not isinstance(error, SyntaxError) else ""
    return f"{type(error).__name__}: {said}{where}"


def confine(order: dict[str, Any], parent: int) -> None:
    """Limits, a folder and a log of its own, and an end with the template's."""
    os.setpgid(0, 0)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)  # it died before the line above
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")  # a full machine ends functions first
    for kind, limit in (
        (resource.RLIMIT_DATA, order["memory_bytes"]), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_NOFILE, MAX_FILES),
        (resource.RLIMIT_FSIZE, MAX_FILE_BYTES), (resource.RLIMIT_NPROC, MAX_PROCESSES),
    ):
        hard = resource.getrlimit(kind)[1]
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (limit, limit))
    os.chdir(order["scratch"])
    os.environ.update(HOME=order["scratch"], TMPDIR=order["scratch"])
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for number in (1, 2):
        os.dup2(log, number)
    os.close(log)


# The template.


class Template:
    """Forks workers, tells which ended, kills those that it is told to kill."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._workers: dict[int, int] = {}  # process -> the agent's number of the worker
        self._wake, wake = socket.socketpair()
        for end in (self._wake, wake):
            end.setblocking(False)
        self._wake_end = wake  # kept open
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)

    def live(self) -> None:
        """Obey until the agent closes its end; then nothing of it is left."""
        while True:
            ready, _, _ = select.select([self._control, self._wake], [], [])
            if self._wake in ready:
                self._wake.recv(4096)
                self._reap()
            if self._control in ready and not self._obey():
                for process in self._workers:
                    os.killpg(process, signal.SIGKILL)
                return

    def _obey(self) -> bool:
        data, descriptors, _, _ = socket.recv_fds(self._control, 1 << 16, 1)
        if not data:
            return False
        order = json.loads(data)
        if "kill" in order:
            for process, number in self._workers.items():
                if number == order["kill"]:
                    os.killpg(process, signal.SIGKILL)
        else:
            self._fork(order, descriptors[0])
        return True

    def _fork(self, order: dict[str, Any], descriptor: int) -> None:
        parent = os.getpid()
        process = os.fork()
        if process == 0:
            self._become(order, descriptor, parent)
        os.close(descriptor)
        with contextlib.suppress(OSError):
            os.setpgid(process, process)  # so that a kill finds the group even before the worker made it
        self._workers[process] = order["start"]

    def _become(self, order: dict[str, Any], descriptor: int, parent: int) -> NoReturn:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for each in (self._control, self._wake, self._wake_end):
            each.close()
        try:
            confine(order, parent)
            work(Channel(socket.socket(fileno=descriptor)), order)
        finally:
            os._exit(1)  # never back into the template's loop

    def _reap(self) -> None:
        while self._workers:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None:
                return
            with contextlib.suppress(ProcessLookupError):
                os.killpg(ended.si_pid, signal.SIGKILL)  # what the function left running
            _, status = os.waitpid(ended.si_pid, 0)
            number = self._workers.pop(ended.si_pid)
            self._control.send(json.dumps({"ended": number, "status": os.waitstatus_to_exitcode(status)}).encode())


if __name__ == "__main__":
    gc.freeze()  # shared with the workers as long as nobody touches it
    Template(socket.socket(fileno=int(sys.argv[1]))).live()
