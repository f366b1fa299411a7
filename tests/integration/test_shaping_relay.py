"""The relay when it goes wrong: it dies, or it gets more than it can carry."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import psutil
import pytest
from in_arena import passes

from testbed.errors import ShapeNotInForce

from shaping_traffic import THERE, Flow, best_of_five, shape, shaped, since, warmed  # isort: skip  # a helper in this folder

pytestmark = pytest.mark.alone


def test_the_reason_is_told_when_a_relay_process_dies() -> None:
    def work() -> None:
        with shaped("relay", shape(delay="1ms")) as network:
            network.check()
            (worker,) = [each for each in psutil.Process().children() if "testbed.shaping.worker" in each.cmdline()]
            os.kill(worker.pid, signal.SIGKILL)
            deadline = time.monotonic() + 5
            while worker.status() != psutil.STATUS_ZOMBIE:
                assert time.monotonic() < deadline, worker.status()
            for action in (network.check, network.counters, lambda: network.shape(THERE, shape(delay="2ms"))):
                with pytest.raises(ShapeNotInForce, match=r"relay process .*exit status: -9"):
                    action()

    passes(work)


def test_what_an_overdriven_relay_could_not_read_is_counted_and_what_it_sent_late_is_told() -> None:
    def attempt(network: Any, worker: psutil.Process) -> str:
        before = network.counters()
        network.lateness()
        with Flow(network, "h1", "h2") as flow:
            worker.suspend()
            flow.send(16_000)  # more than the socket holds
            flow.collect(0.15)
            worker.resume()
            deadline, counted = time.monotonic() + 10, since(before, network, THERE)
            while counted.packets + counted.dropped_relay < 16_000:
                assert time.monotonic() < deadline, counted
                flow.collect(0.1)
                counted = since(before, network, THERE)
        late = network.lateness()
        assert counted.dropped_relay > 2000
        assert late is not None
        assert late.max_s >= late.p99_s >= late.p50_s
        return "" if late.p50_s > 0.1 else f"{late}: packets that wait for more than 1 s are not taken for late"

    def work() -> None:
        with shaped("relay", shape(delay="1ms"), shape()) as network:
            warmed(network)
            (worker,) = [each for each in psutil.Process().children() if "testbed.shaping.worker" in each.cmdline()]
            best_of_five(lambda: attempt(network, worker))

    passes(work)
