"""What holds in the process while one of the twin's event loops runs."""

from __future__ import annotations

import gc
import sys
from asyncio import events
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from testbed.twin.loop import VirtualLoop

COLLECTED = 20_000, 20, 100  # gc.set_threshold while a loop runs: nearly all its garbage goes without the collector
Hook = Callable[[AsyncGenerator[Any, Any]], None]


@contextmanager
def running(loop: VirtualLoop, generator_begins: Hook, generator_forgotten: Hook) -> Iterator[None]:
    """``loop`` is the running one, hears of asynchronous generators, and the collector of garbage seldom interrupts."""
    if events._get_running_loop() is not None:
        raise RuntimeError("A virtual loop cannot run inside another event loop.")
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(firstiter=generator_begins, finalizer=generator_forgotten)
    events._set_running_loop(loop)
    try:
        with _seldom_collected():
            yield
    finally:
        events._set_running_loop(None)
        sys.set_asyncgen_hooks(*hooks)


@contextmanager
def _seldom_collected() -> Iterator[None]:
    """Keep Python's collector from searching again and again through all that was there before, and from hurrying."""
    before, is_frozen = gc.get_threshold(), gc.get_freeze_count() > 0
    if not is_frozen:
        gc.freeze()
    gc.set_threshold(*COLLECTED)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        if not is_frozen:
            gc.unfreeze()
