"""During the run: samples of what would falsify it, kept for the verdict and written to ``machine.csv``."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass
from pathlib import Path

from testbed.substrate.processes import Snapshot, Usage
from testbed.collect.sampler import Clock, Watched
from testbed.collect.schema import MACHINE
from testbed.collect.streamed import StreamedTable
from testbed.substrate.processors import Processors, processors
from testbed.substrate.base import Network


@dataclass(frozen=True, slots=True)
class MachineSample:
    """One row of ``machine.csv``; its columns say what each is. Shares are of the time ``span_s`` before ``t``."""

    t: float
    span_s: float
    busy: float
    steal: float
    pressure: float | None
    throttled_s: float
    own_cpu_s: float
    own_busiest: float
    relay_packets: int
    relay_late_p50_s: float | None
    relay_late_p99_s: float | None
    relay_late_max_s: float | None


class Watch:
    """A task of the sampler (``Sampler(..., more=[watch])``); ``samples`` is what it saw.

    The emulation itself is the tree of processes below this one without the agents: the driver and its relays.
    """

    def __init__(self, folder: Path, network: Network, agents: Callable[[], Iterable[Watched]], clock: Clock) -> None:
        self.samples: list[MachineSample] = []
        self._table = StreamedTable(folder, MACHINE)
        self._network, self._agents, self._clock = network, agents, clock
        self._before: tuple[float, Processors, dict[int, Usage]] | None = None

    def __call__(self, snapshot: Snapshot) -> None:
        own = snapshot.pids(os.getpid(), without=[agent.pid for agent in self._agents()])
        now = (time.monotonic(), processors(), {pid: snapshot.usage[pid] for pid in own})
        if self._before is None:
            self._network.lateness()  # what came before the first sample is not this run's
        elif now[0] > self._before[0]:
            self._sample(self._before, now)
        self._before = now

    def close(self) -> None:
        """End the file."""
        self._table.close()

    def _sample(self, before: tuple[float, Processors, dict[int, Usage]],
                after: tuple[float, Processors, dict[int, Usage]]) -> None:
        span = after[0] - before[0]
        used = {pid: after[2][pid].cpu_s - before[2][pid].cpu_s for pid in after[2].keys() & before[2].keys()}
        late = self._network.lateness()
        seen = late if late is not None and late.packets else None
        sample = MachineSample(
            self._clock(), span, *_shares(before[1], after[1], span), max(0.0, sum(used.values())),
            max(used.values(), default=0.0) / span, seen.packets if seen else 0, seen.p50_s if seen else None,
            seen.p99_s if seen else None, seen.max_s if seen else None)
        self.samples.append(sample)
        self._table.append_cells([astuple(sample)])


def _shares(before: Processors, after: Processors, span: float) -> tuple[float, float, float | None, float]:
    """busy, steal, pressure and throttled_s between two readings."""
    total = max(after.total_s - before.total_s, 1e-9)
    waiting = None
    if before.waiting_s is not None and after.waiting_s is not None:
        waiting = min(1.0, max(0.0, (after.waiting_s - before.waiting_s) / span))
    busy = 1.0 - (after.idle_s - before.idle_s) / total
    return (min(1.0, max(0.0, busy)), max(0.0, after.steal_s - before.steal_s) / total, waiting,
            max(0.0, after.throttled_s - before.throttled_s))
