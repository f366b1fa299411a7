"""An invocation as its caller sees it: where it is, how it ended, when each step was."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from roles.serverless_compute import causes, messages
from roles.serverless_compute.model import State

if TYPE_CHECKING:
    from roles.serverless_compute.manager import ServerlessComputeService


class NotDone(Exception):
    """The invocation has not ended yet, so there is no output, end or failure to tell."""


class Manager(Protocol):
    """Who placed the invocation."""

    def since(self, moment: float | None) -> float | None: ...

    async def ask(self, invocation: Invocation, wait_s: float) -> messages.Progress: ...


class Invocation:
    """An accepted invocation: where it is, and once it is done, how it ended and when each step was."""

    def __init__(self, manager: Manager, service: ServerlessComputeService, first: messages.Progress) -> None:
        self._manager, self.service, self._last = manager, service, first
        self.id = first.invocation
        self._ended: asyncio.Future[State] = asyncio.get_running_loop().create_future()

    def is_done(self) -> bool:
        """Whether it has ended, well or not."""
        return self._ended.done()

    async def is_running(self) -> bool:
        """Whether its code runs now: the service is asked."""
        if not self.is_done():
            self._last = await self._manager.ask(self, 0.0)
        return self._last.state == State.RUNNING

    def succeeded(self) -> bool:
        """Whether it completed; raises NotDone before its end."""
        return self._final().state == State.COMPLETED

    def get_output(self) -> str:
        """What the function returned; raises NotDone before the end, the failure's cause after a failure."""
        answer = self._final()
        if self.cause is not None:
            raise self.cause
        return answer.output

    @property
    def state(self) -> State:
        """Where it was when this was last heard."""
        return State(self._last.state)

    @property
    def cause(self) -> causes.FailureCause | None:
        """Why it failed; None unless it did."""
        return causes.cause(self._last.cause, self._last.detail) if self._last.cause else None

    @property
    def node(self) -> str:
        """The compute node, empty before the dispatch."""
        return self._last.node

    @property
    def start_kind(self) -> str:
        """``hot``, ``warm_image`` or ``cold``; empty before the dispatch."""
        return self._last.start_kind

    @property
    def dates(self) -> dict[str, float | None]:
        """When it was submitted, admitted, schedulable, dispatched, when its code began and ended; None: never."""
        moments = ("t_submit", "t_admit", "t_schedulable", "t_dispatch", "t_start", "t_end")
        return {each: self._manager.since(getattr(self._last, each)) for each in moments}

    def _final(self) -> messages.Progress:
        if not self.is_done():
            raise NotDone(f"Invocation {self.id} at {self.service.name} has not ended yet; wait_one waits for it.")
        return self._last

    def heard(self, answer: messages.Progress) -> None:
        """The service has told how it ended."""
        self._last = answer
        self._ended.set_result(State(answer.state))

    async def ended(self) -> State:
        """Its final state, as soon as there is one; any number may wait."""
        return await asyncio.shield(self._ended)
