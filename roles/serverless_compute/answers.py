"""Who waits for what at the head: requests for their answer, callers for the end of an invocation."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from roles.serverless_compute.causes import FailureCause
from roles.serverless_compute.datasets import INVOCATIONS
from roles.serverless_compute.events import Answer
from roles.serverless_compute.messages import REFUSED, Progress
from roles.serverless_compute.model import InvocationRecord
from testbed.roles.api import Environment

MOST_KEPT = 10_000  # invocations that ended, for those who ask later


class Answers:
    """Futures by request and by invocation, and the ends of the last invocations.

    ``awaited`` has who waits for the end of an invocation, ``ends`` how the last ones ended, ``count`` how many did.
    """

    def __init__(self, env: Environment) -> None:
        self._env, self._loop = env, asyncio.get_running_loop()
        self._requests = 0
        self._asked: dict[int, tuple[asyncio.Future[Any], bool]] = {}
        self.awaited: dict[int, list[asyncio.Future[Any]]] = {}
        self.ends: dict[int, Progress] = {}
        self.count = 0

    def asked(self, whole: bool) -> tuple[int, asyncio.Future[Any]]:
        """A number for a request, and what its answer comes in: an Answer, or (``whole``) the end if it is accepted."""
        self._requests += 1
        future: asyncio.Future[Any] = self._loop.create_future()
        self._asked[self._requests] = (future, whole)
        return self._requests, future

    def answered(self, effect: Answer) -> None:
        """The core has answered a request."""
        asked = self._asked.pop(effect.request, None)
        if asked is None:
            return
        future, whole = asked
        if whole and effect.cause is None:
            self.awaited[effect.invocation] = [future]
        elif not future.done():
            future.set_result(effect)

    def ended(self, record: InvocationRecord) -> None:
        """An invocation ended: tell who waits, keep it for who asks, record it."""
        cause = record.cause
        progress = Progress(
            record.state.value, record.invocation, record.node, record.start_kind, record.output or "",
            cause.code if cause else "", cause.detail if cause else "", record.t_submit, record.t_admit,
            record.t_schedulable, record.t_dispatch, record.t_start, record.t_end,
        )  # fmt: skip
        self.ends[record.invocation] = progress
        self.count += 1
        if len(self.ends) > MOST_KEPT:
            del self.ends[next(iter(self.ends))]
        for future in self.awaited.pop(record.invocation, ()):
            if not future.done():
                future.set_result(progress)
        self._env.emit(
            INVOCATIONS.name,
            {
                "number": record.invocation, "registration": record.registration, "node": record.node,
                "state": progress.state, "cause": progress.cause, "start_kind": record.start_kind,
                "t_submit": record.t_submit, "t_admit": record.t_admit, "t_schedulable": record.t_schedulable,
                "t_dispatch": record.t_dispatch, "t_start": record.t_start, "t_end": record.t_end,
            },
        )  # fmt: skip

    async def end_of(self, invocation: int, seconds: float | None) -> None:
        """Return when an invocation that is under way has ended, or after so many seconds."""
        future = self._loop.create_future()
        self.awaited.setdefault(invocation, []).append(future)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await future

    def kept(self, invocation: int) -> Progress:
        """The end of an invocation, as long as it is kept."""
        found = self.ends.get(invocation)
        if found is not None:
            return found
        detail = f"There is no invocation {invocation}, or it ended long ago: the last {MOST_KEPT} are kept."
        return Progress(REFUSED, 0, cause="unknown_invocation", detail=detail)

    def refused(self, cause: FailureCause) -> Progress:
        """There is no invocation, and why."""
        return Progress(REFUSED, cause=cause.code, detail=cause.detail)
