"""Asynchronous calls on a computer: take them, execute them, call what follows or answer by callback.

What follows is called through the companion, a router nearby. Beyond the original, a request that comes twice is
carried out once, branches of a DAG meet with the states that each has changed, and an error goes to the callback, too.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from roles.serverless_on_edge.chains import Composition, composition, predecessors
from roles.serverless_on_edge.messages import (
    OK,
    RECEIVE_RESPONSE,
    RUN_LAMBDA,
    LambdaRequest,
    LambdaResponse,
    State,
)
from testbed.roles.api import CallFailed, Environment, Method

CALL_TIMEOUT_S = 60.0
TRIES = 6
FIRST_PAUSE_S = 0.1
REMEMBERED = 10_000  # calls that were taken, so that a copy of one is known
MOST_WAITING = 10_000
MOST_MEETINGS = 10_000
log = logging.getLogger(__name__)
Taken = tuple[str, int, int]  # uuid, index, index of the function that calls
Meeting = tuple[str, int]  # uuid, index


class Joins:
    """Branches of DAGs that wait for the others."""

    def __init__(self) -> None:
        self._arrived: OrderedDict[Meeting, list[LambdaRequest]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._arrived)

    def arrive(self, request: LambdaRequest) -> LambdaRequest | None:
        """What runs now that this branch is here; None while others are missing."""
        before, meeting = predecessors(request), (request.uuid, request.next_function_index)
        if len(before) < 2:
            return request
        arrived = self._arrived.setdefault(meeting, [])
        arrived.append(request)
        if len(arrived) < len(before):
            while len(self._arrived) > MOST_MEETINGS:
                (uuid, index), _ = self._arrived.popitem(last=False)
                log.warning("function %d of %s has waited for its predecessors for too long", index, uuid)
            return None
        del self._arrived[meeting]
        return joined(arrived)


def joined(arrived: Sequence[LambdaRequest]) -> LambdaRequest:
    """One request of those of all branches: the last one, with each state as the branch has it that used it last."""
    last, what = arrived[-1], composition(arrived[-1])
    states = {name: max(arrived, key=lambda each: _uses(what, each, name)).states.get(name, state)
              for name, state in last.states.items()}  # fmt: skip
    return replace(last, states=states, came_from=0)


def _uses(what: Composition, request: LambdaRequest, state: str) -> int:
    """How many functions on the way of this branch use a state; of two branches, the one with more has it newer."""
    if not request.came_from:
        return 0
    passed = {request.came_from - 1, *what.ancestors(request.came_from - 1)}
    return sum(what.functions[index] in what.dependencies.get(state, ()) for index in passed)


class Asynchronous:
    """Calls with a callback: ``perform`` executes one, at most ``threads`` at a time; others wait in order.

    ``companion`` is the router that is asked for what follows, None where there is none. ``executed`` counts how often
    this computer has executed each function of each of the last calls.
    """

    def __init__(
        self,
        env: Environment,
        endpoint: str,
        companion: str | None,
        threads: int,
        perform: Callable[[LambdaRequest], Awaitable[LambdaResponse]],
        strict: bool,
    ) -> None:
        self._env, self._endpoint, self._companion, self._strict = env, endpoint, companion, strict
        self._threads, self._perform = asyncio.Semaphore(threads), perform
        self._taken: OrderedDict[Taken, None] = OrderedDict()
        self.executed: OrderedDict[Meeting, int] = OrderedDict()
        self.joins, self._waiting = Joins(), 0
        self._under_way, self._none = 0, asyncio.Event()
        self._none.set()

    def take(self, request: LambdaRequest) -> LambdaResponse:
        """Take a call, to be carried out soon; the answer says only that it was taken, or why not."""
        hops = request.hops + 1
        accepted = LambdaResponse(OK, hops=hops, asynchronous=True)
        if self._waiting >= MOST_WAITING:
            return LambdaResponse(f"{MOST_WAITING} asynchronous calls are waiting", responder=self._endpoint, hops=hops)
        if self._is_copy(request):
            return accepted
        complete = self.joins.arrive(request)
        if complete is not None:
            self._waiting += 1
            self._under_way += 1
            self._none.clear()
            self._env.spawn(self._carry(complete))
        return accepted

    async def rest(self) -> None:
        """Return when all that it has taken is answered or handed on; branches that wait for others are not."""
        await self._none.wait()

    def _is_copy(self, request: LambdaRequest) -> bool:
        if self._strict or not request.uuid:
            return False
        taken = request.uuid, request.next_function_index, request.came_from
        if taken in self._taken:
            return True
        self._taken[taken] = None
        if len(self._taken) > REMEMBERED:
            self._taken.popitem(last=False)
        return False

    async def _carry(self, request: LambdaRequest) -> None:
        try:
            await self._carried(request)
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._none.set()

    async def _carried(self, request: LambdaRequest) -> None:
        async with self._threads:
            self._waiting -= 1
            reply = await self._perform(request)
        self._count(request)
        following = composition(request).following(request.next_function_index)
        if reply.retcode == OK and following:
            await asyncio.gather(*(self._go_on(request, reply, index) for index in following))
        elif reply.retcode == OK or not self._strict:
            await self._call_back(request, reply.retcode, reply)
        else:
            log.error("%s failed, and nobody is told: %s", request.name, reply.retcode)

    def _count(self, request: LambdaRequest) -> None:
        if request.uuid:
            meeting = request.uuid, request.next_function_index
            self.executed[meeting] = self.executed.get(meeting, 0) + 1
            if len(self.executed) > REMEMBERED:
                self.executed.popitem(last=False)

    async def _go_on(self, request: LambdaRequest, reply: LambdaResponse, index: int) -> None:
        """Call a function that follows, through the companion."""
        onward = following_request(request, reply, index, forward=self._strict)
        if self._companion is None:
            why = f"the computer at {self._endpoint} has no companion-endpoint to call {onward.name!r} through"
        else:
            answer = await self._tried(self._companion, RUN_LAMBDA, onward)
            if isinstance(answer, LambdaResponse) and answer.retcode == OK and answer.asynchronous:
                return
            code = answer.retcode if isinstance(answer, LambdaResponse) else str(answer)
            why = code if code != OK else f"{onward.name!r} was answered at once, and not by callback"
        if self._strict:
            log.error("%s cannot be followed by %s: %s", request.name, onward.name, why)
        else:
            await self._call_back(request, why, reply)

    async def _call_back(self, request: LambdaRequest, code: str, reply: LambdaResponse) -> None:
        answer = LambdaResponse(
            code, reply.output, self._endpoint, dataout=reply.dataout, hops=request.hops + 1, states=reply.states,
            uuid=request.uuid, **_summed(request, reply),
        )  # fmt: skip
        failure = await self._tried(request.callback, RECEIVE_RESPONSE, answer)
        if isinstance(failure, CallFailed):
            log.warning("the callback at %s did not get the answer of %s: %s", request.callback, request.name, failure)

    async def _tried(self, to: str, method: Method[Any, Any], message: object) -> Any:
        """The answer, or the last failure; again while nobody is there."""
        for number in range(TRIES):
            try:
                return await self._env.call(to, method, message, CALL_TIMEOUT_S)
            except CallFailed as error:
                failure = error
            if failure.kind != "unreachable" or self._strict:
                break
            await self._env.sleep(FIRST_PAUSE_S * 2**number)
        return failure


def following_request(request: LambdaRequest, reply: LambdaResponse, index: int, forward: bool) -> LambdaRequest:
    """The call of the function ``index``, with what the one before has given."""
    names, came_from = request.chain, 0
    if request.dag is not None and request.dag.names:
        names, came_from = request.dag.names, request.next_function_index + 1
    return replace(
        request,
        name=names[index],
        input=reply.output,
        datain=reply.dataout,
        forward=forward,
        hops=request.hops + 1,
        states=reply.states,
        next_function_index=index,
        came_from=came_from,
        **_summed(request, reply),
    )


def _summed(request: LambdaRequest, reply: LambdaResponse) -> Mapping[str, Any]:
    """The times of the functions so far."""
    names = ("queue_us", "init_us", "exec_us")
    return {name: getattr(request, name) + getattr(reply, name) for name in names}


def needed(request: LambdaRequest) -> dict[str, State]:
    """The states that lie elsewhere and that the function called uses."""
    what = composition(request)
    return {name: state for name, state in request.states.items()
            if state.location and request.name in what.dependencies.get(name, ())}  # fmt: skip
