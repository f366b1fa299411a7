"""The network of the twin: paths, shapes and cuts at their moment, counters, and draws that stay where they are."""

from __future__ import annotations

import pytest
from models import FREE, THERE, Talk, alive, chain, shape

from testbed.errors import UsageError
from testbed.substrate.base import Network
from testbed.topology.load import parse
from testbed.topology.model import End, Topology


def test_it_is_a_network_like_the_others_without_machines() -> None:
    loop, network = alive(chain("delay: 5ms", ""))
    same: Network = network
    assert same.mechanisms == {"l1": "model", "l2": "model"}
    assert same.lateness() is None
    same.check()
    loop.run_until(3.0)
    assert same.now() == 3.0
    with pytest.raises(UsageError, match="no machine"):
        same.host("a")
    with pytest.raises(KeyError):
        same.connect("l9", False)
    with pytest.raises(KeyError):
        same.shape(End("l9", "a"), shape())


@pytest.mark.ability("links", "delays add up across a switch", on="twin")
def test_the_delay_of_a_path_is_the_sum_of_its_directions() -> None:
    _, network = alive(chain("delay: 5ms", "delay: 7ms"))
    assert network.delay("a", "b") == pytest.approx(0.012)
    network.shape(THERE, shape(delay="1ms"))
    assert network.delay("a", "b") == pytest.approx(0.008)
    assert network.delay("b", "a") == pytest.approx(0.012)


@pytest.mark.parametrize("limit", ["", ", rate: 1Gbit"])
def test_a_shape_acts_on_what_comes_from_its_moment_on(limit: str) -> None:
    loop, network = alive(chain(f"delay: 10ms{limit}"))
    talk = Talk(loop, network)
    talk.at(0.995, 10)
    loop.at(1.0, network.shape, THERE, shape(delay="200ms", **({"rate": "1Gbit"} if limit else {})))
    talk.at(1.0, 10)
    loop.run_until(5.0)
    assert [when for when, _ in talk.seen] == pytest.approx([1.005, 1.2], abs=1e-5)


def test_what_waits_for_the_rate_follows_a_change_of_the_rate() -> None:
    loop, network = alive(chain("rate: 80kbit"))
    talk, other = Talk(loop, network), Talk(loop, network)
    talk.send(1000)
    other.send(1000)
    loop.at(0.05, network.shape, THERE, shape(rate="8Mbit"))
    loop.run_until(5.0)
    assert talk.seen[0][0] == pytest.approx(0.1067, abs=1e-3)  # it was being serialised
    assert other.seen[0][0] == pytest.approx(0.1077, abs=1e-3)


@pytest.mark.parametrize("limit", ["", ", rate: 1Gbit"])
@pytest.mark.parametrize("options", [None, FREE])
def test_a_cut_loses_what_is_under_way_on_the_link_and_nothing_else(limit: str, options: None) -> None:
    loop, network = alive(chain("delay: 100ms", f"delay: 100ms{limit}"), options)
    early, middle, late = Talk(loop, network), Talk(loop, network), Talk(loop, network)
    early.at(0.0, 10)  # on the second link until 0.2
    middle.at(0.1, 10)  # there from 0.2 to 0.3
    late.at(0.2, 10)  # comes there at 0.3, when it is mended
    loop.at(0.22, network.connect, "l2", False)
    loop.at(0.24, network.connect, "l2", True)
    loop.run_until(60.0)
    assert [talk.seen[0][0] for talk in (early, late)] == pytest.approx([0.2, 0.4], abs=1e-5)
    assert middle.seen[0][0] > 1.0
    assert network.counters()[End("l2", "r1")].dropped_down == (0 if options else 1)


def test_whatever_reaches_or_leaves_a_machine_that_is_down_vanishes() -> None:
    loop, network = alive(chain("delay: 10ms", "delay: 10ms"))
    talk = Talk(loop, network)
    loop.at(1.0, network.down, "r1", True)
    talk.at(1.0, 10, "to")
    talk.at(1.0, 10, "from", "b")
    loop.run_until(1.5)
    assert talk.seen == []
    loop.at(2.0, network.connect, "l1", False)
    loop.at(3.0, network.down, "r1", False)
    loop.run_until(60.0)
    assert talk.seen == []  # one of its links is still cut
    network.connect("l1", True)
    loop.run_until(400.0)
    assert sorted(name for _, name in talk.seen) == ["from", "to"]


@pytest.mark.ability("networks", "every packet on a link is counted, for each direction", on="twin")
def test_counters_tell_packets_bytes_and_drops_of_each_direction() -> None:
    loop, network = alive(chain("rate: 1Mbit, queue: 1p"))
    talks = [Talk(loop, network) for _ in range(3)]
    for talk in talks:
        talk.send(1000)
    loop.run_until(0.1)
    counted = network.counters()[THERE]
    assert (counted.packets, counted.size_bytes, counted.dropped_queue) == (2, 2133, 1)
    assert network.counters()[End("l1", "b")].packets == 2  # acknowledgements


def test_free_messages_leave_no_trace_in_the_counters() -> None:
    loop, network = alive(chain("rate: 1Mbit, loss: 50%, delay: 1ms"), FREE)
    talk = Talk(loop, network)
    talk.open()
    for _ in range(50):
        talk.send(10**6)
    loop.run_until(1.0)
    assert [when for when, _ in talk.seen] == [0.001] * 50
    assert network.counters()[THERE].packets == network.counters()[THERE].dropped_loss == 0


def lossy(*, more: str = "", links: str = "") -> Topology:
    return parse(f"name: t\nnodes: {{{more}a: {{}}, b: {{}}}}\nlinks:\n{links}"
                 "  - {ends: [a, b], name: l1, loss: 20%, delay: 5ms, jitter: 2ms}\n", "t.yaml")  # fmt: skip


def arrivals(topology: Topology, seed: int, noise: str = "") -> list[tuple[float, str]]:
    loop, network = alive(topology, seed=seed)
    talk = Talk(loop, network)
    for number in range(50):
        talk.at(number * 0.1, 3000, str(number))
    if noise:
        other = network.connection(noise, "a", lambda: True)
        for number in range(50):
            loop.at(number * 0.07, other.send, noise, 5000, lambda: None)
    loop.run_until(1000.0)
    return talk.seen


def test_equal_seeds_give_equal_histories_whatever_else_is_in_the_network() -> None:
    alone = arrivals(lossy(), 1)
    assert len(alone) == 50
    assert arrivals(lossy(), 1) == alone
    assert arrivals(lossy(), 2) != alone
    more = lossy(more="z: {}, ", links="  - {ends: [z, a], loss: 10%, jitter: 1ms, delay: 3ms}\n")
    assert arrivals(more, 1, noise="z") == alone


def test_a_thousand_nodes_are_built_and_reached() -> None:
    topology = parse("name: star\ngenerate: [{family: star, hosts: 1000}]\n", "star.yaml")
    loop, network = alive(topology)
    hosts = [node.name for node in topology.of_kind("host")]
    seen: list[str] = []
    for host in hosts[1:]:
        network.connection(host, hosts[0], lambda: True).send(host, 100, seen.append, host)
    loop.run_until(1.0)
    assert sorted(seen) == sorted(hosts[1:])
