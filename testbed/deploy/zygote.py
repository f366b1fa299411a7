"""The fork server: a process that has imported what agents need and forks one whenever it is asked to.

It has one thread and no event loop, so a fork of it is as good as a fresh process; gRPC starts its threads when it is
first used, in the child. The driver holds the other end of its socket (``forks.py``) and sends one JSON message for
each request, with the host's namespaces as open files beside it:

    {"start": FOLDER, "joins": J}   fds: J lists of the members of control groups,
                                    network namespace, host-name namespace (or none)   -> {"pid": N}
    {"signal": N, "pid": P}         to the whole session that agent P leads            -> {}

When the driver goes, the server goes; when the server goes, the kernel kills its agents.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from testbed import linux
from testbed.deploy import agent
from testbed.roles import discover

LARGEST = 65536  # bytes of a message
MOST_FDS = 8  # beside it


class Server:
    """The loop of the fork server on its end ``control`` of the driver's socket."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._agents: dict[int, Path] = {}  # those that have not been waited for, so their numbers are still theirs
        self._woken, self._waking = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._waking, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def run(self) -> None:
        """Answer requests and record how agents ended, until the driver has gone."""
        while True:
            readable, _, _ = select.select([self._control.fileno(), self._woken], [], [])
            if self._woken in readable:
                os.read(self._woken, 4096)
                self._bury()
            if self._control.fileno() in readable:
                data, fds, _, _ = socket.recv_fds(self._control, LARGEST, MOST_FDS)
                if not data:
                    return
                self._control.send(json.dumps(self._answer(json.loads(data), fds)).encode())

    def _answer(self, request: dict[str, Any], fds: Sequence[int]) -> dict[str, Any]:
        if "signal" in request:
            return self._signal(request["pid"], request["signal"])
        try:
            return {"pid": self._start(Path(request["start"]), fds[: request["joins"]], fds[request["joins"] :])}
        except OSError as error:
            return {"error": str(error)}
        finally:
            for fd in fds:
                os.close(fd)

    def _signal(self, pid: int, number: int) -> dict[str, Any]:
        if pid in self._agents:
            try:
                os.killpg(pid, number)
            except ProcessLookupError:  # so young that it does not lead its session yet
                os.kill(pid, number)
        return {}

    def _start(self, folder: Path, joins: Sequence[int], spaces: Sequence[int]) -> int:
        (folder / "pid").touch()  # an error now, before there is a process
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become_agent(folder, joins, spaces, server)
        self._agents[pid] = folder
        _write(folder / "pid", f"{pid}\n")
        return pid

    def _become_agent(self, folder: Path, joins: Sequence[int], spaces: Sequence[int], server: int) -> NoReturn:
        status = 1
        try:
            os.setsid()
            linux.die_with_parent(signal.SIGKILL)
            if os.getppid() != server:
                os._exit(128 + signal.SIGKILL)
            self._leave_server()
            _redirect(folder)
            linux.join_groups(joins)
            for fd in spaces:
                linux.setns(fd)
            for fd in (*joins, *spaces):
                os.close(fd)
            status = agent.main(folder)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        except BaseException:  # noqa: BLE001 - a forked process must not run on into the server's code
            traceback.print_exc()
        finally:
            with suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _leave_server(self) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for fd in (self._woken, self._waking):
            os.close(fd)
        self._control.close()

    def _bury(self) -> None:
        while self._agents:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            folder = self._agents.pop(pid, None)
            if folder is not None:
                _write(folder / "exit", f"{os.waitstatus_to_exitcode(status)}\n")

    def end(self) -> None:
        """Kill the agents that are left and record how they ended."""
        for pid in self._agents:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        for pid, folder in self._agents.items():
            _write(folder / "exit", f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n")


def _write(path: Path, text: str) -> None:
    """Replace a file in one step; a reader sees the whole text or no file."""
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(text)
    temporary.replace(path)


def _redirect(folder: Path) -> None:
    """Make the agent's folder its working folder and the home of its output."""
    os.chdir(folder)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    for name, flag, number in ((os.devnull, os.O_RDONLY, 0), ("stdout", flags, 1), ("stderr", flags, 2)):
        fd = os.open(name, flag, 0o644)
        os.dup2(fd, number)
        os.close(fd)


def preload(home: Path, systems: Sequence[str]) -> None:
    """Import now what agents will need, and keep the garbage collector from copying it in each child."""
    for name in systems:
        discover.system(name, home)
    for module in ("testbed.workload.client", "testbed.roles.workers"):
        importlib.import_module(module)
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads > 1:
        raise RuntimeError(f"Importing {', '.join(systems)} started {threads - 1} threads, which a fork would lose.")
    gc.collect()
    gc.freeze()


def main(control: socket.socket, home: Path, systems: Sequence[str]) -> int:
    """Be the fork server until the driver has gone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the driver decides when it ends, by closing the socket
    preload(home, systems)
    server = Server(control)
    control.send(b"{}")
    try:
        server.run()
    finally:
        server.end()
    return 0


if __name__ == "__main__":
    sys.exit(main(socket.socket(fileno=int(sys.argv[1])), Path(sys.argv[2]), sys.argv[3:]))
