"""Bulk transfers share links and disks fairly and end when arithmetic says so."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from models import BACK, IDEAL, THERE, Talk, alive, chain, shape

from testbed.topology.load import parse
from testbed.twin.fluid import Disk, Fluid, Resource, TransferFailed
from testbed.twin.loop import VirtualLoop
from testbed.twin.network import TwinNetwork
from testbed.twin.options import TwinOptions

MB = 10**6
exactly = {"rel": 1e-9}


def start(loop: VirtualLoop, network: TwinNetwork, when: float, size: int, disks: Sequence[Disk] = (),
          goal: str = "b", patience: float = 1e9) -> list[object]:  # fmt: skip
    """Transfer from a at that time; the list holds when it ended, or how it failed and when."""
    ended: list[object] = []

    async def transfer() -> None:
        await loop.sleep(when)
        try:
            await network.transfer("a", goal, size, disks, patience)
            ended.append(loop.now)
        except TransferFailed:
            ended.extend(["failed", loop.now])

    loop.create_task(transfer())
    return ended


def test_one_transfer_has_the_whole_link() -> None:
    loop, network = alive(chain("rate: 100Mbit"), IDEAL)
    ended = start(loop, network, 0.0, 100 * MB)
    loop.run_until(100.0)
    assert ended == [pytest.approx(8.0, **exactly)]


def test_two_transfers_share_it_while_both_go_on() -> None:
    loop, network = alive(chain("rate: 100Mbit"), IDEAL)
    first, second = start(loop, network, 0.0, 100 * MB), start(loop, network, 4.0, 100 * MB)
    loop.run_until(100.0)
    assert (first, second) == ([pytest.approx(12.0, **exactly)], [pytest.approx(16.0, **exactly)])


def test_two_copies_from_one_disk_share_the_disk() -> None:
    text = """
        name: v
        nodes: {a: {}, b: {}, c: {}}
        links: [{ends: [a, b], rate: 1Gbit}, {ends: [a, c], rate: 1Gbit}]
        """
    loop, network = alive(parse(text, "v.yaml"), IDEAL)
    disk = network.disk(100e6)
    both = [start(loop, network, 0.0, 100 * MB, [disk], goal) for goal in "bc"]
    loop.run_until(100.0)
    assert both == [[pytest.approx(2.0, **exactly)]] * 2


def test_reading_takes_its_share_of_a_disk_and_copies_within_a_node_need_no_link() -> None:
    loop, network = alive(chain("rate: 1Mbit"), IDEAL)
    disk, read = network.disk(10e6), list[float]()

    async def reading() -> None:
        await network.read(disk, 10 * MB)
        read.append(loop.now)

    loop.create_task(reading())
    copied = start(loop, network, 0.0, 20 * MB, [disk, network.disk(None)], "a")
    loop.run_until(100.0)
    assert (read, copied) == ([pytest.approx(2.0, **exactly)], [pytest.approx(3.0, **exactly)])


def test_a_transfer_without_any_limit_takes_the_delay_alone() -> None:
    loop, network = alive(chain("delay: 10ms"), IDEAL)
    ended = start(loop, network, 1.0, 10**12)
    loop.run_until(2.0)
    assert ended[0] == pytest.approx(1.010 + 27 * 0.020, abs=0.02)  # and slow start, which is what limits it


def test_headers_take_their_part_and_the_first_byte_comes_after_the_delay_and_the_start_up() -> None:
    loop, network = alive(chain("rate: 100Mbit, delay: 20ms"))
    ended = start(loop, network, 0.0, 100 * MB)
    loop.run_until(100.0)
    pure = 100 * MB / (100e6 / 8 * 0.956) + 0.020
    assert pure + 0.04 < float(str(ended[0])) < pure + 0.2


def test_loss_limits_the_rate_of_a_transfer() -> None:
    loop, network = alive(chain("delay: 10ms, rate: 1Gbit, loss: 1%"), IDEAL)
    ended = start(loop, network, 0.0, 10 * MB)
    loop.run_until(100.0)
    assert ended[0] == pytest.approx(10 * MB / (1.5**0.5 * 1448 / (0.020 * 0.1)), rel=0.02)


def test_a_change_of_the_rate_acts_at_its_moment() -> None:
    loop, network = alive(chain("rate: 100Mbit"), IDEAL)
    ended = start(loop, network, 0.0, 100 * MB)
    loop.at(4.0, network.shape, THERE, shape(rate="50Mbit"))
    loop.run_until(100.0)
    assert ended == [pytest.approx(12.0, **exactly)]


def test_a_cut_stops_a_transfer_and_what_waits_for_its_end_goes_on() -> None:
    loop, network = alive(chain("rate: 100Mbit"), IDEAL)
    ended = start(loop, network, 0.0, 100 * MB)
    loop.at(4.0, network.connect, "l1", False)
    loop.at(9.0, network.connect, "l1", True)
    loop.run_until(100.0)
    assert ended == [pytest.approx(13.0, **exactly)]


@pytest.mark.parametrize(("patience", "fails"), [(0.0, 4.0), (3.0, 7.0)])
def test_a_cut_ends_a_transfer_when_patience_does(patience: float, fails: float) -> None:
    loop, network = alive(chain("rate: 100Mbit"), IDEAL)
    disk = network.disk(20e6)
    ended = start(loop, network, 0.0, 100 * MB, [disk], patience=patience)
    other = start(loop, network, 4.0, 100 * MB, [disk], "a")
    loop.at(4.0, network.connect, "l1", False)
    loop.at(9.0, network.connect, "l1", True)
    loop.run_until(100.0)
    assert ended == ["failed", fails]
    assert other == [pytest.approx(9.0, **exactly)]  # it has the disk alone


@pytest.mark.parametrize("when", [0.0, 0.005, 4.0])
def test_without_patience_a_machine_that_goes_down_ends_it_at_that_moment(when: float) -> None:
    loop, network = alive(chain("rate: 100Mbit, delay: 10ms"))
    ended = start(loop, network, 0.0, 100 * MB, patience=0.0)
    loop.at(when, network.down, "b", True)
    loop.run_until(100.0)
    assert ended == ["failed", when]


def test_a_cancelled_transfer_gives_its_share_back() -> None:
    loop, network = alive(chain("rate: 100Mbit"), IDEAL)
    ended = start(loop, network, 0.0, 100 * MB)
    task = loop.create_task(network.transfer("a", "b", 100 * MB, [], 1.0))
    loop.at(4.0, task.cancel)
    loop.run_until(100.0)
    assert ended == [pytest.approx(10.0, **exactly)]


def test_a_message_on_a_link_with_transfers_gets_one_share_beside_them() -> None:
    loop, network = alive(chain("rate: 1Mbit"), IDEAL)
    start(loop, network, 0.0, MB)
    start(loop, network, 0.0, MB)
    talk = Talk(loop, network)
    talk.at(1.0, 1000)
    talk.at(60.0, 1000)
    loop.run_until(100.0)
    assert [when for when, _ in talk.seen] == pytest.approx([1.024, 60.008])


def test_the_bytes_of_a_transfer_are_counted_while_it_goes_on() -> None:
    loop, network = alive(chain("rate: 8Mbit"))
    start(loop, network, 0.0, 100 * MB)
    loop.run_until(10.0)
    counters = network.counters()
    assert counters[THERE].size_bytes == pytest.approx(10 * MB, rel=0.001)
    assert counters[THERE].packets == pytest.approx(10 * MB * 0.956 / 1448, rel=0.01)
    assert counters[BACK].packets == pytest.approx(counters[THERE].packets / 2, rel=0.01)
    loop.run_until(1000.0)
    assert network.counters()[THERE].size_bytes == pytest.approx(100 * MB / 0.956, rel=1e-6)


systems = st.integers(1, 5).flatmap(
    lambda count: st.tuples(
        st.lists(st.sampled_from([None, 1.0, 3.0, 10.0, 7.5]), min_size=count, max_size=count),
        st.lists(
            st.tuples(st.sets(st.integers(0, count - 1), min_size=1), st.sampled_from([inf, 0.5, 2.0])),
            min_size=1, max_size=8,
        ),
    )
)  # fmt: skip


@given(systems)
def test_shares_are_max_min_fair(system: tuple[list[float | None], list[tuple[set[int], float]]]) -> None:
    capacities, uses = system
    loop = VirtualLoop()
    fluid, resources = Fluid(loop), [Resource(capacity) for capacity in capacities]
    for used, cap in uses:
        loop.create_task(fluid.move("it", 10**9, [resources[number] for number in sorted(used)], cap))
    loop.run_until(0.0)
    flows = list(dict.fromkeys(flow for resource in resources for flow in resource.flows))
    for resource in resources:
        if resource.capacity is not None:
            assert sum(flow.rate for flow in resource.flows) <= resource.capacity + 1e-9
    for flow in flows:
        full = [each for each in flow.resources if each.capacity is not None
                and sum(other.rate for other in each.flows) >= each.capacity - 1e-9]  # fmt: skip
        has_most = any(all(other.rate <= flow.rate + 1e-9 for other in each.flows) for each in full)
        assert flow.rate == flow.cap or has_most


def test_many_transfers_over_separate_links_cost_little_each() -> None:
    """A change looks at the flows that hang together with it, not at all of them."""
    loop = VirtualLoop()
    fluid, visits = Fluid(loop), list[int]()

    class Watched(Resource):
        def shared(self, flows: int) -> None:
            visits.append(flows)

    for number in range(200):
        loop.at(float(number), lambda: loop.create_task(fluid.move("it", 1000, [Watched(1.0)])))
    loop.run_until(10_000.0)
    assert len(visits) < 1000


def test_options_say_what_share_payload_gets() -> None:
    loop, network = alive(chain("rate: 8Mbit"), TwinOptions(tcp_efficiency=0.8))
    ended = start(loop, network, 0.0, 8 * MB)
    loop.run_until(100.0)
    assert ended == [pytest.approx(10.0, **exactly)]
