"""One direction of one link in the twin does what the relay's queue does, packet by packet, and to trains as well."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.shaping.queue import Direction, Treatment
from testbed.twin.link import Lane
from testbed.twin.loop import VirtualLoop
from testbed.twin.train import Train

Arrival = tuple[float, int]  # seconds after the packet before, bytes


class Goal:
    """Where trains arrive: notes what came and when."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop, self.seen = loop, list[tuple[float, int]]()

    def arrive(self, train: Train) -> None:
        raise AssertionError("nobody sends trains on from here")

    def take(self, train: Train) -> None:
        assert train.first == self.loop.now <= train.last
        self.seen.append((train.first, train.start))


def routed(train: Train, goal: Goal, *lanes: Lane) -> Train:
    train.stops, train.target = (*lanes, goal), goal
    return train


def packet(lane: Lane, goal: Goal, number: int, size: float, now: float) -> Train:
    return routed(Train(number, number + 1, 1, 1, size, size, now), goal, lane)


def lane_of(loop: VirtualLoop, shape: Treatment, seed: int = 0) -> Lane:
    return Lane(loop, shape, lambda: Random(seed))


treatments = st.builds(
    Treatment,
    delay=st.sampled_from([0.0, 0.01, 0.2]),
    jitter=st.sampled_from([0.0, 0.005]),
    distribution=st.sampled_from(["normal", "uniform", "pareto"]),
    loss=st.sampled_from([0.0, 0.3]),
    reorder=st.sampled_from([0.0, 0.3]),
    rate=st.sampled_from([None, 1e5, 1e6]),
    queue_packets=st.sampled_from([None, 1, 3, 1000]),
    queue_bytes=st.sampled_from([None, 2000]),
    burst_bytes=st.sampled_from([0, 3000]),
)
arrivals = st.lists(st.tuples(st.sampled_from([0.0, 0.001, 0.013, 0.3]), st.integers(40, 1514)), max_size=40)
changes = st.lists(st.tuples(st.floats(0, 0.5), treatments | st.booleans()), max_size=3)


def by_direction(shape: Treatment, packets: list[Arrival], later: list[tuple[float, Treatment | bool]],
                 seed: int) -> tuple[list[tuple[float, int]], tuple[float, ...]]:  # fmt: skip
    """What the relay's model makes of single packets: (due, number) in order, and its counts."""
    direction: Direction[int] = Direction(shape, Random(seed))
    seen: list[tuple[float, int]] = []
    for now, what in script(packets, later):
        seen += direction.due(now)
        match what:
            case Treatment():
                direction.reshape(now, what)
            case bool():
                direction.connect(what)
            case number, size:
                direction.take(now, number, size)
    seen += direction.due(1e9)
    counts = (direction.packets, direction.size_bytes, direction.dropped_queue, direction.dropped_loss,
              direction.dropped_down)  # fmt: skip
    return seen, counts


def script(packets: list[Arrival], later: list[tuple[float, Treatment | bool]]) -> list[tuple[float, object]]:
    """Arrivals and changes in the order of their times; at equal times arrivals come first."""
    now, events = 0.0, list[tuple[float, object]]()
    for number, (gap, size) in enumerate(packets):
        now += gap
        events.append((now, (number, size)))
    return sorted([*events, *later], key=lambda event: event[0])


def by_lane(shape: Treatment, packets: list[Arrival], later: list[tuple[float, Treatment | bool]],
            seed: int) -> tuple[list[tuple[float, int]], tuple[float, ...]]:  # fmt: skip
    loop = VirtualLoop()
    lane, goal = lane_of(loop, shape, seed), Goal(loop)
    for now, what in script(packets, later):
        loop.run_until(now)
        match what:
            case Treatment():
                lane.reshape(now, what)
            case bool():
                lane.connect(now, what)
            case number, size:
                lane.take(packet(lane, goal, number, size, now))
    loop.run_until(1e9)
    counts = (lane.packets, lane.size_bytes, lane.dropped_queue, lane.dropped_loss, lane.dropped_down)
    return goal.seen, counts


@pytest.mark.ability("links", "a changed delay holds at once and loses nothing", on="twin")
@pytest.mark.ability("links", "a changed rate holds for what waits already", on="twin")
@pytest.mark.ability("links", "a cut link carries nothing, and a mended one has its shape again", on="twin")
@pytest.mark.ability("links", "every packet takes the delay of its direction", on="twin")
@pytest.mark.ability("links", "jitter spreads the delay, in three distributions", on="twin")
@pytest.mark.ability("links", "loss lies within the binomial 99 % interval", on="twin")
@pytest.mark.ability("links", "a rate is exact within 3 % for full frames", on="twin")
@pytest.mark.ability("links", "a full queue drops its tail", on="twin")
@given(treatments, arrivals, changes, st.integers(0, 3))
def test_single_packets_fare_as_in_the_relay_under_all_shapes_changes_and_cuts(
    shape: Treatment, packets: list[Arrival], later: list[tuple[float, Treatment | bool]], seed: int
) -> None:
    theirs, their_counts = by_direction(shape, packets, later, seed)
    ours, our_counts = by_lane(shape, packets, later, seed)
    assert [number for _, number in ours] == [number for _, number in theirs]
    assert all(abs(mine - other) < 1e-9 for (mine, _), (other, _) in zip(ours, theirs, strict=True))
    assert our_counts == their_counts


@given(st.integers(1, 30), st.integers(1, 1448), st.sampled_from([1e5, 1e6, 1e7]), st.sampled_from([1e5, 1e6, 1e7]),
       st.sampled_from([5, 1000]))  # fmt: skip
def test_a_train_takes_as_long_over_two_links_as_its_packets_one_by_one(
    count: int, tail: int, first_rate: float, second_rate: float, queue: int
) -> None:
    shapes = [Treatment(delay=0.01, rate=first_rate, queue_packets=1000),
              Treatment(delay=0.02, rate=second_rate, queue_packets=queue)]  # fmt: skip

    def last(trains: list[tuple[int, float]]) -> tuple[float, int, int]:
        loop = VirtualLoop()
        lanes, ends = [lane_of(loop, shape) for shape in shapes], list[float]()

        class End(Goal):
            def take(self, train: Train) -> None:
                ends.append(train.last)

        for packets, size in trains:
            train = Train(0, 1448 * (packets - 1) + 1, packets, 1448, 1448.0, size, 0.0)
            lanes[0].take(routed(train, End(loop), *lanes))
        loop.run_until(1e9)
        return max(ends), lanes[1].packets, lanes[1].dropped_queue

    together = last([(count, float(tail))])
    alone = last([(1, 1448.0)] * (count - 1) + [(1, float(tail))])
    assert together[1] + together[2] == count
    assert abs(together[2] - alone[2]) <= 2  # a train is judged when its first packet comes
    if together[2] == alone[2] == 0:
        assert abs(together[0] - alone[0]) < 1e-9


def test_a_spread_train_leaves_gaps_for_others() -> None:
    loop = VirtualLoop()
    lane, goal = lane_of(loop, Treatment(rate=8e6)), Goal(loop)
    spread = Train(0, 10, 10, 1, 1000.0, 1000.0, 0.0)
    spread.last = 1.0  # ten packets in a second, for a link that passes a thousand
    lane.take(routed(spread, goal, lane))
    loop.at(0.5, lambda: lane.take(packet(lane, goal, 99, 1000.0, 0.5)))
    loop.run_until(2.0)
    assert {number: due for due, number in goal.seen}[99] == 0.501


def test_loss_cuts_a_train_into_the_runs_that_are_left() -> None:
    loop = VirtualLoop()
    lane, pieces = lane_of(loop, Treatment(loss=0.3), seed=7), list[tuple[int, int, int]]()

    class End(Goal):
        def take(self, train: Train) -> None:
            pieces.append((train.start, train.end, train.count))

    train = Train(0, 1000, 100, 10, 10.0, 10.0, 0.0)
    lane.take(routed(train, End(loop), lane))
    loop.run_until(1.0)
    assert sum(count for _, _, count in pieces) + lane.dropped_loss == 100
    assert 10 < lane.dropped_loss < 60
    assert all(end - start == 10 * count for start, end, count in pieces)
    assert all(end < start for (_, end, _), (start, _, _) in pairwise(pieces))


def test_duplicates_and_damaged_packets_are_counted() -> None:
    loop = VirtualLoop()
    lane, goal = lane_of(loop, Treatment(duplicate=1.0)), Goal(loop)
    lane.take(packet(lane, goal, 1, 100.0, 0.0))
    loop.run_until(1.0)
    assert (lane.packets, [number for _, number in goal.seen]) == (2, [1, 1])
    lane.reshape(1.0, Treatment(corrupt=1.0))
    lane.take(packet(lane, goal, 2, 100.0, 1.0))
    loop.run_until(2.0)
    assert (lane.packets, lane.dropped_loss, len(goal.seen)) == (2, 1, 2)
