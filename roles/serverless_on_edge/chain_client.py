"""How a client runs chains, DAGs and asynchronous calls: step by step itself, or with a callback at the end."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from roles.serverless_on_edge.chains import Composition
from roles.serverless_on_edge.datasets import CHAINS
from roles.serverless_on_edge.messages import (
    DEL_STATE,
    OK,
    RECEIVE_RESPONSE,
    FunctionList,
    LambdaRequest,
    LambdaResponse,
    State,
    Void,
)
from roles.serverless_on_edge.states import Home, StateFailed
from testbed.roles.api import CallFailed, Environment, Invocation, Site

if TYPE_CHECKING:
    from roles.serverless_on_edge.client_options import ClientOptions

Answer = LambdaResponse | CallFailed
Call = Callable[[Environment, LambdaRequest, float], Awaitable[tuple[Answer, int]]]  # seconds; also tells the retries
TIDYING_S = 5.0


@dataclass(eq=False)
class Waiting:
    """A call whose callback has not come: until when it is waited for, and under what names it keeps states."""

    future: asyncio.Future[LambdaResponse]
    until: float
    states: tuple[str, ...] = ()


class Chains:
    """Runs what a client invokes beyond single synchronous calls; ``call`` makes one call to the system.

    ``waiting`` are the asynchronous calls under way, by uuid; ``answered`` counts the callbacks that were used for each
    of the calls that have ended lately, ``late`` those that came for nobody.
    """

    def __init__(self, site: Site, options: ClientOptions, call: Call) -> None:
        self._site, self._options, self._call = site, options, call
        self.waiting: dict[str, Waiting] = {}
        self.answered: Counter[str] = Counter()
        self.late, self._uuids = 0, "uuid"
        self.home: Home | None = None

    async def start(self, env: Environment) -> None:
        """Serve what the execution model needs."""
        if self._options.execution_model == "pure-faas":
            return
        self._uuids = f"uuid from {env.now():.6f} s on"  # a client that comes back must not use those of its last life
        await env.serve(self._options.callback_endpoint, {RECEIVE_RESPONSE: self._receive})
        if self._options.execution_model == "state-local":
            self.home = await self._options.home(env, self._site)

    def concerns(self, function: str) -> bool:
        """Whether this invocation is more than a single synchronous call."""
        return function in self._options.chains or self._options.execution_model != "pure-faas"

    async def run(self, env: Environment, invocation: Invocation, timeout: float) -> tuple[Answer, int]:
        """Carry out one invocation: its answer, and how often something had to be tried again."""
        began = env.now()
        conf = self._options.chains.get(invocation.function)
        what = conf.draw(self._site, env.rng(f"chain {invocation.function}")) if conf else None
        if self._options.execution_model == "pure-faas":
            assert what is not None
            answer, tries = await _Driven(env, self._call, what, began + timeout).run(invocation.payload)
        else:
            answer, tries = await self._called_back(env, invocation, what, began + timeout)
        if what is not None:
            self._note(env, invocation, what, answer, began)
        return answer, tries

    async def _called_back(
        self, env: Environment, invocation: Invocation, what: Composition | None, deadline: float
    ) -> tuple[Answer, int]:
        """A call that is answered by callback; its states travel along, or wait here to be fetched."""
        uuid = str(UUID(int=env.rng(self._uuids).getrandbits(128), version=4))
        request = LambdaRequest(invocation.function)
        if what is not None:
            try:
                request = await self._with_states(what, f"@{uuid[:13]}")
            except StateFailed as failure:
                await self._take_back(what, f"@{uuid[:13]}")
                return LambdaResponse(str(failure)), 0
        callback = self._site.endpoint(env.node, self._options.callback_endpoint)
        request = replace(request, input=invocation.payload, callback=callback, uuid=uuid, dry=self._options.dry)
        waiting = Waiting(asyncio.get_running_loop().create_future(), deadline, tuple(request.states))
        self.waiting[uuid] = waiting
        ack = asyncio.ensure_future(self._call(env, request, deadline - env.now()))
        try:
            return await _either(env, ack, waiting)
        finally:
            ack.cancel()
            del self.waiting[uuid]
            self._tidy(env, waiting)

    async def _with_states(self, what: Composition, mark: str) -> LambdaRequest:
        """The request with its states under names of their own, so that invocations at one time do not meet."""
        mark = "" if self._options.strict_original else mark
        request, states = what.whole(), dict[str, State]()
        for name in what.used:
            content = bytes(what.sizes[name])
            if self.home is None:
                states[name + mark] = State(content=content)
            else:
                await self.home.put(name + mark, content)
                states[name + mark] = State(location=self.home.endpoint)
        users: Mapping[str, FunctionList] = {name + mark: each for name, each in request.dependencies.items()}
        return replace(request, states=states, dependencies=users)

    async def _take_back(self, what: Composition, mark: str) -> None:
        if self.home is not None and not self._options.strict_original:
            for name in what.used:
                await self.home.drop(name + mark)

    def _tidy(self, env: Environment, waiting: Waiting) -> None:
        """Nobody will ask for the states of this call again; where the answer tells where they are, they go."""
        home, future = self.home, waiting.future
        if home is None or self._options.strict_original:
            return
        if home.store is not None:
            for name in waiting.states:
                home.store.drop(name)
        if future.done() and not future.cancelled():
            own = home.endpoint if home.store is not None else ""
            told = future.result().states
            for name, state in ((name, told[name]) for name in waiting.states if name in told):
                if state.location and state.location != own:
                    env.spawn(_delete(env, name, state.location))

    async def _receive(self, answer: LambdaResponse) -> Void:
        """A callback; one without our uuid, from the original, belongs to the only call under way."""
        uuid = answer.uuid or (next(iter(self.waiting)) if len(self.waiting) == 1 else "")
        waiting = self.waiting.get(uuid)
        if waiting is None or waiting.future.done():
            self.late += 1
            return Void()
        waiting.future.set_result(answer)
        self.answered[uuid] += 1
        if len(self.answered) > 1000:
            del self.answered[next(iter(self.answered))]
        return Void()

    def _note(self, env: Environment, invocation: Invocation, what: Composition, answer: Answer, began: float) -> None:
        hops, error = None, ""
        if isinstance(answer, CallFailed):
            error = str(answer)
        else:
            hops, error = answer.hops, answer.retcode.removeprefix(OK)
        env.emit(CHAINS.name, {
            "t": began, "node": env.node, "invocation_id": invocation.invocation_id, "chain": invocation.function,
            "model": self._options.execution_model, "functions": what.label, "states": len(what.used),
            "state_bytes": sum(what.sizes[name] for name in what.used), "latency_s": env.now() - began,
            "hops": hops, "late": self.late, "error": error,
        })  # fmt: skip


async def _either(
    env: Environment, ack: asyncio.Future[tuple[Answer, int]], waiting: Waiting
) -> tuple[Answer, int]:
    """The callback, whether it comes before or after the word that the call was taken; or why there will be none."""
    tries = 0
    both: tuple[asyncio.Future[Any], ...] = ack, waiting.future
    await asyncio.wait(both, timeout=_left(env, waiting), return_when=asyncio.FIRST_COMPLETED)
    if ack.done():
        answer, tries = ack.result()
        is_taken = isinstance(answer, LambdaResponse) and answer.retcode == OK and answer.asynchronous
        if not is_taken and not waiting.future.done():
            return answer, tries
    await asyncio.wait({waiting.future}, timeout=_left(env, waiting))
    if not waiting.future.done():
        return CallFailed("timeout", "the callback did not come in time"), tries
    return waiting.future.result(), tries


def _left(env: Environment, waiting: Waiting) -> float:
    return max(0.0, waiting.until - env.now())


async def _delete(env: Environment, name: str, location: str) -> None:
    try:
        await env.call(location, DEL_STATE, State(name), TIDYING_S)
    except CallFailed:
        return  # it goes by itself when its time is over


class _Driven:
    """One chain or DAG, function by function; each gets the states that it uses and gives them back."""

    def __init__(self, env: Environment, call: Call, what: Composition, deadline: float) -> None:
        self._env, self._call, self._what, self._deadline = env, call, what, deadline
        self._states = {name: State(content=bytes(what.sizes[name])) for name in what.used}
        self._ended: dict[int, LambdaResponse] = {}  # in the order in which they ended
        self._tries = 0

    async def run(self, payload: str) -> tuple[Answer, int]:
        """The last function's answer with the sums of all, or the first failure."""
        running: dict[asyncio.Future[tuple[Answer, int]], int] = {}
        try:
            while len(self._ended) < len(self._what.functions):
                for index in self._ready(list(running.values())):
                    running[asyncio.ensure_future(self._one(index, payload))] = index
                await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for done in [each for each in running if each.done()]:
                    failure = self._end(running.pop(done), *done.result())
                    if failure is not None:
                        return failure, self._tries
        finally:
            for left in running:
                left.cancel()
        return self._sum(), self._tries

    def _ready(self, running: Sequence[int]) -> list[int]:
        begun = {*running, *self._ended}
        return [index for index in range(len(self._what.functions))
                if index not in begun and {*self._what.preceding(index)} <= self._ended.keys()]  # fmt: skip

    async def _one(self, index: int, payload: str) -> tuple[Answer, int]:
        name, before = self._what.functions[index], self._what.preceding(index)
        last = next((self._ended[each] for each in reversed(self._ended) if each in before), None)
        request = replace(
            self._what.alone(name),
            input=payload if last is None else last.output,
            datain=b"" if last is None else last.dataout,
            states={state: self._states[state] for state in self._what.states_of(name)},
        )
        return await self._call(self._env, request, max(0.001, self._deadline - self._env.now()))

    def _end(self, index: int, answer: Answer, tries: int) -> Answer | None:
        """Take an answer in; a failure is returned."""
        self._tries += tries
        if isinstance(answer, CallFailed) or answer.retcode != OK:
            return answer
        self._states |= {name: state for name, state in answer.states.items() if name in self._states}
        self._ended[index] = answer
        return None

    def _sum(self) -> LambdaResponse:
        last, all_of_them = self._ended[len(self._what.functions) - 1], [*self._ended.values()]
        if len(all_of_them) == 1:
            return last
        return LambdaResponse(
            OK, last.output, dataout=last.dataout, states=self._states,
            ptime=sum(each.ptime for each in all_of_them), hops=sum(each.hops for each in all_of_them),
            queue_us=sum(each.queue_us for each in all_of_them), init_us=sum(each.init_us for each in all_of_them),
            exec_us=sum(each.exec_us for each in all_of_them),
        )  # fmt: skip
