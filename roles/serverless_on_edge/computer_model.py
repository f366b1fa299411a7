"""A computer in virtual time: processor sharing, memory, containers with workers and a queue each, utilisation.

The model is told the time and never waits. Tasks end at the moment that the model gives, however late it is asked.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import fmean

from roles.serverless_on_edge.computer_spec import ComputerSpec, ContainerSpec, Lambda, Processor

SAMPLES_KEPT = 30


@dataclass(slots=True, eq=False)
class Task:
    """One execution: when it arrived, when a worker took it, when it ended (seconds; None: not yet)."""

    container: _Container
    operations: float
    memory: float
    arrived: float
    started: float | None = None
    finished: float | None = None
    until: float = 0.0  # ends when each task of the processor has been given this many operations since the beginning


@dataclass(slots=True)
class _Container:
    spec: ContainerSpec
    on: SharedProcessor
    active: int = 0
    pending: deque[Task] = field(default_factory=deque)

    def admits(self, task: Task) -> bool:
        return self.active < self.spec.num_workers and task.memory <= self.on.free


class SharedProcessor:
    """Egalitarian processor sharing over the tasks of all containers of one processor."""

    def __init__(self, spec: Processor) -> None:
        self.spec = spec
        self.free: float = spec.memory
        self.containers: list[_Container] = []
        self._given = 0.0  # operations that a task which was always there would have been given
        self._last = 0.0
        self._busy = 0.0
        self._order = 0
        self._running: list[tuple[float, int, Task]] = []

    def rate(self, running: int) -> float:
        """Operations a second that each of ``running`` tasks is given."""
        return self.spec.speed * min(self.spec.cores, running) / running if running else self.spec.speed

    @property
    def current_rate(self) -> float:
        """Operations a second that each running task is given now."""
        return self.rate(len(self._running))

    def arrive(self, task: Task, now: float) -> None:
        """Start a task, or append it to its container's queue."""
        self._elapse(now)
        if task.container.admits(task):
            self._start(task, now)
        else:
            task.container.pending.append(task)

    def next_end(self) -> float | None:
        """When the next task ends if nothing arrives before."""
        if not self._running:
            return None
        return self._last + max(0.0, self._running[0][0] - self._given) / self.current_rate

    def advance(self, now: float) -> list[Task]:
        """Go on to ``now``; the tasks that have ended, in order."""
        ended = []
        while (end := self.next_end()) is not None and end <= now:
            self._elapse(end)
            until, _, task = heapq.heappop(self._running)
            self._given = until
            task.finished = end
            ended.append(task)
            self._release(task, end)
        self._elapse(now)
        return ended

    def remaining(self, container: _Container) -> float:
        """Operations until the first of a container's running tasks ends; 0 if none runs."""
        return min((until - self._given for until, _, task in self._running if task.container is container), default=0)

    def take_busy(self) -> float:
        """Core-seconds of work since this was last asked."""
        busy, self._busy = self._busy, 0.0
        return busy

    @property
    def running(self) -> int:
        """The number of tasks that have a worker."""
        return len(self._running)

    def _elapse(self, now: float) -> None:
        if now > self._last:
            if self._running:
                self._given += (now - self._last) * self.current_rate
                self._busy += (now - self._last) * len(self._running)
            self._last = now

    def _start(self, task: Task, now: float) -> None:
        task.started = now
        task.until = self._given + task.operations
        task.container.active += 1
        self.free -= task.memory
        self._order += 1
        heapq.heappush(self._running, (task.until, self._order, task))

    def _release(self, task: Task, now: float) -> None:
        self.free += task.memory
        task.container.active -= 1
        # The container itself first; then the others, which may have waited for the memory.
        for container in (task.container, *(each for each in self.containers if each is not task.container)):
            while container.pending and container.admits(container.pending[0]):
                self._start(container.pending.popleft(), now)


@dataclass(frozen=True, slots=True)
class Loads:
    """Utilisation of a processor over the last second and the last ten and thirty, from 0 to 1."""

    load1: float = 0.0
    load10: float = 0.0
    load30: float = 0.0


class LoadMeter:
    """Turns core-seconds of work into the utilisation of the last 1, 10 and 30 samples."""

    def __init__(self, cores: float) -> None:
        self._cores = cores
        self._samples: deque[float] = deque(maxlen=SAMPLES_KEPT)

    def sample(self, busy: float, seconds: float) -> float:
        """Take the work of the last ``seconds``; the utilisation."""
        self._samples.append(min(1.0, busy / (self._cores * seconds)) if seconds > 0 else 0.0)
        return self._samples[-1]

    @property
    def loads(self) -> Loads:
        """The means over the samples; zero before the first."""
        if not self._samples:
            return Loads()
        return Loads(self._samples[-1], fmean(list(self._samples)[-10:]), fmean(self._samples))


def _operations(container: _Container, size: int, service_s: float | None) -> float:
    if service_s is None:
        return container.spec.function.operations(size)
    return service_s * container.on.spec.speed


class ComputerModel:
    """All processors and containers of one computer."""

    def __init__(self, spec: ComputerSpec) -> None:
        self.spec = spec
        self.processors = {each.name: SharedProcessor(each) for each in spec.processors}
        self._meters = {each.name: LoadMeter(each.cores) for each in spec.processors}
        self._containers: dict[str, _Container] = {}
        self._sampled = 0.0
        for container in spec.containers:
            made = _Container(container, self.processors[container.processor])
            made.on.containers.append(made)
            self._containers[container.function.name] = made

    def __contains__(self, function: str) -> bool:
        return function in self._containers

    def function(self, name: str) -> Lambda:
        """The function of this name; raises KeyError."""
        return self._containers[name].spec.function

    def arrive(self, function: str, size: int, now: float, service_s: float | None = None) -> Task:
        """A call with ``size`` characters of input; raises ValueError if it can never fit into memory.

        Call :meth:`advance` first: what ended before ``now`` has ended. ``service_s``: seconds on an idle core, in
        place of what the function needs.
        """
        container = self._containers[function]
        memory = container.spec.function.memory(size)
        if memory > container.on.spec.memory:
            has = container.on.spec.memory
            raise ValueError(f"{function} needs {memory:g} bytes of memory; {container.on.spec.name} has {has}")
        task = Task(container, _operations(container, size, service_s), memory, now)
        container.on.arrive(task, now)
        return task

    def next_end(self) -> float | None:
        """When the next task ends if nothing arrives before; None if nothing runs."""
        return min((end for each in self.processors.values() if (end := each.next_end()) is not None), default=None)

    def advance(self, now: float) -> list[Task]:
        """Go on to ``now``; the tasks that have ended, processor by processor."""
        return [task for each in self.processors.values() for task in each.advance(now)]

    def estimate(self, function: str, size: int, service_s: float | None = None) -> float:
        """Seconds that a call would take if it came now: its queue, the next free worker, its own operations."""
        container = self._containers[function]
        on, full = container.on, container.active >= container.spec.num_workers
        waiting = sum(task.operations for task in container.pending) / on.current_rate
        residual = on.remaining(container) / on.current_rate if full else 0.0
        rate = on.current_rate if full else on.rate(on.running + 1)
        return waiting + residual + _operations(container, size, service_s) / rate

    def sample(self, now: float) -> dict[str, float]:
        """Utilisation of each processor since the last sample; call :meth:`advance` first."""
        seconds, self._sampled = now - self._sampled, now
        return {name: self._meters[name].sample(each.take_busy(), seconds) for name, each in self.processors.items()}

    def begin(self, now: float) -> None:
        """Utilisation counts from here."""
        self._sampled = now
        self.advance(now)

    def loads(self, function: str) -> Loads:
        """The loads of the processor that runs a function."""
        return self._meters[self._containers[function].on.spec.name].loads

    def utilisation(self) -> dict[str, Loads]:
        """The loads of each processor."""
        return {name: meter.loads for name, meter in self._meters.items()}

    def offers(self) -> Iterable[ContainerSpec]:
        """The containers, in the order of the description."""
        return self.spec.containers
