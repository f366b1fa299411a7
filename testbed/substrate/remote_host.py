"""Hosts on other machines, with the verbs of the Host contract: what is asked of them, a deputy carries out."""

from __future__ import annotations

import base64
import itertools
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from testbed.errors import CommandFailed, TestbedError
from testbed.substrate.away import Clock
from testbed.substrate.base import Completed
from testbed.substrate.deputy_wire import PIECE
from testbed.substrate.remote_connection import MachineLost
from testbed.substrate.remote_session import ANSWER_S, Session

_SMALL = 1 << 16  # bytes of a text that is remembered in case the machine is lost


class RemoteProcess:
    """A program on another machine. When the machine is lost, so is the program: as if it had been killed."""

    def __init__(self, session: Session, pid: int, folder: Path) -> None:
        self._session, self.pid, self.folder = session, pid, folder
        self._status: int | None = None

    def poll(self) -> int | None:
        """Its exit status (negative: killed by that signal), or None while it runs."""
        return self.wait(0.0)

    def signal(self, number: int) -> None:
        """Send a signal to the program and to what it started; no error if it has ended."""
        if self._status is None and not self._session.lost:
            self._session.ask("host.signal", pid=self.pid, number=int(number))

    def wait(self, timeout: float) -> int | None:
        """Its exit status, or None if it still runs after ``timeout`` seconds."""
        if self._status is None:
            self._status = self._asked(timeout)
        return self._status

    def _asked(self, timeout: float) -> int | None:
        try:
            told = self._session.ask("host.poll", pids=[self.pid], timeout=timeout + ANSWER_S, within=timeout)
            status: int | None = told["statuses"][0]
            return status
        except MachineLost:
            return -signal.SIGKILL


class RemoteHost:
    """One host on another machine. ``folder`` is its own folder there; relative paths are below it."""

    def __init__(self, session: Session, name: str, folder: Path) -> None:
        self._session, self.name, self.folder = session, name, folder
        self.connection: Any = session.connection  # a Fabric connection to the machine
        self.python, self.program = session.python, session.program
        self.seen: dict[Path, str] = {}  # small files as they were when last read, by their path below the folder

    @property
    def clock(self) -> Clock:
        """The machine's clocks against the driver's."""
        return self._session.clocks.now

    @property
    def lost(self) -> str:
        """Why nothing more is to be expected of its machine; empty while all is well."""
        return self._session.lost

    def run(self, argv: Sequence[str], *, check: bool = True, timeout: float | None = 60.0) -> Completed:
        """Run a program to its end in the host's folder; see the Host contract for what is raised."""
        patience = None if timeout is None else timeout + ANSWER_S
        told = self._session.ask("host.run", timeout=patience, host=self.name, argv=list(argv), within=timeout)
        done = Completed(told["status"], told["stdout"], told["stderr"])
        if check and done.status != 0:
            raise CommandFailed(self.name, argv, done.status, done.stdout + done.stderr)
        return done

    def start(self, argv: Sequence[str], folder: Path, *, env: Mapping[str, str] | None = None) -> RemoteProcess:
        """Start a program that goes on running, with its output and its record in ``folder``."""
        place, given = self.folder / folder, None if env is None else dict(env)
        told = self._session.ask("host.start", host=self.name, argv=list(argv), folder=str(place), env=given)
        return RemoteProcess(self._session, told["pid"], place)

    def put(self, text: str, path: Path) -> None:
        """Write a file, and the folders above it."""
        data, place = text.encode(), str(self.folder / path)
        for begin in range(0, max(1, len(data)), PIECE):
            piece = base64.b64encode(data[begin : begin + PIECE]).decode()
            self._session.ask("host.put", path=place, data=piece, append=begin > 0)

    def get(self, path: Path) -> str:
        """Read a file; FileNotFoundError if there is none."""
        text = b"".join(self.pieces(path)).decode()
        place = self.folder / path
        if len(text) < _SMALL and place.is_relative_to(self.folder):
            self.seen[place.relative_to(self.folder)] = text
        return text

    def pieces(self, path: Path) -> Iterator[bytes]:
        """What is in a file, a piece at a time."""
        offset, more = 0, True
        while more:
            told = self._session.ask("host.read", path=str(self.folder / path), offset=offset)
            data, more = base64.b64decode(told["data"]), told["more"]
            offset += len(data)
            yield data

    def fetch(self, target: Path) -> None:
        """Copy all files of the host's folder into ``target``; of a lost machine, what was seen of them last."""
        if self._session.lost:
            self._recall(target)
            return
        try:
            for name in self._session.ask("host.files", path=str(self.folder))["files"]:
                self._copy(name, target)
        except MachineLost:
            self._recall(target)

    def _copy(self, name: str, target: Path) -> None:
        place = PurePosixPath(name)
        if place.is_absolute() or ".." in place.parts:
            raise TestbedError(f"The machine of host {self.name!r} named a file outside of its folder: {name!r}.")
        path = target / place
        pieces = self.pieces(Path(name))
        first = next(pieces)  # before there is a file: a machine that is lost now leaves no empty one to `_recall`
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for piece in itertools.chain([first], pieces):
                file.write(piece)

    def _recall(self, target: Path) -> None:
        for path, text in self.seen.items():
            place = target / path
            place.parent.mkdir(parents=True, exist_ok=True)
            if not place.exists():
                place.write_text(text, encoding="utf-8")
