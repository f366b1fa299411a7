"""The measure of how well an event loop keeps up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

from testbed.deploy.health import WatchedSelector


def worst_of(body: Coroutine[Any, Any, None]) -> float:
    selector = WatchedSelector()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        runner.get_loop()
        selector.worst()
        runner.run(body)
        return selector.worst()


async def blocks() -> None:
    await asyncio.sleep(0.001)
    time.sleep(0.2)
    await asyncio.sleep(0.001)


async def waits() -> None:
    for _ in range(10):
        await asyncio.sleep(0.02)


def test_sees_a_callback_that_blocks_the_loop() -> None:
    assert worst_of(blocks()) >= 0.2


def test_does_not_take_waiting_for_lag() -> None:
    assert min(worst_of(waits()) for _ in range(5)) < 0.02  # the calmest of five: the machine itself may be busy


def test_starts_anew_after_it_was_asked() -> None:
    selector = WatchedSelector()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        runner.run(blocks())
        assert selector.worst() >= 0.2
        assert selector.worst() == 0.0
