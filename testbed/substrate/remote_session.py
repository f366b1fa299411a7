"""The driver's side of a deputy: how it is begun on a machine, asked, watched, and ended."""

from __future__ import annotations

import builtins
import itertools
import json
import os
import queue
import shlex
import struct
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from testbed import errors
from testbed.errors import MachineLacks, TestbedError
from testbed.substrate import deputy_wire, remote_boot
from testbed.substrate.deputy_wire import Message
from testbed.substrate.inventory import Inventory
from testbed.substrate.remote_clock import Clocks, Reading
from testbed.substrate.remote_connection import UP_S, MachineConnection, MachineLost

ANSWER_S = 30.0
PULSE_S = 5.0
OLDEST = (3, 11)
_BEGIN_S = 60.0  # for Python to start and to look for its libraries, on a small and busy machine
_STATUS_S = 3.0  # for the exit status to come after the end of the output
_NOISE = 200  # lines that a login shell may print before the deputy's own


class Session:
    """One machine for the time of a run. Safe for many threads.

    :meth:`reach` looks whether it can do what is wanted, :meth:`begin` puts the program there and starts the deputy;
    after that :meth:`ask`. Whatever happens to this process, the machine is as before soon afterwards.
    """

    def __init__(self, inventory: Inventory, name: str) -> None:
        self.name, self.entry = name, inventory.machine(name)
        self.connection = MachineConnection(inventory, name)
        self.clocks = Clocks()
        self.facts: Mapping[str, Any] = {}
        self.folder = Path()
        self.python = self.entry.python  # the interpreter there; by its full path once the machine was reached
        self.lost = ""  # why nothing is to be expected of it any more
        self._channel: Any = None
        self._incoming: Any = None
        self._turn = threading.Lock()
        self._waiting: dict[int, queue.SimpleQueue[Message]] = {}
        self._numbers = itertools.count(1)
        self._said: deque[bytes] = deque(maxlen=40)
        self._over = threading.Event()

    @property
    def program(self) -> Path:
        """The folder there that holds the package and ``roles/``."""
        return self.folder / "program"

    def reach(self, libraries: Mapping[str, str], options: Mapping[str, Any]) -> None:
        """Connect and look; nothing is made there yet.

        ``libraries`` are distributions with the versions of this side. Raises MachineLost, and MachineLacks with
        all that is missing and the command that gets it.
        """
        self.connection.open()
        script = Path(remote_boot.__file__).read_text(encoding="utf-8")
        argv = [self.entry.python, "-c", script, json.dumps(list(libraries)), self.entry.folder, json.dumps(options)]
        self._channel = self.connection.transport.open_session(timeout=UP_S)
        self._channel.settimeout(_BEGIN_S)
        self._channel.exec_command(f"exec {shlex.join(argv)}")
        self._incoming = self._channel.makefile("rb")
        threading.Thread(target=self._overhear, name=f"stderr of {self.name}", daemon=True).start()
        told = self._introduction()
        self._judge(told, libraries)
        self.python = told["python"]

    def _overhear(self) -> None:
        with suppress(OSError):
            self._said.extend(self._channel.makefile_stderr("rb"))

    def _introduction(self) -> dict[str, Any]:
        mark = remote_boot.MARK.encode()
        with suppress(OSError):
            for line in itertools.islice(self._incoming, _NOISE):
                if line.startswith(mark):
                    told: dict[str, Any] = json.loads(line[len(mark) :])
                    return told
        self._channel.status_event.wait(_STATUS_S)
        status = self._channel.exit_status if self._channel.exit_status_ready() else None
        if status == 127:
            raise MachineLacks(f"the Python {self.entry.python!r}", "Name another in the inventory.", self.name)
        how = f" (exit status {status})" if status is not None else ""
        raise MachineLost(f"On machine {self.name!r}, {self.entry.python} did not begin as it should{how}. It said: "
                          f"{self.last_words()}")  # fmt: skip

    def last_words(self) -> str:
        """What the deputy wrote to its stderr last."""
        return b"".join(self._said).decode(errors="replace").strip()[-500:] or "nothing"

    def _judge(self, told: Mapping[str, Any], libraries: Mapping[str, str]) -> None:
        """Raise MachineLacks unless what the machine's Python told is enough."""
        if tuple(told["version"]) < OLDEST:
            version = ".".join(map(str, told["version"]))
            what = f"Python {OLDEST[0]}.{OLDEST[1]} or newer: {self.entry.python} is {version}"
            raise MachineLacks(what, "Install one there, and name it in the inventory (python).", self.name)
        if not told["folder"]:
            raise MachineLacks(f"a folder {told['wanted']} that may be written to", "Name another (folder).", self.name)
        missing = [each for each, here in libraries.items() if not _fits(told["versions"][each], here)]
        if missing:
            have = ", ".join(f"{each} ({_version(told['versions'][each])})" for each in missing)
            wanted = shlex.join([f"{each}=={libraries[each]}" for each in missing])
            remedy = f"Run there: {told['python']} -m pip install {wanted}"
            raise MachineLacks(f"libraries for {told['python']}: {have}", remedy, self.name)

    def begin(self, archive: bytes) -> None:
        """Put the program there, start the deputy, learn its facts and its clocks."""
        self._channel.settimeout(None)
        with suppress(OSError):  # then the first question finds out why
            self._channel.sendall(struct.pack("!Q", len(archive)) + archive)
        threading.Thread(target=self._listen, name=f"deputy on {self.name}", daemon=True).start()
        self.facts = self.ask("host.facts", timeout=60.0)
        self.folder = Path(self.facts["folder"])
        self.clocks.begin(self._read_clock() for _ in range(20))
        threading.Thread(target=self._pulse, name=f"pulse of {self.name}", daemon=True).start()

    def ask(self, op: str, *, timeout: float | None = ANSWER_S, **arguments: object) -> Any:
        """Have an operation carried out; its answer. Raises what it raised there, and MachineLost."""
        number, answers = next(self._numbers), queue.SimpleQueue[Message]()
        self._waiting[number] = answers
        try:
            self._send(deputy_wire.encoded({"id": number, "op": op, "args": arguments}))
            answer = answers.get(timeout=timeout)
        except queue.Empty:
            self.lose(f"it has not answered for {timeout:g} s ({op})")
            raise self.gone() from None
        finally:
            self._waiting.pop(number, None)
        if not answer:
            raise self.gone()
        if "error" in answer:
            raise _raised(answer["error"], self.name)
        return answer["ok"]

    def gone(self) -> MachineLost:
        """The error of a machine that is lost."""
        return MachineLost(f"Machine {self.name!r} is lost: {self.lost}.")

    def lose(self, why: str) -> None:
        """Give the machine up; whoever waits for an answer gets the error."""
        self.lost = self.lost or why
        self._over.set()
        for answers in list(self._waiting.values()):
            answers.put({})
        with suppress(OSError, EOFError):  # nothing more is wanted of it, least of all an error
            self._channel.close()

    def _send(self, data: bytes) -> None:
        if self.lost:
            raise self.gone()
        with self._turn:
            try:
                self._channel.sendall(data)
            except OSError as error:
                self.lose(f"the connection broke ({error})")
                raise self.gone() from error

    def _listen(self) -> None:
        try:
            while (answer := deputy_wire.receive(self._incoming)) is not None:
                if (answers := self._waiting.get(answer["id"])) is not None:
                    answers.put(answer)
            self.lose(f"its deputy ended; it said last: {self.last_words()}")
        except (OSError, KeyError, ValueError) as error:
            self.lose(f"its deputy said {error}")

    def _read_clock(self) -> Reading:
        before, wall = time.monotonic(), time.time()
        told = self.ask("host.clock")
        return Reading(before, time.monotonic(), wall - before, told["monotonic_ns"] / 1e9, told["wall_ns"] / 1e9)

    def _pulse(self) -> None:
        """Show the deputy that the driver lives, and see whether it does."""
        while not self._over.wait(PULSE_S):
            with suppress(MachineLost):
                self.ask("host.clock")

    def follow_clocks(self) -> None:
        """Read the clocks once more, as exactly as in the beginning."""
        if not self.lost:
            with suppress(MachineLost):
                self.clocks.follow(self._read_clock() for _ in range(20))

    def close(self) -> None:
        """End the deputy and wait until it has left; then the connection."""
        was_lost, self.lost = self.lost, self.lost or "the run is over"
        self._over.set()
        if self._channel is not None and not was_lost:
            with suppress(OSError, EOFError):
                self._channel.shutdown_write()
                self._channel.status_event.wait(UP_S)
        with suppress(OSError, EOFError):
            self.connection.close()
            if self.connection.gateway is not None:
                self.connection.gateway.close()


def _fits(there: str | None, here: str) -> bool:
    """Whether a library there is of the same generation as here."""
    return there is not None and there.partition(".")[0] == here.partition(".")[0]


def _version(there: str | None) -> str:
    return "missing" if there is None else f"version {there}"


def _raised(told: Mapping[str, str], machine: str) -> Exception:
    """What an operation raised there, as an exception of this side."""
    if "remedy" in told:
        return MachineLacks(told["text"], told["remedy"], machine)
    kind = getattr(builtins, told["kind"], None) or getattr(errors, told["kind"], None)
    text = f"On machine {machine!r}: {told['text']}"
    plain = OSError, errors.ShapeNotInForce, errors.LimitNotInForce, errors.UsageError  # made of their text alone
    if isinstance(kind, type) and issubclass(kind, plain):
        return kind(text)
    return TestbedError(text if kind is TestbedError else f"{text} ({told['kind']})")


def packed(folders: Iterable[tuple[Path, str]]) -> bytes:
    """An archive of source folders, each under its name; what Python and editors make beside the sources stays."""
    import io
    import tarfile

    def plain(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
        return None if Path(info.name).name in ("__pycache__", "share") or info.name.endswith(".pyc") else info

    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz", compresslevel=6) as archive:
        for folder, name in folders:
            if os.path.isdir(folder):  # noqa: PTH112 - a name for what Path.is_dir does
                archive.add(folder, name, filter=plain)
    return target.getvalue()
