"""Putting the calendars of agents wrong: the file that they have mapped, and agents that read it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from echo_agents import PATIENCE_S, prepared, state, until

from testbed.deploy import skew
from testbed.deploy.forks import ForkServer

NEAR_S = 5.0  # far less than what calendars are put wrong by here
SLEW_S = 0.001  # what the machine's own two clocks may differ by meanwhile


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / skew.NAME).write_text(skew.BLANK)
    return tmp_path / skew.NAME


def ahead(calendar: skew.Calendar) -> float:
    return calendar() - time.time()


def test_a_calendar_is_the_machine_s_own_until_it_is_put_wrong(file: Path) -> None:
    calendar = skew.Calendar(file)
    assert abs(ahead(calendar)) < NEAR_S
    skew.put([str(file)], 3600.0, 0.0)
    assert abs(ahead(calendar) - 3600) < NEAR_S
    assert abs(ahead(skew.Calendar(file)) - 3600) < NEAR_S  # also for who comes later
    skew.put([str(file)], -100.0, 0.0)
    assert abs(ahead(calendar) + 100) < NEAR_S
    skew.put([str(file)], 0.0, 0.0)
    assert abs(ahead(calendar)) < NEAR_S


def test_what_a_calendar_gains_counts_from_the_moment_when_it_is_put_wrong(file: Path) -> None:
    calendar, before = skew.Calendar(file), time.monotonic()
    skew.put([str(file)], 50.0, 0.5)
    after = time.monotonic()
    while (now := time.monotonic()) < after + 0.2:
        pass
    earliest, found, latest = time.time(), calendar(), time.time()
    assert found - earliest >= 50 + 0.5 * (now - after) - SLEW_S
    assert found - latest <= 50 + 0.5 * (time.monotonic() - before) + SLEW_S


def test_it_stands_alone_as_a_command(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text(skew.BLANK)
    argv = [sys.executable, "-I", "-S", skew.__file__, "-3600.0", "0.0", str(file), str(other)]
    subprocess.run(argv, check=True)
    assert all(abs(ahead(skew.Calendar(each)) + 3600) < NEAR_S for each in (file, other))


def test_no_file_means_the_machine_s_own_calendar(tmp_path: Path) -> None:
    assert skew.calendar_of(tmp_path) is time.time


def read(folder: Path, port: int) -> float:
    """Have the agent note what its calendar says; how far that is ahead of ours."""
    calls, before = folder / "calls.csv", count(folder)
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as connection:
        connection.sendall(b"echo\n" + json.dumps({"text": "x"}).encode() + b"\n")
        connection.makefile().readline()
    until(lambda: count(folder) > before)
    return float(calls.read_text().splitlines()[-1].split(",")[1]) - time.time()


def count(folder: Path) -> int:
    calls = folder / "calls.csv"
    return calls.read_text().count("\n") if calls.exists() else 1


def test_an_agent_reads_a_wrong_calendar_at_once_and_one_in_its_place_does_too(
    forks: ForkServer, tmp_path: Path, free_port: int
) -> None:
    folder = prepared(tmp_path / "server", "server", {"port": free_port})
    (folder / skew.NAME).write_text(skew.BLANK)
    agent = forks.start(folder)
    until(lambda: state(folder) == "ready")
    assert abs(read(folder, free_port)) < NEAR_S
    skew.put([str(folder / skew.NAME)], 3600.0, 0.0)
    assert abs(read(folder, free_port) - 3600) < NEAR_S
    agent.signal(signal.SIGKILL)
    until(lambda: agent.poll() is not None)
    (folder / "status.json").unlink()
    forks.start(folder)
    until(lambda: state(folder) == "ready")
    assert abs(read(folder, free_port) - 3600) < NEAR_S
    skew.put([str(folder / skew.NAME)], 0.0, 0.0)
    assert abs(read(folder, free_port)) < NEAR_S
