"""The handle to an emulated machine: programs are started directly in its namespaces, about a millisecond each.

``host.connection`` is the same machine for code that speaks Fabric; see ``connection.py``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from testbed.errors import CommandFailed, LimitNotInForce
from testbed.linux import entered
from testbed.substrate.base import Completed
from testbed.substrate.cgroups_hosts import HostGroup

if TYPE_CHECKING:
    from testbed.substrate.connection import NamespaceConnection

_NO_SUCH_PROGRAM = 127


class NetnsProcess:
    """A program that goes on running on a host; it leads a session of its own, and signals go to all of that."""

    def __init__(self, child: subprocess.Popen[str], folder: Path) -> None:
        self._child = child
        self.pid = child.pid
        self.folder = folder
        (folder / "pid").write_text(f"{self.pid}\n")

    def poll(self) -> int | None:
        """Its exit status (negative: killed by that signal), or None while it runs."""
        status = self._child.poll()
        if status is not None and not (self.folder / "exit").exists():
            (self.folder / "exit").write_text(f"{status}\n")
        return status

    def signal(self, number: int) -> None:
        """Send a signal to the program and to what it started; no error if it has ended."""
        if self._child.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def wait(self, timeout: float) -> int | None:
        """Its exit status, or None if it still runs after ``timeout`` seconds."""
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(timeout)
        return self.poll()


class NetnsHost:
    """One emulated host or router: its two namespaces, its folder, and the verbs of the Host contract.

    ``group`` holds its programs to its limits, where it has any.
    """

    def __init__(self, name: str, folder: Path, net: int, uts: int, group: HostGroup | None = None) -> None:
        self.name = name
        self.folder = folder
        self.net = net
        self.uts = uts
        self.group = group
        self.processes: list[NetnsProcess] = []
        self._connection: NamespaceConnection | None = None

    @property
    def outside(self) -> NetnsHost:
        """The same host, for the testbed's own measurements: its limits do not hold for what is started here."""
        if self.group is None:
            return self
        free = NetnsHost(self.name, self.folder, self.net, self.uts)
        free.processes = self.processes
        return free

    @property
    def connection(self) -> NamespaceConnection:
        """This host for code that speaks Fabric."""
        if self._connection is None:  # imported when asked for: Fabric takes a quarter of a second to load
            from testbed.substrate.connection import NamespaceConnection

            self._connection = NamespaceConnection(self)
        return self._connection

    def spawn(
        self, argv: Sequence[str], stdout: int | IO[bytes], stderr: int | IO[bytes], **more: Any
    ) -> subprocess.Popen[str]:
        """Start a program inside, in a session of its own; FileNotFoundError if there is none of that name."""
        if self.group is not None:
            more["preexec_fn"] = self.group.join
        try:
            with entered(self.net, self.uts):  # inherited descriptors are closed by their own flag, not one by one
                return subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True,
                    close_fds=False, encoding="utf-8", errors="replace", **more,
                )
        except subprocess.SubprocessError as error:  # all that Popen tells of what failed before exec
            raise LimitNotInForce(f"{argv[0]} was not started on {self.name}, since it cannot be put under the host's "
                                  "limits.") from error

    def run(self, argv: Sequence[str], *, check: bool = True, timeout: float | None = 60.0) -> Completed:
        """Run a program to its end; see the Host contract for what is raised."""
        try:
            child = self.spawn(argv, subprocess.PIPE, subprocess.PIPE, cwd=self.folder)
        except (FileNotFoundError, PermissionError) as error:
            done = Completed(_NO_SUCH_PROGRAM, "", f"{error.strerror}: {error.filename}")
        else:
            done = self._communicate(child, argv, timeout)
        if check and done.status != 0:
            raise CommandFailed(self.name, argv, done.status, done.stdout + done.stderr)
        return done

    def _communicate(self, child: subprocess.Popen[str], argv: Sequence[str], timeout: float | None) -> Completed:
        try:
            stdout, stderr = child.communicate(timeout=timeout)
        except BaseException as error:  # also Ctrl-C: nothing may go on running behind the caller's back
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                said = (error.stdout or b"")[-300:].decode(errors="replace")
                what = f"On host {self.name}, {' '.join(argv)!r} did not end within {timeout:g} s"
                raise TimeoutError(f"{what}; it had said {said!r}.") from None
            raise
        return Completed(child.returncode, stdout, stderr)

    def start(self, argv: Sequence[str], folder: Path, *, env: Mapping[str, str] | None = None) -> NetnsProcess:
        """Start a program that goes on running, with its output and its record in ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "exit").unlink(missing_ok=True)
        environment = None if env is None else {**os.environ, **env}
        with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
            try:
                child = self.spawn(argv, out, err, cwd=self.folder, env=environment)
            except (FileNotFoundError, PermissionError) as error:
                text = f"{error.strerror}: {error.filename}"
                raise CommandFailed(self.name, argv, _NO_SUCH_PROGRAM, text) from error
        process = NetnsProcess(child, folder)
        self.processes.append(process)
        return process

    def put(self, text: str, path: Path) -> None:
        """Write a file; a relative path is below the host's folder."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def get(self, path: Path) -> str:
        """Read a file; a relative path is below the host's folder."""
        return (self.folder / path).read_text()

    def end(self, deadline: float) -> None:
        """Kill what still runs and record how it ended; ``deadline`` is a time of time.monotonic()."""
        for process in self.processes:
            process.signal(signal.SIGKILL)
        for process in self.processes:
            process.wait(max(0.0, deadline - time.monotonic()))
