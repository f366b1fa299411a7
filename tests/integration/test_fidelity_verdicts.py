"""Runs that are disturbed on purpose are flagged, each with the right reason; calm ones are not."""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import watched_run
from in_arena import passes
from watched_run import Told, forks

from testbed.substrate.base import Network

pytestmark = pytest.mark.alone
HOGS = 8
CAUSES = {"saturation", "pressure", "steal", "throttled"}
RELAY = {"relay_late_p50", "relay_late_p99", "relay_overload", "own_load"}
LATE = {"send_delay_p50", "send_delay_p99", "agent_lag", "relay_late_p50", "relay_late_p99", "delay_error", "watch_gap"}
QUIET = 0.9  # a machine that was never busier than this has no excuse

# One call sends many packets: the kernel cuts the buffer before the relay sees it (UDP_SEGMENT of linux/udp.h).
FLOOD = """
import socket, sys
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
out.setsockopt(socket.SOL_UDP, 103, 100)
data = bytes(100 * 60)
while True:
    out.sendto(data, (sys.argv[1], 9))
"""


@contextmanager
def hogs(network: Network) -> Iterator[None]:
    """Programs outside the network that want all processors."""
    with ExitStack() as stack:
        for _ in range(HOGS):
            hog = subprocess.Popen([sys.executable, "-I", "-S", "-c", "while True: pass"])
            stack.callback(hog.wait)
            stack.callback(hog.kill)
        yield


@contextmanager
def flood(network: Network) -> Iterator[None]:
    """More packets over the first link than a relay can carry."""
    sender = network.host("c1")
    argv = [sys.executable, "-I", "-S", "-c", FLOOD, network.topology.address("r1")]
    flooding = sender.start(argv, sender.folder / "flood")
    try:
        yield
        assert flooding.poll() is None, sender.get(flooding.folder / "stderr")
    finally:
        flooding.signal(9)
        flooding.wait(10)


def reasons(told: Told) -> set[str]:
    return {reason.check for reason in told.verdict.reasons}


def described(told: Told) -> str:
    return f"{told.verdict.level}: {[reason.what for reason in told.verdict.reasons]} {dict(told.verdict.figures)}"


def repeated(count: int, disturbed: watched_run.Disturbance, look: Callable[[Told], None]) -> None:
    """In an arena: so many runs under ``disturbed``, each shown to ``look``."""

    def work() -> None:
        with tempfile.TemporaryDirectory() as folder, forks(Path(folder)) as server:
            for seed in range(count):
                told = watched_run.run(Path(folder) / str(seed), server, disturbed, seed=seed)
                print(described(told), file=sys.stderr)
                look(told)

    passes(work)


def busiest(told: Told) -> float:
    """The share of the processors in use in the busiest quarter of a second."""
    with (told.folder / "machine.csv").open(newline="") as file:
        return max(float(row["busy"]) for row in csv.DictReader(file))


@pytest.fixture
def runs(long: bool) -> int:
    return 20 if long else 2


@pytest.mark.timeout(900)
def test_every_run_beside_processor_hogs_is_flagged(runs: int) -> None:
    def look(told: Told) -> None:
        assert told.verdict.level != "valid"
        assert reasons(told) & {"saturation", "pressure"}, described(told)

    repeated(runs, hogs, look)


@pytest.mark.timeout(900)
def test_every_run_with_an_overdriven_relay_is_flagged_and_the_relay_is_named(runs: int) -> None:
    def look(told: Told) -> None:
        assert told.verdict.level != "valid"
        assert reasons(told) & RELAY, described(told)

    repeated(runs, flood, look)


@pytest.mark.timeout(900)
def test_a_calm_run_is_valid_unless_others_kept_the_machine_busy(runs: int) -> None:
    """What other users of this machine do to a run is no false alarm; but only lateness may come of it."""

    def look(told: Told) -> None:
        assert {row["status"] for row in told.invocations.rows} <= {"ok", "error", "timeout"}
        if busiest(told) < QUIET:
            assert told.verdict.level == "valid" or reasons(told) <= {"steal"}, described(told)
        else:
            assert reasons(told) <= CAUSES | LATE, described(told)

    repeated(runs, watched_run.calm, look)
