"""Again and again: runs that are killed leave nothing, and a process that goes on opening networks does not grow."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from command import HELLO, environment, write
from in_arena import each_switching, line, opened, passes

from testbed.conduct import Quiet
from testbed.experiment.load import load
from testbed.run import perform
from testbed.substrate.find import named

MOST_KB = 3000  # of growth over all turns, which is what allocators take by the way
SHAPED = """
name: shaped
nodes: {h1: {}, h2: {}, s1: {kind: switch}, r1: {kind: router}}
links: [[h1, s1], {ends: [s1, r1], delay: 2ms}, {ends: [r1, h2], rate: 10Mbit}]
"""


def size_kb() -> int:
    """The resident memory of this process."""
    gc.collect()
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(text.split()[1]) for text in lines if text.startswith("VmRSS"))


def held() -> tuple[int, int, str]:
    """How many descriptors and threads this process has, and its children."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return len(list(Path("/proc/self/fd").iterdir())), threading.active_count(), children


def does_not_grow(turn: Callable[[], None], first: int, turns: int) -> None:
    """Do it ``first`` times to fill all caches, then so many times more: the process holds what it held."""
    for _ in range(first):
        turn()
    before, start_kb = held(), size_kb()
    for _ in range(turns):
        turn()
        assert held() == before
    assert size_kb() - start_kb < MOST_KB


@pytest.mark.feature("netns")
@pytest.mark.timeout(3600)
def test_runs_that_are_killed_at_any_moment_leave_nothing_and_a_record_that_can_be_read(long: bool) -> None:
    argv = [sys.executable, str(Path(__file__).with_name("soaking.py")), "--runs", "200" if long else "7"]
    done = subprocess.run(argv, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.ability("clean-up", "a process that opens networks again and again does not grow")
@pytest.mark.feature("netns")
@each_switching
def test_a_process_that_opens_networks_again_and_again_does_not_grow(substrate: str, long: bool) -> None:
    def turn() -> None:
        with opened(substrate, line(SHAPED)) as network:
            network.host("h1").run(["true"])
            network.counters()

    passes(lambda: does_not_grow(turn, 5, 200 if long else 10))


@pytest.mark.ability("clean-up", "a process that opens networks again and again does not grow", on="twin")
def test_a_process_that_runs_in_the_twin_again_and_again_does_not_grow(tmp_path: Path, long: bool) -> None:
    experiment = load(write(tmp_path, HELLO), [])

    def turn() -> None:
        folder = perform(experiment, named("twin"), tmp_path / "runs", Quiet())
        assert (folder / "invocations.csv").exists()

    does_not_grow(turn, 10, 100 if long else 10)
