"""Stopping whole trees of processes, and pressing on a host: real processes, no rights needed."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testbed.deploy import freeze, pressure

TREE = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
print(child.pid, flush=True)
time.sleep(60)
"""


def wait_for(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "gone"


@pytest.fixture
def tree() -> Iterator[tuple[int, int]]:
    """A process and its child, which leads a session of its own."""
    parent = subprocess.Popen([sys.executable, "-c", TREE], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    yield parent.pid, child
    os.kill(child, signal.SIGKILL)
    parent.kill()
    parent.communicate()


def test_a_process_and_its_descendants_stop_and_go_on(tree: tuple[int, int]) -> None:
    freeze.stop([tree[0]])
    wait_for(lambda: [state(pid) for pid in tree] == ["T", "T"])
    freeze.go([tree[0]])
    wait_for(lambda: "T" not in [state(pid) for pid in tree])


def test_it_stands_alone_as_a_command(tree: tuple[int, int]) -> None:
    subprocess.run([sys.executable, "-I", "-S", freeze.__file__, "stop", str(tree[0])], check=True)
    wait_for(lambda: [state(pid) for pid in tree] == ["T", "T"])


def test_processes_that_have_ended_are_no_error() -> None:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    freeze.stop([done.pid])
    freeze.go([done.pid])


def pressing(*words: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-I", "-S", pressure.__file__, *map(str, words)])


def test_a_load_takes_processor_time_and_ends_by_itself() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    idle = pressing(0.5, 0, 1, 0)
    assert idle.wait(30) == 0
    between = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    busy = pressing(0.5, 2, 1, 0)
    assert busy.wait(30) == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    assert after - between > 2 * (between - before)


def test_memory_is_really_held() -> None:
    held = pressing(30, 0, 1, 40_000_000)
    try:
        wait_for(lambda: "VmRSS" in (text := Path(f"/proc/{held.pid}/status").read_text())
                 and int(text.split("VmRSS:")[1].split()[0]) > 40_000)  # fmt: skip
    finally:
        held.kill()
        held.wait()


def test_busy_processes_end_with_the_first() -> None:
    first = pressing(60, 2, 0.5, 0)
    children = Path(f"/proc/{first.pid}/task/{first.pid}/children")
    wait_for(lambda: len(children.read_text().split()) == 2)
    busy = [int(pid) for pid in children.read_text().split()]
    first.kill()
    first.wait()
    wait_for(lambda: [state(pid) for pid in busy] == ["gone", "gone"])
