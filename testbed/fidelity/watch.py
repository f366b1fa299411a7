"""During the run: samples of what would falsify it, kept for the verdict and written to ``machine.csv``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from testbed.collect.sampler import Clock, Watched
from testbed.collect.schema import MACHINE
from testbed.collect.streamed import StreamedTable
from testbed.substrate.away import Look
from testbed.substrate.base import Network
from testbed.substrate.processes import Reading


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

    The emulation itself is the tree of processes below this one without the agents: the driver and its relays. Where
    hosts are on several machines, each figure is that of the machine that is worst off, and ``own_cpu_s`` their sum.
    """

    def __init__(self, folder: Path, network: Network, agents: Callable[[], Iterable[Watched]], clock: Clock) -> None:
        self.samples: list[MachineSample] = []
        self._table = StreamedTable(folder, MACHINE)
        self._network, self._agents, self._clock = network, agents, clock
        self._before: dict[str, Reading] = {}

    def __call__(self, seen: Look) -> None:
        now = seen.machines([(agent.node, agent.pid) for agent in self._agents()])
        spans = [_Span(self._before[name], reading) for name, reading in now.items() if name in self._before]
        if not self._before:
            self._network.lateness()  # what came before the first sample is not this run's
        elif spans := [each for each in spans if each.span_s > 0]:
            self._sample(spans)
        self._before = dict(now)

    def close(self) -> None:
        """End the file."""
        self._table.close()

    def _sample(self, spans: Sequence[_Span]) -> None:
        late = self._network.lateness()
        seen = late if late is not None and late.packets else None
        pressures = [each.pressure for each in spans if each.pressure is not None]
        sample = MachineSample(
            self._clock(), max(each.span_s for each in spans), max(each.busy for each in spans),
            max(each.steal for each in spans), max(pressures, default=None), max(each.throttled_s for each in spans),
            sum(each.own_cpu_s for each in spans), max(each.own_busiest for each in spans),
            seen.packets if seen else 0, seen.p50_s if seen else None, seen.p99_s if seen else None,
            seen.max_s if seen else None)  # fmt: skip
        self.samples.append(sample)
        self._table.append_cells([astuple(sample)])


class _Span:
    """What a machine did between two readings."""

    def __init__(self, before: Reading, after: Reading) -> None:
        self.span_s = after.t - before.t
        self._old, self._new = before.processors, after.processors
        self._used = [after.own[pid] - before.own[pid] for pid in after.own.keys() & before.own.keys()]

    @property
    def busy(self) -> float:
        """Share of the processors' time in use."""
        return min(1.0, max(0.0, 1.0 - (self._new.idle_s - self._old.idle_s) / self._total_s))

    @property
    def steal(self) -> float:
        """Share of the processors' time that the hypervisor took."""
        return max(0.0, self._new.steal_s - self._old.steal_s) / self._total_s

    @property
    def pressure(self) -> float | None:
        """Share of the time in which some task waited for a processor; None where the kernel does not tell."""
        if self._old.waiting_s is None or self._new.waiting_s is None:
            return None
        return min(1.0, max(0.0, (self._new.waiting_s - self._old.waiting_s) / self.span_s))

    @property
    def throttled_s(self) -> float:
        """For how long a control group held the run back."""
        return max(0.0, self._new.throttled_s - self._old.throttled_s)

    @property
    def own_cpu_s(self) -> float:
        """CPU time of the emulation itself."""
        return max(0.0, sum(self._used))

    @property
    def own_busiest(self) -> float:
        """Share of a processor that the busiest process of the emulation used."""
        return max(self._used, default=0.0) / self.span_s

    @property
    def _total_s(self) -> float:
        return max(self._new.total_s - self._old.total_s, 1e-9)
