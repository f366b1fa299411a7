"""Running functions at a location: real ones in their workers, modelled ones in as many places as replicas."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from roles.session_offloading.edgedb import EdgeDb
from roles.session_offloading.messages import Refused
from roles.session_offloading.options import Deployed
from testbed.roles.api import Environment, Function, FunctionResult
from testbed.roles.modelled import service_s
from testbed.roles.processor import Processor


@dataclass
class Load:
    """What a location's functions have had to do so far, for the oracle; times in seconds."""

    running: int = 0
    waiting: int = 0
    busy_s: float = 0.0
    served: int = 0
    response_s: float = 0.0


class Runner:
    """Runs the functions that are deployed here. ``cores`` is what the host has of processors, None: no limit."""

    def __init__(
        self, env: Environment, functions: Mapping[str, Function], deployed: Mapping[str, Deployed], speed: float,
        cores: float | None = None,
    ) -> None:
        self._env, self._functions, self._speed = env, functions, speed
        self._processor = Processor(env, cores)
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
        seconds = service_s(function, payload) / self._speed
        if seconds == 0:
            return FunctionResult("")
        begun = self._env.now()
        await self._processor.work(seconds)
        return FunctionResult("", exec_s=self._env.now() - begun)


def failure(name: str, result: FunctionResult) -> Refused:
    """How the failure of a function is answered."""
    return Refused(504 if result.error == "timeout" else 500, f"The function {name} failed: {result.error}: "
                   f"{result.detail}")  # fmt: skip
