"""Running functions at a location: real ones in their workers, modelled ones in as many places as replicas."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from roles.session_offloading.edgedb import EdgeDb
from roles.session_offloading.messages import Refused
from roles.session_offloading.options import Deployed
from testbed.roles.api import Environment, Function, FunctionResult
from testbed.roles.modelled import stated_service_s

PER_SECOND = 1e9  # operations of a modelled function that one core does


@dataclass
class Load:
    """What a location's functions have had to do so far, for the oracle; times in seconds."""

    running: int = 0
    waiting: int = 0
    busy_s: float = 0.0
    served: int = 0
    response_s: float = 0.0


class Runner:
    """Runs the functions that are deployed here."""

    def __init__(
        self, env: Environment, functions: Mapping[str, Function], deployed: Mapping[str, Deployed], speed: float
    ) -> None:
        self._env, self._functions, self._speed = env, functions, speed
        self._replicas = {name: deployed[name].replicas or each.concurrency for name, each in functions.items()}
        self._places = {name: asyncio.Semaphore(replicas) for name, replicas in self._replicas.items()}
        self.load = Load()
        self.replicas = sum(self._replicas.values())

    async def run(self, name: str, payload: str, db: EdgeDb) -> tuple[FunctionResult, float]:
        """The result, and for how long the invocation waited for a free replica. Never raises for what it does."""
        begun = started = self._env.now()
        if self._places[name].locked():
            self.load.waiting += 1
            try:
                await self._places[name].acquire()
            finally:
                self.load.waiting -= 1
            started = self._env.now()
        else:
            await self._places[name].acquire()
        self.load.running += 1
        try:
            return await self._work(self._functions[name], payload, db), started - begun
        finally:
            self._places[name].release()
            ended = self._env.now()
            self.load.running -= 1
            self.load.busy_s += ended - started
            self.load.response_s += ended - begun
            self.load.served += 1

    async def _work(self, function: Function, payload: str, db: EdgeDb) -> FunctionResult:
        if function.code is not None:
            return await self._env.run_function(function.name, payload, db.answer, self._replicas[function.name])
        stated = stated_service_s(payload)
        seconds = stated if stated is not None else _modelled(function, payload)
        if seconds > 0:
            await self._env.sleep(seconds / self._speed)
        return FunctionResult("", exec_s=seconds / self._speed)


def _modelled(function: Function, payload: str) -> float:
    if function.service_s is not None:
        return function.service_s
    operations = function.operations + function.operations_per_byte * len(payload.encode("utf-8", "surrogatepass"))
    return operations / PER_SECOND


def failure(name: str, result: FunctionResult) -> Refused:
    """How the failure of a function is answered."""
    return Refused(504 if result.error == "timeout" else 500, f"The function {name} failed: {result.error}: "
                   f"{result.detail}")  # fmt: skip
