"""Asynchronous calls on a computer: take them, execute them, call what follows or answer by callback.

What follows is called through the companion, a router nearby. Beyond the original, a request that comes twice is
carried out once, branches of a DAG meet with the states that each has changed, and an error goes to the callback, too.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
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
MOST_BYTES_WAITING = 512 * 2**20  # of the inputs and states of those calls, and as many of branches that wait
log = logging.getLogger(__name__)
Taken = tuple[str, int, int]  # uuid, index, index of the function that calls
Meeting = tuple[str, int]  # uuid, index


class Joins:
    """Branches of DAGs that wait for the others. ``give_up`` is told of those that have waited for too long."""

    def __init__(self, give_up: Callable[[LambdaRequest, str], None] = lambda _, __: None) -> None:
        self._arrived: OrderedDict[Meeting, list[LambdaRequest]] = OrderedDict()
        self._bytes, self._give_up = 0, give_up

    def __len__(self) -> int:
        return len(self._arrived)

    def arrive(self, request: LambdaRequest) -> LambdaRequest | None:
        """What runs now that this branch is here; None while others are missing."""
        before, meeting = predecessors(request), (request.uuid, request.next_function_index)
        if len(before) < 2:
            return request
        arrived = self._arrived.setdefault(meeting, [])
        arrived.append(request)
        self._bytes += weight(request)
        if len(arrived) < len(before):
            while len(self._arrived) > MOST_MEETINGS or self._bytes > MOST_BYTES_WAITING:
                self._drop_the_oldest()
            return None
        self._forget(meeting)
        return joined(arrived)

    def _drop_the_oldest(self) -> None:
        meeting, (first, *_) = next(iter(self._arrived.items()))
        self._forget(meeting)
        why = f"function {meeting[1]} has waited for its predecessors for too long: others need the room"
        log.warning("%s: %s", meeting[0], why)
        self._give_up(first, why)

    def _forget(self, meeting: Meeting) -> None:
        self._bytes -= sum(map(weight, self._arrived.pop(meeting)))


def joined(arrived: Sequence[LambdaRequest]) -> LambdaRequest:
    """One request of those of all branches: the last one, with each state as the branch has it that used it last."""
    last, what = arrived[-1], composition(arrived[-1])
    ways = [_way(what, each) for each in arrived]

    def newest(state: str) -> LambdaRequest:
        """Of two branches, the one with more functions on its way that use a state has it newer."""
        users = {*what.dependencies.get(state, ())}
        uses = [sum(way[user] for user in users) for way in ways]
        return arrived[uses.index(max(uses))]

    states = {name: newest(name).states.get(name, state) for name, state in last.states.items()}
    return replace(last, states=states, came_from=0)


def _way(what: Composition, request: LambdaRequest) -> Counter[str]:
    """How often each function is on the way of this branch."""
    if not request.came_from:
        return Counter()
    passed = {request.came_from - 1, *what.ancestors(request.came_from - 1)}
    return Counter(what.functions[index] for index in passed)


def weight(request: LambdaRequest) -> int:
    """About how many bytes a request holds."""
    return len(request.input) + len(request.datain) + sum(len(state.content) for state in request.states.values())


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
        self.joins, self._waiting, self._bytes = Joins(self._give_up), 0, 0
        self._under_way, self._none = 0, asyncio.Event()
        self._none.set()

    def take(self, request: LambdaRequest) -> LambdaResponse:
        """Take a call, to be carried out soon; the answer says only that it was taken, or why not."""
        hops = request.hops + 1
        accepted = LambdaResponse(OK, hops=hops, asynchronous=True)
        if self._waiting >= MOST_WAITING or self._bytes + weight(request) > MOST_BYTES_WAITING:
            why = f"{self._waiting} asynchronous calls of {self._bytes} bytes are waiting; there is no room for more"
            return LambdaResponse(why, responder=self._endpoint, hops=hops)
        if self._is_copy(request):
            return accepted
        complete = self.joins.arrive(request)
        if complete is not None:
            self._waiting += 1
            self._bytes += weight(complete)
            self._begin(self._carried(complete))
        return accepted

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._under_way += 1
        self._none.clear()
        self._env.spawn(self._carry(work))

    def _give_up(self, request: LambdaRequest, why: str) -> None:
        if not self._strict:
            self._begin(self._call_back(request, why, LambdaResponse(states=request.states)))

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

    async def _carry(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._none.set()

    async def _carried(self, request: LambdaRequest) -> None:
        async with self._threads:
            self._waiting -= 1
            self._bytes -= weight(request)
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
