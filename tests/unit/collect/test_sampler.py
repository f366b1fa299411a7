"""Sampling at a set period."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from testbed.collect.sampler import Periodic, Sampler, Watched
from testbed.shaping.base import Counters
from testbed.substrate.base import Network
from testbed.substrate.processes import Snapshot
from testbed.topology.model import End


def network(counters: Callable[[], Mapping[End, Counters]]) -> Network:
    return cast(Network, SimpleNamespace(counters=counters))


def rows(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def until(question: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def test_samples_links_and_agents_while_the_work_goes_on_and_once_more_at_its_end(tmp_path: Path) -> None:
    seen = 0

    def counters() -> Mapping[End, Counters]:
        nonlocal seen
        seen += 1
        return {End("a-b", "a"): Counters(packets=seen, size_bytes=100 * seen), End("a-b", "b"): Counters()}

    with Sampler(tmp_path, network(counters), lambda: [Watched("h1", "client", os.getpid())],
                 time.monotonic, period_s=0.02) as sampler:
        until(lambda: seen >= 3)
    links, nodes = rows(tmp_path / "links.csv"), rows(tmp_path / "nodes.csv")
    assert int(links[-2]["packets"]) == seen == sampler.spent().samples
    assert len(links) == 2 * len(nodes) == 2 * seen
    assert int(nodes[0]["memory_bytes"]) > 1_000_000
    assert sampler.spent().failure == ""


def test_the_rows_are_on_disk_before_the_run_has_ended(tmp_path: Path) -> None:
    with Sampler(tmp_path, network(lambda: {End("a-b", "a"): Counters()}), lambda: [], time.monotonic, period_s=0.01):
        until(lambda: len(rows(tmp_path / "links.csv")) >= 2)


def test_an_agent_that_has_ended_gives_no_rows(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-S", "-c", ""])
    child.wait()
    with Sampler(tmp_path, network(dict), lambda: [Watched("h1", "worker", child.pid)], time.monotonic):
        pass
    assert rows(tmp_path / "nodes.csv") == []


def test_a_failure_ends_the_sampling_and_is_told_with_its_reason(tmp_path: Path) -> None:
    def broken() -> Mapping[End, Counters]:
        raise OSError("the relay is gone")

    with Sampler(tmp_path, network(broken), lambda: [], time.monotonic, period_s=0.01) as sampler:
        until(lambda: bool(sampler.spent().failure))
    assert sampler.spent().failure == "OSError: the relay is gone"


def test_a_beat_that_comes_too_late_is_left_out_and_counted() -> None:
    beats: list[float] = []
    slow_once = threading.Event()

    def task(_: Snapshot) -> None:
        beats.append(time.monotonic())
        if not slow_once.is_set():
            slow_once.set()
            time.sleep(0.35)

    periodic = Periodic(0.1, [task]).start()
    until(lambda: len(beats) >= 3)
    cost = periodic.stop()
    assert cost.missed >= 3
    assert cost.gap_max_s >= 0.35
    assert cost.samples == len(beats)


def test_a_process_tree_counts_its_descendants_and_not_those_left_out() -> None:
    script = ("import subprocess, sys; child = subprocess.Popen([sys.executable, '-S', '-c', 'input()'])\n"
              "print(child.pid, flush=True); child.wait()")
    parent = subprocess.Popen([sys.executable, "-S", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdin and parent.stdout
    grandchild = int(parent.stdout.readline())
    snapshot = Snapshot()
    assert snapshot.tree(parent.pid).processes == 2
    assert snapshot.tree(parent.pid, without=[grandchild]).processes == 1
    assert snapshot.tree(os.getpid()).processes >= 3
    parent.communicate(b"\n", timeout=20)


def test_cpu_time_of_children_that_ended_stays_counted() -> None:
    before = Snapshot().tree(os.getpid()).cpu_s
    busy = "import time; end=time.process_time()+0.3\nwhile time.process_time()<end: pass"
    subprocess.run([sys.executable, "-S", "-c", busy], check=True)
    assert Snapshot().tree(os.getpid()).cpu_s - before >= 0.25
