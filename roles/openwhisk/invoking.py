"""Invocations: from a request to a record. Each one that was accepted ends exactly once, and leaves a record."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from roles.openwhisk.activation import (
    DEVELOPER_ERROR,
    INTERNAL_ERROR,
    STATUSES,
    SUCCESS,
    Activation,
    Activations,
    Done,
)
from roles.openwhisk.boxes import Job
from roles.openwhisk.entities import SEQUENCE
from roles.openwhisk.errors import Refused
from roles.openwhisk.options import ServerOptions
from roles.openwhisk.resolving import Found, Resolver, merged
from roles.openwhisk.throttle import Throttle
from testbed import seeds
from testbed.roles.api import Environment

Ended = Callable[[Activation], None]
Ending = TypeVar("Ending")


class Runner(Protocol):
    """Runs jobs: a pool here, or invokers elsewhere."""

    def submit(self, job: Job) -> None:
        """Run a job; ``job.told`` is called once. Raises Refused (503)."""

    def at_once(self, job: Job) -> Awaitable[Done] | None:
        """How a job goes that can run this very moment, in a warm container; None if it cannot."""


@dataclass(slots=True, eq=False)
class Call:
    """One activation under way: what is to be recorded of it. It arrived at ``wall`` seconds since 1970."""

    id: str
    user: str
    found: Found
    arrived: float
    wall: float
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

    async def invoke(
        self, user: str, found: Found, given: dict[str, Any], wait_s: float
    ) -> tuple[str, Activation | None]:
        """Begin an invocation, and wait for it: its id, and its record if it is there in time.

        Raises Refused (400, 429, 503).
        """
        args, wall = merged(found, given), self._env.wall()
        self._throttle.enter(user, wall)
        call = Call(self.ids(), user, found, self._env.now(), wall)
        if wait_s and (done := self._at_once(call, args, wait_s)) is not None:
            ended = await done
            self._throttle.leave(user)
            return call.id, self._record(call, ended)
        future: asyncio.Future[Activation] = asyncio.get_running_loop().create_future()

        def over(record: Activation) -> None:
            self._throttle.leave(user)
            if not future.done():
                future.set_result(record)

        try:
            self._begin(call, args, over)
        except Refused:
            self._throttle.leave(user)
            raise
        if not wait_s:
            return call.id, None
        record = await waited(future, wait_s)
        return call.id, record

    def _at_once(self, call: Call, args: dict[str, Any], wait_s: float) -> Awaitable[Done] | None:
        """The quick way, for what can begin now and ends while its client still waits: nobody else need see to it."""
        action = call.found.action
        if wait_s * 1000 < action.limits.timeout_ms or action.code.kind == SEQUENCE:
            return None
        done = self._runner.at_once(Job(call.id, action, args, call.arrived, result_bytes=self._options.payload))
        if done is not None:
            self.under_way[call.id] = call.arrived
        return done

    def _begin(self, call: Call, args: dict[str, Any], over: Ended) -> None:
        """Begin an activation; ``over`` gets its record. Raises Refused (503)."""
        self.under_way[call.id] = call.arrived
        if call.found.action.code.kind == SEQUENCE:
            self._env.spawn(self._sequence(call, args, over))
            return

        def told(done: Done) -> None:
            over(self._record(call, done))

        try:
            self._runner.submit(Job(call.id, call.found.action, args, call.arrived, told, self._options.payload))
        except Refused:
            del self.under_way[call.id]
            raise

    def _record(self, call: Call, done: Done) -> Activation:
        action, user = call.found.action, call.user
        began = done.began or self._env.now()
        over, before = done.ended or began, call.wall - call.arrived
        record = Activation(
            call.id, user, user, action, round((before + began) * 1000), round((before + over) * 1000),
            max(0, round((began - call.arrived) * 1000)), done, call.cause, call.found.binding,
        )  # fmt: skip
        if self.under_way.pop(call.id, None) is None:
            self.repeated.append(call.id)
        self._activations.add(record)
        self._env.emit("wsk_activations", {
            "t": over, "activation_id": call.id, "namespace": user, "action": action.path,
            "status": STATUSES[done.status], "wait_s": began - call.arrived, "init_s": done.init_s,
            "duration_s": over - began, "cold": 1 if done.cold else 0,
            "cause": call.cause or None, "invoker": done.invoker or None,
        })  # fmt: skip
        return record

    # Sequences.

    async def _sequence(self, call: Call, args: dict[str, Any], over: Ended) -> None:
        began = self._env.now()
        done = await self._each(call, args)
        done.began, done.ended = began, self._env.now()
        over(self._record(call, done))

    async def _each(self, call: Call, args: Any) -> Done:
        """Run the parts one after the other, each with the result of the one before; stop where one fails."""
        logs = list[str]()
        done = Done(SUCCESS, args)
        for component in call.found.action.code.components:
            if not isinstance(args, dict):
                return Done(DEVELOPER_ERROR, {"error": "A part of a sequence gave no object."}, logs=logs)
            try:
                record = await self._part(call, self._resolver.found(component), args)
            except Refused as refused:
                status = INTERNAL_ERROR if refused.status == 503 else DEVELOPER_ERROR
                return Done(status, {"error": str(refused)}, logs=logs)
            logs.append(record.id)
            done, args = record.done, record.done.result
            if done.status != SUCCESS:
                break
        return Done(done.status, done.result, logs=logs, size=done.size)

    async def _part(self, whole: Call, found: Found, given: dict[str, Any]) -> Activation:
        """The record of one part; raises Refused."""
        future: asyncio.Future[Activation] = asyncio.get_running_loop().create_future()
        call = Call(self.ids(), whole.user, found, self._env.now(), self._env.wall(), whole.id)
        self._begin(call, merged(found, given), future.set_result)
        return await future


async def waited(future: asyncio.Future[Ending], wait_s: float) -> Ending | None:
    """What the future gives within ``wait_s`` seconds, else None."""
    try:
        async with asyncio.timeout(wait_s):
            return await future
    except TimeoutError:
        return None
