"""The driver's side of the fork server: start it once, then let it start agents in a few milliseconds each."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from testbed import places
from testbed.deploy.zygote import LARGEST
from testbed.errors import TestbedError
from testbed.substrate.cgroups_hosts import HostGroup

_LOAD_S = 60.0  # imports on a busy small machine
_ANSWER_S = 30.0


@runtime_checkable
class Enterable(Protocol):
    """A host of this machine: its network and host-name namespaces are open files of this process.

    ``group`` are its control groups, where it has limits.
    """

    net: int
    uts: int
    group: HostGroup | None


class ForkServer:
    """A running fork server. Safe for many threads. Whoever dies, driver or server, the agents die with it."""

    def __init__(self, control: socket.socket, child: subprocess.Popen[bytes], log: Path) -> None:
        self._control, self._child, self._log = control, child, log
        self._turn = threading.Lock()
        self._loaded = False

    def start(self, folder: Path, host: Enterable | None = None) -> ForkedAgent:
        """Start the agent whose ``agent.json`` is in ``folder``, in the namespaces of ``host`` if one is given."""
        (folder / "exit").unlink(missing_ok=True)
        spaces = [] if host is None else [host.net, host.uts]
        joins = [] if host is None or host.group is None else list(host.group.joins)
        reply = self._ask({"start": str(folder), "joins": len(joins)}, [*joins, *spaces])
        if "error" in reply:
            raise TestbedError(f"The fork server could not start the agent of {folder}: {reply['error']}.")
        return ForkedAgent(self, reply["pid"], folder)

    def wait_loaded(self) -> None:
        """Return when the server has imported what it was given; raises TestbedError if that failed."""
        with self._turn, self._listening():
            self._await_load()

    def signal(self, pid: int, number: int) -> None:
        """Send a signal to an agent and to what it started; nothing happens if it has ended."""
        if self.alive():
            self._ask({"signal": int(number), "pid": pid}, [])

    def alive(self) -> bool:
        """Whether the server runs; if not, its agents have been killed."""
        return self._child.poll() is None

    def _ask(self, request: dict[str, Any], fds: Sequence[int]) -> dict[str, Any]:
        with self._turn, self._listening():
            self._await_load()
            socket.send_fds(self._control, [json.dumps(request).encode()], list(fds))
            return self._answer(_ANSWER_S)

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Say what has become of the server where it does not answer."""
        try:
            yield
        except OSError as error:
            raise TestbedError(f"The fork server of the agents does not answer ({error}).{self._said()}") from error

    def _await_load(self) -> None:
        if not self._loaded:
            self._answer(_LOAD_S)
            self._loaded = True

    def _answer(self, timeout: float) -> dict[str, Any]:
        self._control.settimeout(timeout)
        data = self._control.recv(LARGEST)
        if not data:
            raise ConnectionResetError(f"exit status {self._child.wait(timeout)}")
        answer: dict[str, Any] = json.loads(data)
        return answer

    def _said(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()[-10:]
        return "".join(f"\n    {line}" for line in lines)

    def close(self) -> None:
        """End the server and with it all its agents."""
        self._control.close()
        try:
            self._child.wait(5)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        if not self._said():
            self._log.unlink(missing_ok=True)


class ForkedAgent:
    """An agent that the fork server started: a Process whose files are on this machine."""

    def __init__(self, server: ForkServer, pid: int, folder: Path) -> None:
        self._server, self.pid, self.folder = server, pid, folder
        self._status: int | None = None

    def poll(self) -> int | None:
        """Its exit status (negative: killed by that signal), or None while it runs."""
        if self._status is None:
            alive = self._server.alive()  # asked first: a server that still lives has written all that it knows
            with suppress(FileNotFoundError):
                self._status = int((self.folder / "exit").read_text())
            if self._status is None and not alive:
                self._status = -signal.SIGKILL
        return self._status

    def signal(self, number: int) -> None:
        """Send a signal to the agent and to what it started; no error if it has ended."""
        self._server.signal(self.pid, number)

    def wait(self, timeout: float) -> int | None:
        """Its exit status, or None if it still runs after ``timeout`` seconds."""
        end = time.monotonic() + timeout
        while (status := self.poll()) is None and time.monotonic() < end:
            time.sleep(0.002)
        return status


@contextmanager
def fork_server(systems: Sequence[str], log: Path, home: Path | None = None) -> Iterator[ForkServer]:
    """A fork server that has imported these systems; it is gone, and all its agents, when the context ends.

    It returns at once: the imports go on meanwhile, and the first start waits for them. ``log`` receives what the
    server itself says and is removed if that is nothing.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    argv = [sys.executable, "-m", "testbed.deploy.zygote", str(theirs.fileno()), str(home or places.home()), *systems]
    with theirs, log.open("wb") as output:
        os.set_inheritable(theirs.fileno(), True)
        child = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=[theirs.fileno()],
            start_new_session=True, env={**os.environ, "PYTHONPATH": _import_path()},
        )
    server = ForkServer(ours, child, log)
    try:
        yield server
    finally:
        server.close()


def _import_path() -> str:
    """Where a child finds this very package, wherever it runs."""
    given = os.environ.get("PYTHONPATH")
    return os.pathsep.join([str(places.PACKAGE.parent), *([given] if given else [])])
