"""A link's shape can be changed, and the link be cut and mended, while packets are on it: whoever shapes it.

What a shape does as such is in test_shaping_conformance.py.
"""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import pytest
from abilities import Measured
from in_arena import each_carrier, passes

from shaping_traffic import (  # isort: skip  # a helper in this folder, as in_arena is
    BACK, CLOCKS_S, FRAME, LATE_S, LINK, THEIR_OWN, THERE, Flow, best_of_five, each_full, each_rate, shape, shaped,
    since, warmed,
)  # fmt: skip

pytestmark = pytest.mark.alone


@pytest.mark.ability("links", "a changed delay holds at once and loses nothing")
@each_carrier
@each_full
def test_a_changed_delay_holds_at_once_and_loses_nothing(mechanism: str, carrier: str, measured: Measured) -> None:
    def attempt(network: Any) -> str:
        with Flow(warmed(network), "h1", "h2") as flow:
            changes = []
            for milliseconds in (5, 30, 10):
                network.shape(THERE, shape(delay=f"{milliseconds}ms"))
                changes.append((flow.sent, milliseconds / 1e3))
                flow.send(80, 0.003)
            flow.collect(5.0, until=240)
            assert sorted(flow.numbers) == list(range(240))
            if mechanism == "relay":
                assert flow.numbers == sorted(flow.numbers)
            late = []
            for first, delay in changes:
                took = [each.took for each in flow.arrivals if first <= each.number < first + 80]
                assert min(took) >= delay - CLOCKS_S
                late.append(median(took) - delay)
                measured("after a change of delay, how late: median of 80", "ms", late[-1] * 1e3)
            return "" if max(late) <= LATE_S else f"late by {late}"

    def work() -> None:
        with shaped(mechanism, shape(delay="5ms"), shape(), carrier) as network:
            best_of_five(lambda: attempt(network))

    passes(work)


@pytest.mark.ability("links", "a changed rate holds for what waits already")
@each_carrier
@each_rate
def test_a_changed_rate_holds_for_what_waits(mechanism: str, carrier: str) -> None:
    slow, fast = shape(rate="400kbit", queue="100p"), shape(rate="100Mbit", queue="100p")

    def attempt(network: Any) -> str:
        network.shape(THERE, slow)
        with Flow(network, "h1", "h2", FRAME) as flow:
            flow.send(30)  # 0.9 s at the slow rate
            flow.collect(0.1)
            before, changed = len(flow.arrivals), time.time()
            network.shape(THERE, fast)
            flow.collect(5.0, until=30)
            assert flow.numbers == list(range(30))
            first, last = flow.arrivals[0], flow.arrivals[-1]
            if before >= 10:
                return f"{before} came within {changed - first.sent:.3f} s"
            return "" if last.received < changed + 0.4 else f"the last came {last.received - changed:.3f} s later"

    def work() -> None:
        with shaped(mechanism, slow, shape(), carrier) as network:
            warmed(network)
            best_of_five(lambda: attempt(network))

    passes(work)


@pytest.mark.ability("links", "a cut link carries nothing, and a mended one has its shape again")
@each_carrier
@each_rate
def test_a_cut_link_carries_nothing_and_a_mended_one_its_shape_again(mechanism: str, carrier: str) -> None:
    def work() -> None:
        with shaped(mechanism, shape(rate="50Mbit"), shape(rate="50Mbit"), carrier) as network:
            warmed(network)
            for sender, receiver, end in (("h1", "h2", THERE), ("h2", "h1", BACK)):
                with Flow(network, sender, receiver) as flow:
                    flow.send(5)
                    flow.collect(5.0, until=5)
                    before = network.counters()
                    network.connect(LINK, False)
                    flow.send(5)
                    flow.settle(0.1)
                    assert flow.numbers == list(range(5))
                    assert 5 <= since(before, network, end).dropped_down <= 5 + THEIR_OWN
                    network.connect(LINK, True)
                    flow.send(5)
                    flow.collect(5.0, until=10)
                    assert flow.numbers == [*range(5), *range(10, 15)]

    passes(work)
