"""Samples the counters of all links and the use of all agents at a set period, in one thread, straight to CSV.

What sampling itself costs is measured (:class:`Cost`), since a measurement that disturbs is none.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from testbed.collect.schema import LINKS, NODES
from testbed.collect.streamed import StreamedTable
from testbed.substrate.away import Look, look
from testbed.substrate.base import LimitUse, Network, limit_use
from testbed.substrate.processes import Snapshot

Clock = Callable[[], float]
Task = Callable[[Look], None]


class Watched(NamedTuple):
    """An agent whose processes are sampled: the first of them by ``pid``, its descendants with it."""

    node: str
    role: str
    pid: int


@dataclass(frozen=True, slots=True)
class Cost:
    """What sampling was and cost: ``gap_max_s`` is the longest time between two samples, ``missed`` what a slow machine
    left out, ``cpu_s`` the CPU time of the sampling thread, ``failure`` why it ended early (empty: it did not).
    """

    samples: int
    missed: int
    period_s: float
    gap_max_s: float
    cpu_s: float
    elapsed_s: float
    failure: str = ""


class Periodic:
    """A thread that does its tasks at multiples of ``period_s``; a beat that comes too late is left out, not made up.

    Every task of a beat gets the same look at the processes, since reading /proc is what costs most.
    The tasks run once more when it stops, so that the last values are on record.
    """

    def __init__(self, period_s: float, tasks: Sequence[Task], look: Callable[[], Look] = Snapshot) -> None:
        self._period, self._tasks, self._look = period_s, tasks, look
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._started = self._last = time.monotonic()
        self._samples = self._missed = 0
        self._gap = self._cpu = 0.0
        self._failure = ""

    def start(self) -> Periodic:
        """Take the first sample at once, the others in the thread."""
        self._started = self._last = time.monotonic()
        self._thread.start()
        return self

    def stop(self) -> Cost:
        """Take the last sample and end the thread. Call it once."""
        self._stop.set()
        self._thread.join()
        return self.cost

    @property
    def cost(self) -> Cost:
        """What sampling has cost so far."""
        elapsed = time.monotonic() - self._started
        return Cost(self._samples, self._missed, self._period, self._gap, self._cpu, elapsed, self._failure)

    def _run(self) -> None:
        try:
            due = self._started
            while True:
                self._beat()
                due = self._next(due)
                if self._stop.wait(due - time.monotonic()):
                    break
            self._beat()
        except Exception as error:  # noqa: BLE001 - the run goes on without samples, and its verdict says so
            self._failure = f"{type(error).__name__}: {error}"

    def _next(self, due: float) -> float:
        late = int((time.monotonic() - due) / self._period)
        self._missed += late
        return due + (late + 1) * self._period

    def _beat(self) -> None:
        began = time.monotonic()
        if self._samples:
            self._gap = max(self._gap, began - self._last)
        self._last = began
        seen = self._look()
        for task in self._tasks:
            task(seen)
        self._samples += 1
        self._cpu = time.thread_time()


class LinkSampler:
    """One row in ``links.csv`` for each end of each link at each call."""

    def __init__(self, folder: Path, network: Network, clock: Clock) -> None:
        self._table = StreamedTable(folder, LINKS)
        self._network, self._clock = network, clock

    def __call__(self, seen: Look) -> None:
        counters = self._network.counters()
        t = self._clock()
        self._table.append_cells(
            (t, end.link, end.node, c.packets, c.size_bytes, c.dropped_queue, c.dropped_loss, c.dropped_down,
             c.dropped_relay) for end, c in counters.items())

    def close(self) -> None:
        """End the file."""
        self._table.close()


class NodeSampler:
    """One row in ``nodes.csv`` for each living agent at each call."""

    def __init__(self, folder: Path, agents: Callable[[], Iterable[Watched]], clock: Clock,
                 limits: Callable[[], Mapping[str, LimitUse]] = dict) -> None:
        self._table = StreamedTable(folder, NODES)
        self._agents, self._clock, self._limits = agents, clock, limits

    def __call__(self, seen: Look) -> None:
        t = self._clock()
        used = ((agent, seen.agent(agent.node, agent.pid)) for agent in self._agents())
        throttled = {node: use.throttled_s for node, use in self._limits().items()}
        self._table.append_cells((t, agent.node, agent.role, usage.cpu_s, usage.memory_bytes, usage.processes,
                                  throttled.get(agent.node)) for agent, usage in used if usage.processes)

    def close(self) -> None:
        """End the file."""
        self._table.close()


class Sampler:
    """The collectors of a run that work by sampling: ``links.csv``, ``nodes.csv``, and what ``more`` adds.

    Use it as a context manager around the workload; ``spent`` says what it took.
    """

    def __init__(self, folder: Path, network: Network, agents: Callable[[], Iterable[Watched]], clock: Clock,
                 period_s: float = 0.5, more: Sequence[Task] = ()) -> None:
        self._links = LinkSampler(folder, network, clock)
        self._nodes = NodeSampler(folder, agents, clock, lambda: limit_use(network))
        self._periodic = Periodic(
            period_s, (self._links, self._nodes, *more),
            lambda: look(network, [(agent.node, agent.pid) for agent in agents()]),
        )  # fmt: skip

    def spent(self) -> Cost:
        """What sampling has cost so far."""
        return self._periodic.cost

    def __enter__(self) -> Sampler:
        self._periodic.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._periodic.stop()
        self._links.close()
        self._nodes.close()
