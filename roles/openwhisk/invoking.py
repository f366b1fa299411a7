"""Invocations: from a request to a record. Each one that was accepted ends exactly once, and leaves a record."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from roles.openwhisk.activation import DEVELOPER_ERROR, INTERNAL_ERROR, SUCCESS, Activation, Activations, Done
from roles.openwhisk.boxes import Job
from roles.openwhisk.entities import SEQUENCE
from roles.openwhisk.errors import Refused
from roles.openwhisk.options import ServerOptions
from roles.openwhisk.resolving import Found, Resolver, merged
from roles.openwhisk.throttle import Throttle
from testbed import seeds
from testbed.roles.api import Environment
from testbed.tables import Cell


class Runner(Protocol):
    """Runs jobs: a pool here, or invokers elsewhere."""

    def submit(self, job: Job) -> None:
        """Run a job; ``job.told`` is called once. Raises Refused (503)."""


@dataclass(slots=True, eq=False)
class Call:
    """One activation under way: what is to be recorded of it."""

    id: str
    user: str
    found: Found
    args: dict[str, Any]
    arrived: float
    ended: asyncio.Future[Activation]
    cause: str = ""


class Ids:
    """Ids of 32 hexadecimal digits; other ones after each restart."""

    def __init__(self, env: Environment) -> None:
        start = f"{env.rng('ids').getrandbits(64):x}"
        self._bits = seeds.stream(0, start, f"{env.wall():.6f}").getrandbits

    def __call__(self) -> str:
        """A new one."""
        return f"{self._bits(128):032x}"


class Invoking:
    """Carries out invocations."""

    def __init__(
        self,
        env: Environment,
        options: ServerOptions,
        resolver: Resolver,
        throttle: Throttle,
        activations: Activations,
        runner: Runner,
    ) -> None:
        self._env, self._options, self._resolver = env, options, resolver
        self._throttle, self._activations, self._runner = throttle, activations, runner
        self.ids = Ids(env)
        self.under_way: dict[str, float] = {}  # activations, and when they began
        self.repeated: list[str] = []  # those that ended without being under way; there are none

    def begin(self, user: str, found: Found, given: dict[str, Any]) -> Call:
        """Begin an invocation; raises Refused (400, 429, 503)."""
        args = merged(found, given)
        self._throttle.enter(user, self._env.wall())
        try:
            return self._begin(user, found, args, "", lambda: self._throttle.leave(user))
        except Refused:
            self._throttle.leave(user)
            raise

    def _begin(
        self, user: str, found: Found, args: dict[str, Any], cause: str, left: Callable[[], None] | None = None
    ) -> Call:
        ended = asyncio.get_running_loop().create_future()
        call = Call(self.ids(), user, found, args, self._env.now(), ended, cause)
        if found.action.code.kind == SEQUENCE:
            self.under_way[call.id] = call.arrived
            self._env.spawn(self._sequence(call, left))
            return call

        def told(job: Job, done: Done) -> None:
            if left is not None:
                left()
            self._record(call, done)

        job = Job(call.id, found.action, args, call.arrived, told, self._options.payload)
        self.under_way[call.id] = call.arrived
        try:
            self._runner.submit(job)
        except Refused:
            del self.under_way[call.id]
            raise
        return call

    async def waited(self, call: Call, wait_s: float) -> Activation | None:
        """The record of a call; None if it is not there after ``wait_s`` seconds."""
        try:
            async with asyncio.timeout(wait_s):
                return await call.ended
        except TimeoutError:
            return None

    def _record(self, call: Call, done: Done) -> Activation:
        env, action = self._env, call.found.action
        now, wall = env.now(), env.wall()
        began, over = done.began or now, done.ended or now
        start, end = round((wall - now + began) * 1000), round((wall - now + over) * 1000)
        record = Activation(
            call.id, call.user, call.user, action.name, action.version, action.code.kind, action.limits.data(),
            start, end, max(0, round((began - call.arrived) * 1000)), done, call.cause, call.found.binding,
            not call.cause,
        )  # fmt: skip
        if self.under_way.pop(call.id, None) is None:
            self.repeated.append(call.id)
        self._activations.add(record)
        self._emit(call, record, began, over)
        if not call.ended.done():
            call.ended.set_result(record)
        return record

    def _emit(self, call: Call, record: Activation, began: float, over: float) -> None:
        done = record.done
        row: dict[str, Cell] = {
            "t": over, "activation_id": call.id, "namespace": call.user, "action": record.action.path,
            "kind": record.kind, "status": record.response()["status"], "wait_s": began - call.arrived,
            "init_s": done.init_s, "duration_s": over - began, "cold": done.cold, "cause": call.cause,
            "invoker": done.invoker,
        }  # fmt: skip
        self._env.emit("wsk_activations", row)

    # Sequences.

    async def _sequence(self, call: Call, left: Callable[[], None] | None) -> None:
        began = self._env.now()
        done = await self._each(call)
        done.began, done.ended = began, self._env.now()
        if left is not None:
            left()
        self._record(call, done)

    async def _each(self, call: Call) -> Done:
        """Run the parts one after the other, each with the result of the one before; stop where one fails."""
        args, logs = call.args, list[str]()
        done = Done(SUCCESS, args)
        for component in call.found.action.code.components:
            if not isinstance(args, dict):
                return Done(DEVELOPER_ERROR, {"error": "A part of a sequence gave no object."}, logs=logs)
            try:
                found = self._resolver.found(component)
                part = self._begin(call.user, found, merged(found, args), call.id)
            except Refused as refused:
                done = Done.failed(INTERNAL_ERROR if refused.status == 503 else DEVELOPER_ERROR, str(refused))
                return Done(done.status, done.result, logs=logs)
            record = await part.ended
            logs.append(record.id)
            done, args = record.done, record.done.result
            if done.status != SUCCESS:
                break
        return Done(done.status, done.result, logs=logs, size=done.size)
