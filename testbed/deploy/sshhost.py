"""A machine reached by SSH, with the verbs of the Host contract on a plain Fabric connection."""

from __future__ import annotations

import io
import json
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from invoke.exceptions import CommandTimedOut
from paramiko import SSHException

from testbed.deploy import launch
from testbed.errors import CommandFailed, TestbedError
from testbed.substrate.base import Completed

_LAUNCHER = ".launch.py"
_NO_STATUS = -1  # what paramiko reports for a channel that closed without an exit status
Result = TypeVar("Result")


class SshProcess:
    """A command that goes on running on a machine, watched through its files there."""

    def __init__(self, host: SshHost, pid: int, folder: Path) -> None:
        self._host, self.pid, self.folder = host, pid, folder
        self._status: int | None = None

    def poll(self) -> int | None:
        """Its exit status (negative: killed by that signal), or None while it runs."""
        if self._status is None:
            with suppress(FileNotFoundError):
                self._status = int(self._host.get(self.folder / "exit"))
        return self._status

    def signal(self, number: int) -> None:
        """Send a signal to the command and to what it started; no error if it has ended."""
        if self.poll() is None:
            # the shell's own kill: that of procps takes a small negative number for a signal
            self._host.run(["sh", "-c", 'kill -s "$1" -- "$2"', "sh", str(int(number)), f"-{self.pid}"], check=False)

    def wait(self, timeout: float) -> int | None:
        """Its exit status, or None if it still runs after ``timeout`` seconds."""
        end = time.monotonic() + timeout
        while (status := self.poll()) is None and time.monotonic() < end:
            time.sleep(0.02)
        return status


class SshHost:
    """One machine. ``folder`` is an absolute path there, ``python`` an interpreter there; both are used as given."""

    def __init__(self, name: str, folder: Path, connection: Any, python: str = "python3") -> None:
        self.name, self.folder, self.connection, self._python = name, folder, connection, python
        self._prepared = False

    def run(self, argv: Sequence[str], *, check: bool = True, timeout: float | None = 60.0) -> Completed:
        """Run a command in the host's folder; raises CommandFailed and TimeoutError as the contract says."""
        self._prepare()
        command = f"cd {shlex.quote(str(self.folder))} && exec {shlex.join(argv)}"
        begun = time.monotonic()
        try:
            result = self._reached(lambda: self.connection.run(
                command, hide=True, warn=True, in_stream=False, timeout=timeout
            ))
        except CommandTimedOut as error:
            raise self._late(argv, timeout, error.result.stdout) from error
        # Fabric's timer may have closed the channel and not yet be seen as expired: then there is no exit status.
        if result.exited == _NO_STATUS and timeout is not None and time.monotonic() - begun >= timeout:
            raise self._late(argv, timeout, result.stdout)
        done = Completed(result.exited, result.stdout, result.stderr)
        if check and done.status != 0:
            raise CommandFailed(self.name, argv, done.status, done.stdout + done.stderr)
        return done

    def _late(self, argv: Sequence[str], timeout: float | None, said: str) -> TimeoutError:
        what = f"{' '.join(argv)!r} did not end within {timeout:g} s; it had said {said[-300:]!r}"
        return TimeoutError(f"On host {self.name}, {what}.")

    def start(self, argv: Sequence[str], folder: Path, *, env: Mapping[str, str] | None = None) -> SshProcess:
        """Start a command that outlives the connection, with its output and its record in ``folder``."""
        self._prepare()
        launcher = [self._python, "-I", "-S", str(self.folder / _LAUNCHER)]
        done = self.run([*launcher, str(self.folder / folder), json.dumps(dict(env or {})), *argv])
        return SshProcess(self, int(done.stdout), self.folder / folder)

    def put(self, text: str, path: Path) -> None:
        """Write a file, and the folders above it; a relative path is below the host's folder."""
        self._prepare()
        self._make((self.folder / path).parent)
        self._reached(lambda: self.connection.put(io.BytesIO(text.encode()), remote=str(self.folder / path)))

    def get(self, path: Path) -> str:
        """Read a file; FileNotFoundError if there is none. A relative path is below the host's folder."""
        def read() -> str:
            with self.connection.sftp().open(str(self.folder / path)) as file:
                return bytes(file.read()).decode()
        return self._reached(read)

    def _prepare(self) -> None:
        """At the first use: the host's folder, and in it the script that starts commands."""
        if not self._prepared:
            self._prepared = True
            self._make(self.folder)
            script = Path(launch.__file__).read_bytes()
            self._reached(lambda: self.connection.put(io.BytesIO(script), remote=str(self.folder / _LAUNCHER)))

    def _make(self, folder: Path) -> None:
        for each in (*reversed(folder.parents), folder):
            with suppress(OSError):  # it exists; if it could not be made, writing into it says so
                self._reached(lambda each=each: self.connection.sftp().mkdir(str(each)))  # type: ignore[misc]

    def _reached(self, ask: Callable[[], Result]) -> Result:
        try:
            self.connection.open()
            return ask()
        except (SSHException, EOFError, ConnectionError, TimeoutError) as error:
            raise failed(self.name, error) from error


def failed(host: str, error: Exception, advice: str = "") -> TestbedError:
    """The error, in words, for an SSH connection to ``host`` that could not be made or broke."""
    what = (str(error) or type(error).__name__).rstrip(".")
    return TestbedError(f"The SSH connection to host {host!r} failed: {what}. {advice}".rstrip())
