"""Laws that the queue keeps, whatever the shape and the traffic."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from queue_rig import FRAME, delivered, direction

from testbed.shaping.queue import Direction, Treatment


def test_equal_seeds_give_equal_fates() -> None:
    def fates(seed: int) -> list[tuple[float, int]]:
        way = direction(seed, loss=0.2, duplicate=0.1, reorder=0.1, jitter=0.01, delay=0.05, rate=10e6)
        for number in range(300):
            way.take(number * 0.001, number, FRAME)
        return delivered(way)

    assert fates(7) == fates(7)
    assert fates(7) != fates(8)


SHAPES = st.builds(
    Treatment,
    delay=st.floats(0, 0.1), jitter=st.floats(0, 0.05), distribution=st.sampled_from(["normal", "uniform", "pareto"]),
    loss=st.sampled_from([0.0, 0.1, 1.0]), duplicate=st.sampled_from([0.0, 0.3]), corrupt=st.sampled_from([0.0, 0.2]),
    reorder=st.sampled_from([0.0, 0.3]), rate=st.none() | st.floats(1e3, 1e9),
    queue_packets=st.none() | st.integers(1, 20), queue_bytes=st.none() | st.integers(1, 50_000),
)  # fmt: skip
STEPS = st.lists(
    st.tuples(st.floats(0, 0.05), st.integers(1, 1500) | SHAPES | st.booleans()), max_size=60
)  # pause, then a packet of so many bytes, another shape, or a cut or mend


@given(SHAPES, STEPS, st.integers(0, 2**32))
def test_no_packet_is_ever_unaccounted_for_early_or_late(
    shape: Treatment, steps: list[tuple[float, object]], seed: int
) -> None:
    way: Direction[float] = Direction(shape, Random(seed), lambda packet, _: packet)
    now, offered, out = 0.0, 0, 0
    for pause, step in steps:
        now += pause
        for due, arrived in way.due(now):
            assert arrived <= due <= now
            out += 1
        assert way.next_due > now
        if isinstance(step, Treatment):
            way.reshape(now, step)
        elif isinstance(step, bool):
            way.connect(step)
        elif isinstance(step, int):
            way.take(now, now, step)
            offered += 1
    out += len(way.due(inf))
    assert way.finished
    lost = way.dropped_loss + way.dropped_queue + way.dropped_down
    assert way.packets == out
    assert offered <= out + lost <= 2 * offered  # a packet has at most two copies, and each has one fate


@given(st.floats(1e4, 1e9), st.lists(st.tuples(st.floats(0, 0.01), st.integers(1, 1500)), min_size=1, max_size=60))
def test_a_rate_is_exact_over_every_busy_period(rate: float, arrivals: list[tuple[float, int]]) -> None:
    way: Direction[int] = Direction(Treatment(rate=rate, queue_packets=None), Random(1))
    now = free_at = 0.0
    expected = []
    for pause, size in arrivals:
        now += pause
        way.take(now, size, size)
        free_at = max(now, free_at) + size * 8 / rate
        expected.append(free_at)
    assert [due for due, _ in delivered(way)] == pytest.approx(expected)


@given(SHAPES.map(lambda shape: replace(shape, reorder=0.0)), st.lists(st.floats(0, 0.02), max_size=60), st.integers())
def test_order_is_kept_unless_reordering_is_asked_for(shape: Treatment, pauses: list[float], seed: int) -> None:
    way: Direction[int] = Direction(shape, Random(seed), lambda packet, _: packet)
    now = 0.0
    for number, pause in enumerate(pauses):
        now += pause
        way.take(now, number, 100)
    packets = [packet for _, packet in delivered(way)]
    assert packets == sorted(packets)
