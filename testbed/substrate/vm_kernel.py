"""The kernel of the VM as a process of this machine: its serial lines, signals on their way in, its end."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType, TracebackType

from testbed import linux
from testbed.errors import TestbedError
from testbed.substrate.vm_errand import raise_error

_OFF_WITHIN_S = 20.0  # from the end of the work to that of the VM
_CONSOLE, _SHOWN = 1 << 14, 12  # bytes of the console's end that are kept, lines of it that an error shows
_WORDS = {signal.SIGINT: b"int\n", signal.SIGTERM: b"term\n", signal.SIGHUP: b"term\n"}
_INIT = ("--", "-m", "testbed.substrate.vm_guest")


class Machine:
    """A kernel that runs while the context lasts. SIGINT, SIGTERM and SIGHUP of this process go to the work inside.

    After SIGUSR1, which tells that the command was killed, nothing of it is left.
    """

    def __init__(self, command: Sequence[str], disk: int, place: Path) -> None:
        self._place = place
        self._said: tuple[int, str] | None = None
        self._line = self._console = b""
        control, theirs = socket.socketpair()
        self._control = control.detach()
        pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(3)]
        sinks = (partial(_write_all, 1), partial(_write_all, 2), self._note)
        self._sources: dict[int, Callable[[bytes], None]] = {self._control: self._hear}
        self._sources.update(zip([reading for reading, _ in pipes], sinks, strict=True))
        out, err, console = (writing for _, writing in pipes)
        lines = [f"ssl0=fd:{theirs.fileno()}", f"ssl1=null,fd:{out}", f"ssl2=null,fd:{err}", f"con0=null,fd:{console}"]
        self._kernel = subprocess.Popen(
            [*command, "con=null", "ssl=null", *lines, *_INIT],
            stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True,
            pass_fds=[disk, theirs.fileno(), out, err, console],
            preexec_fn=_alone,
            env={"TMPDIR": str(place), "HOME": str(place), "PATH": os.environ.get("PATH", os.defpath)},
        )  # fmt: skip
        theirs.close()
        for fd in (out, err, console):
            os.close(fd)

    def __enter__(self) -> Machine:
        self._handlers = {number: signal.signal(number, self._pass_on) for number in _WORDS}
        self._handlers[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, self._bow_out)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kill()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        for fd in self._sources:
            os.close(fd)

    def attend(self) -> int:
        """Carry what comes and goes; the exit status of the work. Raises what it raised, or TestbedError."""
        gone = os.pidfd_open(self._kernel.pid)
        open_ones, deadline = set(self._sources), float("inf")
        while True:
            wait = None if self._said is None else max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select([gone, *open_ones], [], [], wait)
            for fd in open_ones.intersection(ready):
                if not self._take(fd):
                    open_ones.remove(fd)
            if self._said is not None and deadline == float("inf"):
                deadline = time.monotonic() + _OFF_WITHIN_S
            if not open_ones.intersection(ready) and (gone in ready or time.monotonic() > deadline):
                break
        os.close(gone)
        if self._said is None:
            raise TestbedError(f"The VM broke down. Its console said last:\n{self._last_words()}")
        status, error = self._said
        raise_error(error)
        return status

    def _take(self, fd: int) -> bool:
        """Pass on what has come; False at the end."""
        try:
            data = os.read(fd, 1 << 16)
        except ConnectionResetError:
            return False
        if data:
            self._sources[fd](data)
        return bool(data)

    def _hear(self, data: bytes) -> None:
        self._line += data
        if self._line.endswith(b"\n"):
            status, error = json.loads(self._line)
            self._said = status, error

    def _note(self, data: bytes) -> None:
        self._console = (self._console + data)[-_CONSOLE:]

    def _last_words(self) -> str:
        lines = [line for line in self._console.decode(errors="replace").splitlines() if line.strip()]
        panic = next((number for number, line in enumerate(lines) if "anic" in line), -_SHOWN)
        return "\n".join(f"    {line}" for line in lines[panic:][:_SHOWN]) or "    (nothing)"

    def _pass_on(self, number: int, _: FrameType | None) -> None:
        with suppress(OSError):  # it has just ended
            os.write(self._control, _WORDS[signal.Signals(number)])

    def _bow_out(self, *_: object) -> None:
        self._kill()
        for path in sorted(self._place.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        self._place.rmdir()
        os._exit(128 + signal.SIGKILL)

    def _kill(self) -> None:
        """End the kernel and its helpers, which would outlive it."""
        with suppress(ProcessLookupError):
            os.killpg(self._kernel.pid, signal.SIGKILL)
        self._kernel.wait()


def _alone() -> None:
    """In the new process: it ends with this one, and a crash writes no file as large as the VM's memory."""
    linux.die_with_parent(signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _write_all(fd: int, data: bytes) -> None:
    """Write all; what nobody reads any more is dropped."""
    with suppress(BrokenPipeError):
        while data:
            data = data[os.write(fd, data) :]
