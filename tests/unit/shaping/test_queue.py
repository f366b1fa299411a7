"""The queue model, with a clock that the test moves by hand."""

from __future__ import annotations

from math import inf
from random import Random

import pytest
from queue_rig import FRAME, delivered, direction

from testbed.shaping.queue import Direction, Treatment


def test_a_plain_direction_delivers_at_once() -> None:
    way = direction()
    way.take(3.0, 1, FRAME)
    assert way.due(3.0) == [(3.0, 1)]


def test_nothing_is_due_before_its_time() -> None:
    way = direction(delay=0.010)
    way.take(1.0, 1, FRAME)
    assert way.due(1.009999) == []
    assert way.next_due == pytest.approx(1.010)
    assert not way.finished
    assert [packet for _, packet in way.due(1.010001)] == [1]
    assert way.finished
    assert way.next_due == inf


def test_a_rate_serialises_one_packet_after_the_other_and_the_delay_follows() -> None:
    way = direction(rate=10e6, delay=0.005)
    for number in range(3):
        way.take(0.0, number, FRAME)
    assert [due for due, _ in delivered(way)] == pytest.approx([0.006, 0.007, 0.008])


def test_an_idle_link_does_not_save_up_rate() -> None:
    way = direction(rate=10e6)
    way.take(0.0, 1, FRAME)
    way.take(5.0, 2, FRAME)
    way.take(5.0, 3, FRAME)
    assert [due for due, _ in delivered(way)] == pytest.approx([0.001, 5.001, 5.002])


@pytest.mark.parametrize(
    ("queue", "passing"),
    [
        ({"queue_packets": 1}, [0, 1]),
        ({"queue_packets": 3}, [0, 1, 2, 3]),
        ({"queue_packets": None, "queue_bytes": 2 * FRAME}, [0, 1, 2]),
        ({"queue_packets": None, "queue_bytes": 3 * FRAME - 1}, [0, 1, 2]),
        ({"queue_packets": None, "queue_bytes": None}, list(range(10))),
    ],
)
def test_the_tail_is_dropped_beyond_the_limit_and_the_packet_in_service_does_not_count(
    queue: dict[str, int | None], passing: list[int]
) -> None:
    way = direction(rate=10e6, **queue)
    for number in range(10):
        way.take(0.0, number, FRAME)
    assert [packet for _, packet in delivered(way)] == passing
    assert way.dropped_queue == 10 - len(passing)


def test_room_in_the_queue_comes_back_as_packets_enter_service() -> None:
    way = direction(rate=10e6, queue_packets=1)
    for number, now in enumerate([0.0, 0.0, 0.0, 0.0011, 0.0012]):
        way.take(now, number, FRAME)
    assert [packet for _, packet in delivered(way)] == [0, 1, 3]


def test_the_queue_limit_does_not_count_what_is_under_way() -> None:
    way = direction(rate=10e6, delay=1.0, queue_packets=1)
    for number in range(50):
        way.take(number * 0.001, number, FRAME)
    assert way.dropped_queue == 0


@pytest.mark.parametrize("distribution", ["normal", "uniform", "pareto"])
def test_jitter_has_the_spread_that_was_asked_for(distribution: str) -> None:
    way = direction(delay=0.1, jitter=0.01, distribution=distribution)
    extra = []
    for number in range(20_000):
        way.take(number, number, FRAME)
        extra.append(way.due(inf)[0][0] - number - 0.1)
    mean = sum(extra) / len(extra)
    deviation = (sum((each - mean) ** 2 for each in extra) / len(extra)) ** 0.5
    assert mean == pytest.approx(0, abs=4e-4)
    if distribution == "uniform":  # the half width is asked for
        assert max(map(abs, extra)) <= 0.01
        assert deviation == pytest.approx(0.01 / 3**0.5, rel=0.03)
    else:  # a Pareto sample's deviation converges slowly
        assert deviation == pytest.approx(0.01, rel=0.03 if distribution == "normal" else 0.25)


def test_jitter_never_makes_a_packet_arrive_before_it_left() -> None:
    way = direction(delay=0.001, jitter=0.1)
    for number in range(1000):
        way.take(number, number, FRAME)
        assert way.due(inf)[0][0] >= number


def test_jitter_alone_keeps_the_order() -> None:
    way = direction(delay=0.1, jitter=0.05)
    for number in range(1000):
        way.take(number * 0.001, number, FRAME)
    out = delivered(way)
    assert [packet for _, packet in out] == list(range(1000))
    assert [due for due, _ in out] == sorted(due for due, _ in out)


def test_reordered_packets_skip_the_delay_and_overtake() -> None:
    way = direction(delay=0.05, reorder=0.25)
    for number in range(4000):
        way.take(number * 0.001, number, FRAME)
    early = [packet for due, packet in delivered(way) if due == pytest.approx(packet * 0.001)]
    assert 890 <= len(early) <= 1110  # binomial: 1000 +- 4 standard deviations
    way = direction(delay=0.05, reorder=1.0)
    way.take(0.0, 1, FRAME)
    assert way.due(0.0) == [(0.0, 1)]


@pytest.mark.parametrize(("key", "counter"), [("loss", "dropped_loss"), ("duplicate", "packets")])
def test_shares_are_those_asked_for(key: str, counter: str) -> None:
    way = direction(**{key: 0.1})
    for number in range(10_000):
        way.take(0.0, number, FRAME)
    out = delivered(way)
    changed = way.dropped_loss if counter == "dropped_loss" else len(out) - 10_000
    assert 880 <= changed <= 1120  # binomial: 1000 +- 4 standard deviations
    assert way.packets + way.dropped_loss == (10_000 if key == "loss" else len(out))


def test_a_corrupt_packet_is_what_the_given_function_makes_of_it_or_lost() -> None:
    shape = Treatment(corrupt=1.0)
    flipped: Direction[bytes] = Direction(shape, Random(1), lambda packet, _: packet + b"!")
    flipped.take(0.0, b"a", 1)
    assert flipped.due(0.0) == [(0.0, b"a!")]
    lost: Direction[bytes] = Direction(shape, Random(1), lambda packet, _: None)
    lost.take(0.0, b"a", 1)
    assert lost.finished
    assert lost.dropped_loss == 1


def test_a_slower_rate_holds_for_what_waits_and_not_for_what_is_in_service() -> None:
    way = direction(rate=10e6)
    for number in range(3):
        way.take(0.0, number, FRAME)
    way.reshape(0.0005, Treatment(rate=1e6))
    assert [due for due, _ in delivered(way)] == pytest.approx([0.001, 0.011, 0.021])


def test_taking_the_rate_away_empties_the_queue() -> None:
    way = direction(rate=1e6)
    for number in range(3):
        way.take(0.0, number, FRAME)
    way.reshape(0.005, Treatment())
    assert [due for due, _ in delivered(way)] == pytest.approx([0.010, 0.010, 0.010])


def test_a_shorter_delay_does_not_let_later_packets_overtake() -> None:
    way = direction(delay=0.050)
    way.take(0.0, 1, FRAME)
    way.reshape(0.010, Treatment(delay=0.001))
    way.take(0.011, 2, FRAME)
    way.take(0.060, 3, FRAME)
    assert delivered(way) == [(pytest.approx(0.050), 1), (pytest.approx(0.050), 2), (pytest.approx(0.061), 3)]


def test_a_cut_loses_what_is_under_way_and_what_comes_and_a_mend_starts_afresh() -> None:
    way = direction(rate=10e6, delay=0.01)
    for number in range(3):
        way.take(0.0, number, FRAME)
    way.connect(False)
    way.take(0.001, 3, FRAME)
    assert way.finished
    assert way.next_due == inf
    assert way.dropped_down == 4
    way.connect(True)
    way.take(0.002, 4, FRAME)
    assert delivered(way) == [(pytest.approx(0.013), 4)]


def test_a_buffer_of_many_segments_counts_as_the_packets_it_stands_for() -> None:
    way = direction(rate=10e6, queue_packets=10)
    way.take(0.0, 0, FRAME)
    way.take(0.0, 1, 8 * FRAME, 8)
    way.take(0.0, 2, 3 * FRAME, 3)
    assert [due for due, _ in delivered(way)] == pytest.approx([0.001, 0.009])
    assert (way.packets, way.size_bytes, way.dropped_queue) == (9, 9 * FRAME, 3)


def test_a_burst_passes_at_once_and_then_the_rate_holds() -> None:
    way = direction(rate=8e3, burst_bytes=2_000)  # a byte takes a millisecond
    for number in range(4):
        way.take(10.0, number, 1_000)
    assert [(round(due, 6), packet) for due, packet in way.due(99.0)] == [(10.0, 0), (10.0, 1), (11.0, 2), (12.0, 3)]


def test_a_pause_fills_the_bucket_again_but_not_beyond_the_burst() -> None:
    way = direction(rate=8e3, burst_bytes=1_000)
    way.take(0.0, 0, 1_000)
    way.take(0.5, 1, 1_000)  # half a bucket
    way.take(100.0, 2, 1_000)
    way.take(100.0, 3, 1_000)
    assert [round(due, 6) for due, _ in way.due(999.0)] == [0.0, 1.0, 100.0, 101.0]


def test_what_a_burst_lets_pass_takes_no_room_in_the_queue() -> None:
    way = direction(rate=8e3, burst_bytes=2_000, queue_packets=1)
    for number in range(5):
        way.take(0.0, number, 1_000)
    assert (len(way.due(999.0)), way.dropped_queue) == (4, 1)  # two in the bucket, one on the wire, one waiting
