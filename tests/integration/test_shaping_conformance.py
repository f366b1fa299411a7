"""One suite for all mechanisms: a link does what was asked for, whoever shapes it.

A packet that comes too early is always wrong. One that comes late may be this machine's doing, so upper bounds are wide
and what they bound is a median; where a figure depends on the machine keeping up, the best of five attempts counts.
"""

from __future__ import annotations

import time
from functools import partial
from statistics import median
from typing import Any

import pytest
from abilities import Measured
from in_arena import any_carrier, each_carrier, each_switching, each_user, line, opened, passes

from shaping_traffic import (  # isort: skip  # a helper in this folder, as in_arena is
    BACK, CLOCKS_S, FRAME, LATE_S, OVERHEAD, TCP_MBIT, THEIR_OWN, THERE, Family, Flow, best_of_five, each_family,
    each_full, each_rate, quantile, shape, shaped, since, transfer, warmed,
)  # fmt: skip

pytestmark = pytest.mark.alone


@pytest.mark.ability("links", "every packet takes the delay of its direction")
@each_carrier
@each_full
@each_family
@each_user
def test_every_packet_takes_the_delay_of_its_direction(
    mechanism: str, family: Family, user: str, carrier: str, measured: Measured
) -> None:
    def attempt(network: Any, sender: str, receiver: str, delay_s: float) -> str:
        with Flow(network, sender, receiver, family=family) as flow:
            flow.send(25, 0.002)
            flow.collect(5.0, until=25)
            assert flow.numbers == list(range(25))
            assert min(flow.took) >= delay_s - CLOCKS_S
            late = median(flow.took) - delay_s
            measured("delay of 1 to 50 ms, how late: median of 25", "ms", late * 1e3)
            measured("delay of 1 to 50 ms, how late: worst of 25", "ms", (max(flow.took) - delay_s) * 1e3)
            return "" if late <= LATE_S else f"late by {late} s"

    def work() -> None:
        with shaped(mechanism, shape(delay="1ms"), shape(delay="50ms"), carrier) as network:
            warmed(network, family)
            for forward, backward in ((1, 50), (5, 10), (10, 5), (50, 1)):
                network.shape(THERE, shape(delay=f"{forward}ms"))
                network.shape(BACK, shape(delay=f"{backward}ms"))
                for sender, receiver, milliseconds in (("h1", "h2", forward), ("h2", "h1", backward)):
                    best_of_five(partial(attempt, network, sender, receiver, milliseconds / 1e3))

    passes(work, user)


@pytest.mark.ability("links", "jitter spreads the delay, in three distributions")
@any_carrier
@each_full
@pytest.mark.parametrize("distribution", ["normal", "uniform", "pareto"])
def test_jitter_spreads_the_delay(mechanism: str, distribution: str, carrier: str, measured: Measured) -> None:
    spread = {"normal": 1.349, "uniform": 1.0, "pareto": 0.565}[distribution]  # between the quartiles, in jitters

    def work() -> None:
        asked = shape(delay="40ms", jitter="4ms", distribution=distribution)
        with shaped(mechanism, asked, shape(), carrier) as network:
            warmed(network)

            def attempt() -> str:
                with Flow(network, "h1", "h2") as flow:
                    flow.send(100, 0.016)  # far enough apart that keeping the order changes nothing
                    flow.collect(5.0, until=100)
                    if mechanism == "relay":  # netem reorders under jitter; a link of ours is then not given to it
                        assert flow.numbers == sorted(flow.numbers)
                    between = (quantile(flow.took, 0.75) - quantile(flow.took, 0.25)) / (spread * 0.004)
                    middle = median(flow.took)
                    measured(f"jitter of 4 ms, {distribution}: spread found / asked", "", between)
                    fits = 0.6 <= between <= 1.5 and abs(middle - 0.040) <= 0.003 + LATE_S
                    return "" if fits else f"median {middle:.4f} s, {between:.2f} times the spread asked for"

            best_of_five(attempt)

    passes(work)


@pytest.mark.ability("links", "loss lies within the binomial 99 % interval")
@each_carrier
@each_full
@pytest.mark.parametrize(("share", "least", "most"), [("1%", 32, 68), ("10%", 446, 554)])
def test_loss_lies_within_the_binomial_99_percent_interval(
    mechanism: str, share: str, least: int, most: int, carrier: str, measured: Measured
) -> None:
    def work() -> None:
        with shaped(mechanism, shape(loss=share), shape(), carrier) as network:
            before = warmed(network).counters()
            with Flow(network, "h1", "h2") as flow:
                flow.send(5000, 0.0001)
                flow.settle()
                counted = since(before, network, THERE)
                lost = 5000 - len(flow.arrivals) - counted.dropped_relay
                measured(f"loss of {share.replace('%', ' %')}: lost of 5,000", "%", lost / 50)
                assert least <= lost <= most
                if mechanism == "relay":
                    told = counted.dropped_loss + counted.dropped_relay + len(flow.arrivals)
                    assert 5000 <= told <= 5000 + THEIR_OWN

    passes(work)


@pytest.mark.ability("links", "a rate is exact within 3 % for full frames")
@any_carrier
@each_rate
@pytest.mark.parametrize(("megabits", "frames"), [(1, 30), (10, 150), (100, 1200)])
@each_family
def test_a_rate_is_exact_for_full_frames(
    mechanism: str, megabits: int, frames: int, family: Family, carrier: str, measured: Measured
) -> None:
    def work() -> None:
        with shaped(mechanism, shape(rate=f"{megabits}Mbit", queue="2000p"), shape(), carrier) as network:
            warmed(network, family)

            def attempt() -> str:
                with Flow(network, "h1", "h2", FRAME, family) as flow:
                    flow.send(frames)  # far faster than the link takes them, so that its queue is never empty
                    flow.collect(5.0, until=frames)
                    if flow.numbers != list(range(frames)):
                        return f"{len(flow.numbers)} of {frames} came"
                    steady = flow.arrivals[frames // 10 :]  # a token bucket starts with a gift
                    span = steady[-1].received - steady[0].received
                    found = (len(steady) - 1) * FRAME * 8 / span / 1e6
                    measured(f"rate of {megabits} Mbit/s, full frames: error", "%", (found / megabits - 1) * 100)
                    return "" if abs(found / megabits - 1) <= 0.03 else f"{found:.3f} of {megabits} Mbit/s"

            best_of_five(attempt)

    passes(work)


@pytest.mark.ability("links", "a rate holds for TCP with segmentation offload")
@each_carrier
@each_rate
@each_family
def test_a_rate_holds_for_segmentation_offload_traffic(
    mechanism: str, family: Family, carrier: str, measured: Measured
) -> None:
    def work() -> None:
        with shaped(mechanism, shape(rate=f"{TCP_MBIT}Mbit", queue="200p"), shape(), carrier) as network:
            warmed(network, family)
            payload = 1514 - OVERHEAD[family] - 24  # TCP has 12 bytes of header more than UDP, and 12 of options

            def attempt() -> str:
                size = TCP_MBIT * 50_000
                before = network.counters()
                found = size * 8 / transfer(network, "h1", "h2", size, family) / 1e6
                assert since(before, network, THERE).packets >= size / (payload + 1)
                measured(f"rate of {TCP_MBIT} Mbit/s, TCP with segmentation offload: payload", "Mbit/s", found)
                assert found <= TCP_MBIT * 1.03
                return "" if found >= TCP_MBIT * 0.75 else f"{found:.1f} of {TCP_MBIT} Mbit/s"

            best_of_five(attempt)

    passes(work)


@pytest.mark.ability("links", "large buffers cross a link that only delays")
@any_carrier
@each_full
@each_family
def test_large_buffers_cross_a_link_that_only_delays(
    mechanism: str, family: Family, carrier: str, measured: Measured
) -> None:
    def work() -> None:
        with shaped(mechanism, shape(delay="1ms"), carrier=carrier) as network:
            warmed(network, family)
            before = network.counters()
            took = transfer(network, "h1", "h2", 20_000_000, family)
            measured("delay of 1 ms, TCP: payload", "Mbit/s", 160 / took)
            transfer(network, "h2", "h1", 20_000_000, family)
            if mechanism == "relay":  # which counts a buffer as the packets it stands for
                assert since(before, network, THERE).packets >= 20_000_000 / 1460
                assert since(before, network, THERE).size_bytes >= 20_000_000 * 1.03

    passes(work)


@pytest.mark.ability("links", "TCP survives loss, corruption, duplication and reordering")
@any_carrier
@each_full
def test_tcp_survives_loss_corruption_duplication_and_reordering(mechanism: str, carrier: str) -> None:
    def work() -> None:
        bad = shape(delay="1ms", loss="0.5%", corrupt="0.5%", duplicate="1%", reorder="1%")
        with shaped(mechanism, bad, carrier=carrier) as network:
            transfer(warmed(network), "h1", "h2", 500_000)

    passes(work)


@pytest.mark.ability("links", "a full queue drops its tail")
@each_carrier
@each_rate
@pytest.mark.parametrize("queue", ["20p", f"{20 * FRAME}B"])
def test_a_full_queue_drops_its_tail(mechanism: str, queue: str, carrier: str) -> None:
    def work() -> None:
        with shaped(mechanism, shape(rate="10Mbit", queue=queue), shape(), carrier) as network:
            before = warmed(network).counters()
            with Flow(network, "h1", "h2", FRAME) as flow:
                start = time.monotonic()
                flow.send(200)
                served = (time.monotonic() - start) / (FRAME * 8 / 10e6)
                flow.settle()
                assert 20 <= len(flow.arrivals) <= 20 + served + 3  # in service, bucket, and one begun
                assert flow.numbers[:20] == list(range(20))
                missing = 200 - len(flow.arrivals)
                assert missing <= since(before, network, THERE).dropped_queue <= missing + THEIR_OWN

    passes(work)


@pytest.mark.ability("links", "duplication, reordering and corruption have their shares")
@any_carrier
@each_full
def test_duplication_reordering_and_corruption_have_their_shares(
    mechanism: str, carrier: str, measured: Measured
) -> None:
    def work() -> None:
        with shaped(mechanism, shape(duplicate="10%"), shape(), carrier) as network:
            warmed(network)
            with Flow(network, "h1", "h2") as flow:
                flow.send(2000, 0.0002)
                flow.settle()
                assert set(flow.numbers) == set(range(2000))
                measured("duplication of 10 %", "%", (len(flow.arrivals) - 2000) / 20)
                assert 165 <= len(flow.arrivals) - 2000 <= 235  # 99 % of the binomial distribution
            network.shape(THERE, shape(delay="20ms", reorder="10%"))
            with Flow(network, "h1", "h2") as flow:
                flow.send(1000, 0.001)
                flow.collect(5.0, until=1000)
                early = [took for took in flow.took if took < 0.020 - CLOCKS_S]
                assert sorted(flow.numbers) == list(range(1000))
                assert flow.numbers != sorted(flow.numbers)
                measured("reordering of 10 %", "%", len(early) / 10)
                assert 76 <= len(early) <= 124
            network.shape(THERE, shape(corrupt="10%"))
            with Flow(network, "h1", "h2") as flow:
                flow.send(2000, 0.0002)
                flow.settle()
                measured("corruption of 10 %", "%", (2000 - len(flow.arrivals)) / 20)
                assert 1765 <= len(flow.arrivals) <= 1865  # a bit of the sender's hardware address harms nobody

    passes(work)


ACROSS = """
name: across
nodes: {h1: {}, h2: {}, s1: {kind: switch}}
links: [{ends: [h1, s1], delay: 10ms}, {ends: [s1, h2], delay: 10ms}]
"""


@pytest.mark.ability("links", "delays add up across a switch")
@each_switching
def test_delays_add_up_across_a_switch(substrate: str, measured: Measured) -> None:
    def work() -> None:
        with opened(substrate, line(ACROSS)) as network:
            warmed(network)

            def attempt() -> str:
                with Flow(network, "h1", "h2") as flow:
                    flow.send(100, 0.005)
                    flow.collect(5.0, until=100)
                    assert flow.numbers == list(range(100))
                    assert min(flow.took) >= 0.020 - CLOCKS_S
                    late = median(flow.took) - 0.020
                    measured("10 ms on each side of a switch, how late: median of 100", "ms", late * 1e3)
                    return "" if late <= 2 * LATE_S else f"late by {late} s"

            best_of_five(attempt)

    passes(work)
