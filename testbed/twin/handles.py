"""What the twin's event loop hands out: callbacks that can be cancelled, and tasks that know their order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any


class Handle:
    """A callback that can be cancelled: what asyncio expects of ``call_soon`` and ``call_at``."""

    __slots__ = ("_args", "_callback", "_context", "_when")

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...], context: Context, when: float) -> None:
        self._callback: Callable[..., object] | None = callback
        self._args, self._context, self._when = args, context, when

    def cancel(self) -> None:
        """Forget the callback; it will not run."""
        self._callback, self._args = None, ()

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self._callback is None

    def when(self) -> float:
        """Its virtual time, in seconds."""
        return self._when

    def __str__(self) -> str:
        owner = getattr(self._callback, "__self__", self._callback)  # a task, where this is its next step
        return whereabouts(owner) if isinstance(owner, asyncio.Task) else str(owner)


class Task(asyncio.Task[Any]):
    """A task that knows its place in the order of their making.

    Its hash is that place, not an address in memory: sets of tasks, asyncio's own (``wait``, task groups) among them,
    have the same order in every process.
    """

    __slots__ = ("number",)

    def __init__(
        self,
        number: int,
        coro: Coroutine[Any, Any, Any],
        loop: asyncio.AbstractEventLoop,
        name: str | None,
        context: Context | None,
    ) -> None:
        self.number = number  # first, for asyncio's initialiser puts the task into a set
        super().__init__(coro, loop=loop, name=name or f"Task-{number}", context=context)

    def __hash__(self) -> int:
        return self.number


def whereabouts(task: asyncio.Task[Any]) -> str:
    """A task's name, its coroutine, and the line at which it waits."""
    frames = task.get_stack(limit=1)
    where = f", {frames[0].f_code.co_filename}:{frames[0].f_lineno}" if frames else ""
    return f"{task.get_name()} ({getattr(task.get_coro(), '__qualname__', '?')}{where})"
