"""Agents that stand still, as after SIGSTOP: none of their tasks takes a step; what happens to them waits.

Machines and links go on: messages travel, connections acknowledge, timers run out, modelled work gets done. All of it
is noticed when the agents go on, in the order in which it happened.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any

from testbed.twin.agent import CURRENT
from testbed.twin.handles import Handle

if TYPE_CHECKING:
    from testbed.twin.loop import VirtualLoop


class Pauses:
    """Which nodes' agents stand still. While there are any, every callback asks; else none pays for this."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._soon = loop.call_soon
        self._waiting: dict[str, list[Handle]] = {}

    def pause(self, node: str) -> None:
        """The agents of ``node`` take no step from now on; not even those that start meanwhile."""
        self._waiting.setdefault(node, [])
        self._loop.call_soon = self._call_soon  # type: ignore[method-assign]  # undone by the last to go on

    def resume(self, node: str) -> None:
        """They go on; nothing happens to a node that was not paused."""
        waiting = self._waiting.pop(node, [])
        if not self._waiting and "call_soon" in vars(self._loop):
            del self._loop.call_soon
        for handle in waiting:
            if handle._callback is not None:
                self._loop.call_soon(handle._callback, *handle._args, context=handle._context)

    def is_paused(self, node: str) -> bool:
        """Whether the agents of ``node`` stand still."""
        return node in self._waiting

    def end(self) -> None:
        """All go on."""
        for node in list(self._waiting):
            self.resume(node)

    def _call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Handle:
        agent = CURRENT.get() if context is None else context.get(CURRENT)
        waiting = self._waiting.get(agent.node) if agent is not None else None
        if waiting is None:
            return self._soon(callback, *args, context=context)
        assert context is not None  # an agent that stands still calls nothing itself
        handle = Handle(callback, args, context, self._loop.now)
        waiting.append(handle)
        return handle
