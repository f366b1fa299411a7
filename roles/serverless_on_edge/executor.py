"""What a computer executes functions with: the model of the simulated ones, workers for the real ones."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from roles.serverless_on_edge.computer_model import ComputerModel, LoadMeter, Loads, Task
from roles.serverless_on_edge.datasets import EXECUTIONS
from testbed.roles.api import Environment, Function
from testbed.roles.processor import Alarm

WORKERS = "functions"  # the processor that stands for the workers of real functions
REMEMBERED = 20


@dataclass(frozen=True, slots=True)
class Execution:
    """One execution: its output or error, and its times in seconds, ``total_s`` from arrival to end."""

    output: str
    error: str
    total_s: float
    queue_s: float
    exec_s: float
    init_s: float = 0.0

    def note(self, env: Environment, function: str, began: float) -> None:
        """Put it into the dataset of executions."""
        times = {"queue_s": self.queue_s, "init_s": self.init_s, "exec_s": self.exec_s}
        what = {"node": env.node, "function": function, "error": self.error}
        env.emit(EXECUTIONS.name, {"t": began, **what, **times})


class Worked(NamedTuple):
    """What a worker gives: an output or an error, and its times in seconds."""

    output: str
    error: str
    exec_s: float
    init_s: float = 0.0


class Simulated:
    """Lets time pass as the model says."""

    def __init__(self, env: Environment, model: ComputerModel) -> None:
        self._env, self._model = env, model
        self._ends: dict[Task, asyncio.Future[None]] = {}
        self._alarm = Alarm(env, model.next_end, self.settle)

    async def run(self, name: str, given: str, service_s: float | None) -> Execution:
        """Execute a function, for ``service_s`` if given; raises ValueError if it can never fit into memory."""
        self.settle()
        task = self._model.arrive(name, len(given), self._env.now(), service_s)
        self._ends[task] = asyncio.get_running_loop().create_future()
        ended = self._ends[task]
        self._alarm.set()
        await ended
        assert task.started is not None and task.finished is not None
        output = self._model.function(name).output(given)
        total = task.finished - task.arrived
        return Execution(output, "", total, task.started - task.arrived, task.finished - task.started)

    def estimate(self, name: str, given: str, service_s: float | None) -> float:
        """Seconds that a call would take now."""
        self.settle()
        return self._model.estimate(name, len(given), service_s)

    def settle(self) -> None:
        """Answer the calls that have ended by now."""
        for task in self._model.advance(self._env.now()):
            ended = self._ends.pop(task)
            if not ended.done():
                ended.set_result(None)


class Workers(ABC):
    """Runs functions that take the time they take, a number of them at once, others waiting in order of arrival.

    ``functions`` are those that it has at the moment.
    """

    functions: Mapping[str, Function]

    def __init__(self, env: Environment, workers: int) -> None:
        self._env = env
        self._waiting: defaultdict[str, int] = defaultdict(int)
        self._history: defaultdict[str, list[float]] = defaultdict(list)
        self._meter = LoadMeter(max(1, workers))
        self._running, self._busy = 0, 0.0
        self._last = self._sampled = env.now()

    async def run(self, name: str, given: str) -> Execution:
        """Execute a function when one of its workers is free."""
        arrived = self._env.now()
        self._waiting[name] += 1
        async with self._slots(name):
            self._waiting[name] -= 1
            began = self._env.now()
            self._count(+1)
            try:
                result = await self._work(name, given)
            finally:
                self._count(-1)
        self._history[name] = [*self._history[name][1 - REMEMBERED :], result.exec_s]
        total = self._env.now() - arrived
        return Execution(result.output, result.error, total, began - arrived, result.exec_s, result.init_s)

    @abstractmethod
    def _slots(self, name: str) -> asyncio.Semaphore:
        """What limits how many calls of a function run at once."""

    @abstractmethod
    async def _work(self, name: str, given: str) -> Worked:
        """Execute a function; never raises for what the function does."""

    def estimate(self, name: str) -> float:
        """Seconds that a call would take now, going by the last ones; 0 for a function that never ran."""
        past = self._history[name]
        turns = 1 + self._waiting[name] / self.functions[name].concurrency
        return fmean(past) * turns if past else 0.0

    def sample(self) -> float:
        """Utilisation of the workers since the last sample."""
        self._count(0)
        now = self._env.now()
        seconds, self._sampled = now - self._sampled, now
        busy, self._busy = self._busy, 0.0
        return self._meter.sample(busy, seconds)

    @property
    def loads(self) -> Loads:
        """Utilisation of the workers."""
        return self._meter.loads

    def _count(self, change: int) -> None:
        now = self._env.now()
        self._busy += self._running * (now - self._last)
        self._running, self._last = self._running + change, now


class Real(Workers):
    """Runs the real ones of the experiment's functions, each with its own number of workers."""

    def __init__(self, env: Environment, functions: Mapping[str, Function]) -> None:
        self.functions = {name: each for name, each in functions.items() if each.code is not None}
        super().__init__(env, sum(each.concurrency for each in self.functions.values()))
        self._workers = {name: asyncio.Semaphore(each.concurrency) for name, each in self.functions.items()}

    def _slots(self, name: str) -> asyncio.Semaphore:
        return self._workers[name]

    async def _work(self, name: str, given: str) -> Worked:
        result = await self._env.run_function(name, given)
        error = f"{result.error}: {result.detail}" if result.error else ""
        return Worked(result.output, error, result.exec_s, result.init_s)
