"""``ctx``: what a function gets beside its payload. Runs inside the worker; standard library only."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Any

from testbed.roles.worker_channel import MAX_MESSAGE_BYTES, AskFailed
from testbed.roles.worker_storage import Storage

ZEROS = bytes(1 << 20)


class Context:
    """What a function gets beside its payload. Rates of its disk are in bytes per second; None: no time of their own.

    ``function`` and ``node`` are names, ``invocation`` counts the calls of this function on this node from 0, ``rng``
    is a random stream of this call, ``folder`` the path of the private folder.
    """

    def __init__(
        self,
        order: dict[str, Any],
        request: dict[str, Any],
        storage: Storage,
        asking: Callable[[str], str] | None = None,
    ) -> None:
        self.function, self.node, self.invocation = order["function"], order["node"], request["invocation"]
        self.rng = random.Random(request["seed"])
        self.folder, self._storage = storage.folder, storage
        self._rates = {"write": order.get("write_rate"), "read": order.get("read_rate")}
        self._asking = asking

    def sleep(self, seconds: float) -> None:
        """Wait without using the CPU."""
        self._spend("sleep", _checked(seconds), seconds)

    def compute(self, seconds: float) -> None:
        """Use this much time of a CPU; on a busy machine that takes longer."""
        self._spend("compute", _checked(seconds), seconds)

    def write(self, name: str, content: int | bytes) -> None:
        """Write the file ``name`` of the private folder: these bytes, or so many zeros. OSError if it does not fit."""
        size = content if isinstance(content, int) else len(content)
        if size < 0:
            raise ValueError("a file cannot have a negative size")
        path, begun = self._storage.path(name, size), time.monotonic()
        self._fill(path, content)
        self._transfer("write", size, begun)

    def read(self, name: str) -> bytes:
        """All bytes of the file ``name`` of the private folder; FileNotFoundError if it is not there."""
        path, begun = self._storage.path(name), time.monotonic()
        content = path.read_bytes()
        self._transfer("read", len(content), begun)
        return content

    def ask(self, text: str) -> str:
        """What the agent that runs the function answers to ``text``, within the call's time.

        Raises AskFailed if nobody answers here or the answer failed, ValueError for a text that is too large.
        """
        if not isinstance(text, str):
            raise TypeError(f"only a text can be asked, not a {type(text).__name__}")
        if self._asking is None:
            raise AskFailed("nobody here answers what functions ask")
        if len(text.encode()) > MAX_MESSAGE_BYTES:
            raise ValueError(f"what is asked is larger than {MAX_MESSAGE_BYTES // 10**6} MB")
        return self._asking(text)

    def log(self, *words: object) -> None:
        """Write a line into the function's log on this node."""
        print(f"[{self.invocation}]", *words, flush=True)  # noqa: T201 - standard output is the log

    def _transfer(self, kind: str, size: int, begun: float) -> None:
        rate = self._rates[kind]
        seconds = size / rate if rate else 0.0
        self._spend(kind, size, seconds, time.monotonic() - begun)

    def _spend(self, kind: str, amount: float, seconds: float, already: float = 0.0) -> None:
        """Let ``seconds`` pass for this step, of which ``already`` have."""
        if kind == "compute":
            end = time.thread_time() + seconds
            while time.thread_time() < end:
                pass
        elif seconds > already:
            time.sleep(seconds - already)

    def _fill(self, path: Path, content: int | bytes) -> None:
        with path.open("wb", buffering=0) as file:
            left = memoryview(content) if not isinstance(content, int) else content
            while left:
                if isinstance(left, int):
                    left -= file.write(ZEROS[:left])
                else:
                    left = left[file.write(left) :]


class TimeIsUp(BaseException):
    """The steps of a reckoned function take longer than its time limit; not an Exception, so that nobody catches it."""


class Reckoning(Context):
    """A context in which no time passes: each step is written down with what it would take.

    ``steps`` are (kind, seconds or bytes), several of a kind in a row as one; ``spent_s`` is their time. Files are real
    ones; zeros are holes.
    """

    def __init__(
        self,
        order: dict[str, Any],
        request: dict[str, Any],
        storage: Storage,
        asking: Callable[[str], str] | None = None,
    ) -> None:
        super().__init__(order | request, request, storage, asking)  # one worker for all nodes and their disks
        storage.limit = request["storage_bytes"]
        if order.get("reckon"):  # in a worker, which works there: not a path that another run would not have
            self.folder = Path()
        self.steps: list[tuple[str, float]] = []
        self.spent_s = 0.0
        self.limit_s: float | None = request["time_limit"]

    @property
    def over(self) -> bool:
        """Whether the time limit is exceeded."""
        return self.limit_s is not None and self.spent_s > self.limit_s

    def _spend(self, kind: str, amount: float, seconds: float, already: float = 0.0) -> None:
        if self.steps and self.steps[-1][0] == kind:
            amount += self.steps.pop()[1]
        self.steps.append((kind, amount))
        self.spent_s += seconds
        if self.over:
            raise TimeIsUp

    def _fill(self, path: Path, content: int | bytes) -> None:
        if isinstance(content, int):
            with path.open("wb") as file:
                file.truncate(content)
        else:
            path.write_bytes(content)


def _checked(seconds: float) -> float:
    if not (isfinite(seconds) and seconds >= 0):
        raise ValueError(f"a length of time cannot be {seconds!r}")
    return seconds
