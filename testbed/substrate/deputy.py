"""The deputy: what acts for the driver on another machine. ``python -m testbed.substrate.deputy FOLDER OPTIONS``.

    guard     waits; when the worker ends, however it ends, kills all that is left and removes FOLDER
    └── worker    answers requests on stdin and stdout (:mod:`testbed.substrate.deputy_wire`), starts processes

When the channel closes (the driver was killed, the network is gone) or nothing is heard for a minute, the worker
ends; every process that came of it is a descendant of the guard, wherever it ran to, and dies with it.

To add an operation, write a function in a module ``testbed/substrate/deputy_<family>.py`` and put it into that module's
``OPERATIONS``; the driver calls it as ``<family>.<name>``. No list has to be edited:

    def open_part(desk: Desk, *, topology: str, seed: int) -> Mapping[str, object]:
        part = desk.undo.enter_context(opened(topology, seed))     # undone when the worker ends
        desk.kept["part"] = part                                   # for later operations of the family
        return {"hosts": list(part.hosts)}

    OPERATIONS = {"open": open_part}

Arguments and answer are what JSON can hold. Each request has a thread of its own, so an operation may take its time;
what it raises becomes the error of the answer. OPTIONS (JSON) may hold ``arena``: true to serve inside an arena, and
``first``: a list of [operation, arguments] to be carried out before it is entered, while the machine's own network is
at hand: sockets that they open and keep in ``desk.kept`` stay open inside. ``silence``: for how many seconds nothing
may be heard.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from testbed import linux
from testbed.errors import MachineLacks, TestbedError
from testbed.substrate import arena, deputy_wire
from testbed.substrate.deputy_wire import Message
from testbed.substrate.processes import Snapshot

SILENCE_S = 60.0
LEFT = "left.json"  # in the folder: commands that undo what outlives processes
_OPERATION = re.compile(r"([a-z]+)\.([a-z_]+)$")

Operation = Callable[..., Mapping[str, object]]


class Desk:
    """What operations work with. ``folder`` is the run's folder on this machine; ``undo`` is closed in the end.

    ``kept`` is where a family of operations keeps things between requests.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.undo = ExitStack()
        self.kept: dict[str, Any] = {}
        self._turn = threading.Lock()
        self._leaving: list[list[str]] = []

    @contextmanager
    def turn(self) -> Iterator[None]:
        """One thread at a time: for operations that change what others read."""
        with self._turn:
            yield

    def leave_word(self, argv: list[str]) -> None:
        """Have ``argv`` run in the end, also if the worker is killed: say so before doing what it undoes."""
        self._leaving.insert(0, argv)
        path = self.folder / LEFT
        temporary = path.with_suffix(".part")
        temporary.write_text(json.dumps(self._leaving))
        temporary.replace(path)


def operation(name: str) -> Operation:
    """The operation ``family.name``; KeyError if there is none."""
    match = _OPERATION.match(name)
    if match is None:
        raise KeyError(name)
    try:
        family = importlib.import_module(f"testbed.substrate.deputy_{match[1]}")
    except ModuleNotFoundError:
        raise KeyError(name) from None
    found: Operation = getattr(family, "OPERATIONS", {})[match[2]]
    return found


class Server:
    """Answers requests until the driver has gone."""

    def __init__(self, desk: Desk, source: IO[bytes], target: int, silence_s: float = SILENCE_S) -> None:
        self._desk, self._source, self._target, self._silence = desk, source, target, silence_s
        self._turn = threading.Lock()
        self._heard = time.monotonic()

    def serve(self) -> None:
        """Return when the channel is closed; raises Broken for what is no message."""
        threading.Thread(target=self._listen, name="silence", daemon=True).start()
        while (request := deputy_wire.receive(self._source)) is not None:
            self._heard = time.monotonic()
            threading.Thread(target=self._answer, args=(request,), daemon=True).start()

    def _listen(self) -> None:
        """End the process when nothing has been heard for long: a network that is gone closes nothing."""
        while (left := self._heard + self._silence - time.monotonic()) > 0:
            time.sleep(left)
        os.kill(os.getpid(), signal.SIGTERM)

    def _answer(self, request: Message) -> None:
        answer: Message = {"id": request.get("id")}
        try:
            done = operation(request["op"])(self._desk, **request["args"])
            answer["ok"] = dict(done)
            data = deputy_wire.encoded(answer)
        except Exception as error:  # noqa: BLE001 - told to whoever asked, who raises it
            answer.pop("ok", None)
            data = deputy_wire.encoded({**answer, "error": _told(error)})
        with self._turn:
            _write(self._target, data)


def _told(error: Exception) -> dict[str, str]:
    if isinstance(error, MachineLacks):
        return {"kind": "MachineLacks", "text": error.what, "remedy": error.remedy}
    kind = next(each.__name__ for each in type(error).__mro__ if each.__module__ in ("builtins", "testbed.errors"))
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return {"kind": kind, "text": text or kind}


def _write(target: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(target, view):]


def _work(folder: Path, options: Mapping[str, Any], source: int, target: int) -> int:
    """Be the worker."""
    linux.adopt_orphans()
    signal.signal(signal.SIGTERM, _leave)
    desk = Desk(folder)
    with desk.undo:
        for name, arguments in options.get("first", ()):
            operation(name)(desk, **arguments)
        silence = options.get("silence", SILENCE_S)
        if options.get("arena"):
            return arena.run_inside(lambda: _serve(desk, source, target, silence), f"deputy-{os.getpid()}")
        return _serve(desk, source, target, silence)


def _serve(desk: Desk, source: int, target: int, silence_s: float) -> int:
    signal.signal(signal.SIGTERM, _leave)
    with desk.undo, os.fdopen(source, "rb", closefd=False) as requests, suppress(OSError):
        Server(desk, requests, target, silence_s).serve()
    return 0


def _leave(*_: object) -> None:
    raise SystemExit(0)


def guard(folder: Path, options: Mapping[str, Any]) -> int:
    """Be the guard, with a worker below; returns when nothing of the run is left on the machine."""
    linux.adopt_orphans()
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    source, target = _own_streams()
    worker = os.fork()
    if worker == 0:
        status = 1
        try:
            status = _work(folder, options, source, target)
        except SystemExit:
            status = 0
        except BaseException as error:  # noqa: BLE001 - the end of a forked process; told to the driver
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
        finally:
            _clear(folder)  # here as well, since it may be the guard that was killed
            os._exit(status)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(worker, signal.SIGTERM))
    status = _until_ended(worker)
    _clear(folder)
    return status


def _clear(folder: Path) -> None:
    """Leave no process below this one, nothing that word was left of, and no file."""
    bury()
    _undo_left(folder)
    shutil.rmtree(folder, ignore_errors=True)


def _own_streams() -> tuple[int, int]:
    """Descriptors of the channel that no child inherits; what prints goes to the log instead, and so to the driver."""
    source, target = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    return source, target


def _until_ended(worker: int) -> int:
    """Wait for the worker, and bury whom it leaves behind meanwhile."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == worker:
            return os.waitstatus_to_exitcode(status)


def bury(within_s: float = 10.0) -> None:
    """Kill every descendant of this process, and theirs, until none is left."""
    end = time.monotonic() + within_s
    while (left := descendants(os.getpid())) and time.monotonic() < end:
        for pid in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.005)


def descendants(root: int) -> list[int]:
    """The processes below ``root``, zombies among them, each after its parent."""
    return Snapshot().pids(root)[1:]


def _undo_left(folder: Path) -> None:
    """Carry out the commands that the worker left word of."""
    with suppress(OSError, ValueError):
        for argv in json.loads((folder / LEFT).read_text()):
            subprocess.run(argv, check=False, stdin=subprocess.DEVNULL, capture_output=True, timeout=30)


def main(folder: Path, options: Mapping[str, Any]) -> int:
    """Be the deputy whose folder is ``folder``."""
    try:
        return guard(folder, options)
    except TestbedError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), json.loads(sys.argv[2])))
