"""The watcher against the real counters of this machine."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from testbed.fidelity.watch import Watch
from testbed.shaping.base import Lateness
from testbed.substrate.base import Network
from testbed.substrate.processes import Snapshot
from testbed.substrate.processors import processors


def test_the_counters_of_the_processors_only_grow_and_idle_is_a_part_of_all() -> None:
    before = processors()
    deadline = time.monotonic() + 20
    while (after := processors()).total_s == before.total_s:
        assert time.monotonic() < deadline
    assert after.idle_s >= before.idle_s
    assert 0 <= after.idle_s <= after.total_s


def test_samples_the_machine_and_the_relay_between_two_calls(tmp_path: Path) -> None:
    asked: list[float] = []

    def lateness() -> Lateness:
        asked.append(time.monotonic())
        return Lateness(10, 0.001, 0.002, 0.003) if len(asked) == 2 else Lateness(0, 0.0, 0.0, 0.0)

    watch = Watch(tmp_path, cast(Network, SimpleNamespace(lateness=lateness)), lambda: [], time.monotonic)
    watch(Snapshot())
    spent = time.process_time() + 0.3
    while time.process_time() < spent:
        pass
    watch(Snapshot())
    watch(Snapshot())
    watch.close()
    busy, idle = watch.samples
    assert len(asked) == 3  # once to begin with, since what came before is another run's
    assert (busy.relay_packets, busy.relay_late_p99_s) == (10, 0.002)
    assert (idle.relay_packets, idle.relay_late_p99_s) == (0, None)
    assert busy.own_cpu_s >= 0.25
    assert busy.own_busiest > 0
    assert 0 < busy.busy <= 1
    with (tmp_path / "machine.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 2
