"""The live environment on the twin's loop, so that tests of timing are exact and quick: waiting costs nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from testbed.roles.api import Site
from testbed.roles.live import LiveEnvironment
from testbed.twin.loop import VirtualLoop

T = TypeVar("T")


class VirtualEnvironment(LiveEnvironment):
    """The live environment on the loop's clock."""

    def __init__(self, folder: Path) -> None:
        super().__init__(Site("c", "client", 1, {"c": "127.0.0.1"}, {}, {}), None, folder)  # type: ignore[arg-type]

    def now(self) -> float:
        return asyncio.get_running_loop().time()


def run(body: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run`` in virtual time."""
    return VirtualLoop().run(body)
