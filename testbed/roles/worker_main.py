"""The processes in which real functions run. Started by ``worker_process.py``; standard library only.

One small template process imports what every worker needs and forks a worker whenever the agent asks for one, which
takes a millisecond where a new Python takes twenty or more. It never runs a function's code itself, has one thread,
and answers at all times: it alone starts, reaps and kills, so a kill cannot hit a number that was given to another.

    agent <-> template   one JSON object a packet: start (with the worker's channel), kill; ended
    agent <-> worker     JSON objects, each behind its length in four bytes: a call, and its reply; before that, where
                         the call ``asks``, any number of questions (``ask``), each with an ``answer`` or ``refused``

The worker of a container (an order with ``storage_bytes``) has a private folder under a quota: ``worker_storage.py``.
An order with ``reckon`` is the twin's: its functions do not wait, their steps are written down: ``worker_context.py``.

A worker's memory limit is RLIMIT_DATA: private memory that can be written. RLIMIT_AS would count reserved address
space as well, of which numeric libraries and WebAssembly engines take gigabytes without using them.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
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

from testbed import linux
from testbed.roles.worker_channel import MAX_MESSAGE_BYTES, Asking, Channel
from testbed.roles.worker_context import Context, Reckoning, TimeIsUp
from testbed.roles.worker_storage import Storage, remove

MAX_FILES = 256
MAX_FILE_BYTES = 256_000_000
MAX_PROCESSES = 4096  # the kernel counts all processes of the user, so this only stops a fork bomb
OUT_OF_MEMORY = b'{"error": "memory", "detail": "", "ends": true}'


# A worker.


def work(channel: Channel, order: dict[str, Any], storage: Storage) -> NoReturn:
    """Load the function, say so, and run it once for each request until the agent goes away."""
    try:
        code = load(Path(order["code"]))
        storage.clear()
    except BaseException as error:  # noqa: BLE001 - whatever the function's file does is the function's failure
        channel.send(encoded(failure(error, order["code"])))
        os._exit(1)
    channel.send(encoded({"ready": True, "mounted": storage.mounted}))
    kind = Reckoning if order.get("reckon") else Context
    while True:
        request = channel.receive()
        asking = Asking(channel) if "asks" in request else None
        context = kind(order, request, storage, asking)
        begun = time.perf_counter()
        reply = attempt(code, context, request["payload"], order["code"], storage)
        reply["exec_s"] = time.perf_counter() - begun
        if asking is not None and asking.over():
            reply["ends"] = True
        if isinstance(context, Reckoning):
            told(context, reply)
        try:
            storage.clear()
        except OSError:
            reply["ends"] = True  # the next call gets a new worker in a new folder
        channel.send(encoded(reply))
        if reply.get("ends"):
            os._exit(1)


def encoded(reply: dict[str, Any]) -> bytes:
    """The bytes of a reply; where even these are too much, those that say so."""
    try:
        return json.dumps(reply).encode()
    except MemoryError:
        return OUT_OF_MEMORY


def told(context: Reckoning, reply: dict[str, Any]) -> None:
    """Put the reckoned time in the place of the measured one; the time limit overrules whatever came out of it."""
    if context.over and reply.get("error") != "memory":
        reply["error"], reply["detail"] = "timeout", f"no result within {context.limit_s:g} s"
        context.spent_s = context.limit_s or 0.0
    reply["exec_s"], reply["steps"] = context.spent_s, context.steps


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


def attempt(code: Any, context: Context, payload: str, path: str, storage: Storage) -> dict[str, Any]:
    """The reply to one request."""
    failed: BaseException | None = None
    try:
        reply: dict[str, Any] = {"output": text_of(code(context, payload))}
    except (MemoryError, SystemExit, TimeIsUp, Exception) as error:  # noqa: BLE001 - told to the agent
        reply, failed = failure(error, path), error
    if not isinstance(failed, MemoryError) and (excess := storage.excess(failed)):
        return {"error": "storage", "detail": excess}
    return reply


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


def failure(error: BaseException, path: str) -> dict[str, Any]:
    """The reply for an error; its traceback goes to the log. ``sys.exit`` ends the worker, as it asks to."""
    if isinstance(error, MemoryError):
        return {"error": "memory", "detail": "", "ends": True}  # nobody knows what is left half-done
    with contextlib.suppress(Exception):  # an error whose own text fails is still an error
        traceback.print_exception(error)
    if isinstance(error, SystemExit):
        os._exit(error.code if isinstance(error.code, int) else 1)
    return {"error": "exception", "detail": explain(error, path)}


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


def confine(order: dict[str, Any], parent: int) -> Storage:
    """Limits, a folder and a log of its own, and an end with the template's."""
    os.setpgid(0, 0)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")  # a full machine ends functions first
    quota: int | None = order.get("storage_bytes")
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    emptied = quota is not None or bool(order.get("reckon"))
    storage = Storage(Path(order["scratch"]), quota, emptied=emptied, mount=bool(order.get("mount")))
    linux.die_with_parent(signal.SIGKILL)  # not before: new privileges would take it back
    if os.getppid() != parent:
        os._exit(1)  # it died before the line above
    for kind, limit in (
        (resource.RLIMIT_DATA, order["memory_bytes"]), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_NOFILE, MAX_FILES),
        (resource.RLIMIT_FSIZE, max(MAX_FILE_BYTES, quota or 0)), (resource.RLIMIT_NPROC, MAX_PROCESSES),
    ):
        hard = resource.getrlimit(kind)[1]
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (limit, limit))
    os.chdir(order["scratch"])
    os.environ.update(HOME=order["scratch"], TMPDIR=order["scratch"])
    for number in (1, 2):
        os.dup2(log, number)
    os.close(log)
    return storage


# The template.


class Template:
    """Forks workers, tells which ended, kills those that it is told to kill."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._workers: dict[int, int] = {}  # process -> the agent's number of the worker
        self._folders: set[Path] = set()
        self._wake, wake = socket.socketpair()
        for end in (self._wake, wake):
            end.setblocking(False)
        self._wake_end = wake  # kept open
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)

    def live(self) -> None:
        """Obey until the agent closes its end or is killed; then nothing of it is left."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # closed with our news unread
            while self._turn():
                pass
        self._end()

    def _turn(self) -> bool:
        ready, _, _ = select.select([self._control, self._wake], [], [])
        if self._wake in ready:
            self._wake.recv(4096)
            self._reap()
        return self._control not in ready or self._obey()

    def _end(self) -> None:
        """Leave neither processes nor folders, also where the agent was killed and could not see to it."""
        signal.set_wakeup_fd(-1)
        for process in self._workers:
            os.killpg(process, signal.SIGKILL)
        for process in self._workers:
            os.waitpid(process, 0)
        for folder in self._folders:
            with contextlib.suppress(OSError):
                remove(folder)

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
        self._folders.add(Path(order["scratch"]).parent)

    def _become(self, order: dict[str, Any], descriptor: int, parent: int) -> NoReturn:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for each in (self._control, self._wake, self._wake_end):
            each.close()
        try:
            work(Channel(socket.socket(fileno=descriptor)), order, confine(order, parent))
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


def main() -> None:
    """Be the template on the socket whose number is the last argument."""
    gc.freeze()  # shared with the workers as long as nobody touches it
    Template(socket.socket(fileno=int(sys.argv[-1]))).live()
