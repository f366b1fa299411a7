"""What this machine can do: each feature is really tried, once per process, and only when somebody asks for it.

What concerns interfaces and queues is tried in a network namespace that is thrown away: in an arena of its own, or, in
an arena already, in a thread of its own. How each is tried stands in ``attempts.py``.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import cache

from testbed import linux
from testbed.errors import MachineLacks, TestbedError
from testbed.substrate import arena
from testbed.substrate.attempts import ROWS
from testbed.substrate.base import Capabilities, Feature


def probe() -> Capabilities:
    """What this machine offers; a feature is tried when it is first looked at."""
    return Capabilities(_features())


@cache
def _features() -> _Tried:
    return _Tried()


class _Tried(Mapping[str, Feature]):
    """The features by name, each tried when first asked for."""

    def __init__(self) -> None:
        self._found: dict[str, Feature] = {}

    def __getitem__(self, name: str) -> Feature:
        if name not in self._found:
            row = ROWS[name]
            if row.in_namespace:
                self._found.update(_try_in_namespace())
            else:
                self._found[name] = _feature(name, *_outcome(row.attempt))
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(ROWS)

    def __len__(self) -> int:
        return len(ROWS)


def _feature(name: str, available: bool, detail: str) -> Feature:
    row = ROWS[name]
    return Feature(name, True, detail) if available else Feature(name, False, detail, row.fallback, row.remedy)


def _outcome(attempt: Callable[[], str]) -> tuple[bool, str]:
    try:
        return True, attempt()
    except (OSError, TestbedError, subprocess.SubprocessError) as error:
        return False, str(error)


def _try_in_namespace() -> dict[str, Feature]:
    names = [name for name, row in ROWS.items() if row.in_namespace]
    try:
        found = _in_thread(names) if arena.inside() else _in_arena(names)
    except MachineLacks as lack:
        found = dict.fromkeys(names, (False, f"no namespaces: {lack.what}"))
    return {name: _feature(name, *found[name]) for name in names}


def _all(names: list[str]) -> dict[str, tuple[bool, str]]:
    return {name: _outcome(ROWS[name].attempt) for name in names}


def _in_thread(names: list[str]) -> dict[str, tuple[bool, str]]:
    found: dict[str, tuple[bool, str]] = {}

    def work() -> None:
        linux.unshare(linux.CLONE_NEWNET)
        found.update(_all(names))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return found


def _in_arena(names: list[str]) -> dict[str, tuple[bool, str]]:
    reading, writing = os.pipe()

    def work() -> int:
        os.write(writing, json.dumps(_all(names)).encode())
        return 0

    with os.fdopen(reading, "rb") as pipe:
        try:
            arena.run_inside(work, f"probe-{os.getpid()}")
        finally:
            os.close(writing)
        return {name: (available, detail) for name, (available, detail) in json.loads(pipe.read()).items()}
