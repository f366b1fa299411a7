"""An event loop in virtual time, so that tests of timing are exact and quick: waiting costs nothing."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from testbed.roles.api import Site
from testbed.roles.live import LiveEnvironment

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise RuntimeError("nothing will ever happen")
        self.now += max(0.0, timeout)
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


class VirtualEnvironment(LiveEnvironment):
    """The live environment on the loop's clock."""

    def __init__(self, folder: Path) -> None:
        super().__init__(Site("c", "client", 1, {"c": "127.0.0.1"}, {}, {}), None, folder)  # type: ignore[arg-type]

    def now(self) -> float:
        return asyncio.get_running_loop().time()


def run(body: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run`` in virtual time."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(body)
