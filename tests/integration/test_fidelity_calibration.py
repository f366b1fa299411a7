"""Links are measured before the workload, and a network that does not do what was asked is refused."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from in_arena import each_user, passes

from testbed.errors import ShapeNotInForce
from testbed.fidelity.calibrate import calibrate
from testbed.fidelity.probing import Prober, Train
from testbed.substrate.base import Network
from testbed.substrate.netns import NetnsSubstrate
from testbed.topology.load import parse
from testbed.topology.model import End
from testbed.topology.shape import Shape

pytestmark = pytest.mark.alone
TOPOLOGY = """
name: measured
nodes: {h1: {}, h2: {}, s1: {kind: switch}, r1: {kind: router}, h3: {}}
links:
  - {ends: [h1, s1], delay: 3ms}
  - {ends: [h2, s1], delay: 1ms}
  - {ends: [s1, r1], delay: 10ms, loss: 1%}
  - {ends: [r1, h3], forward: {delay: 5ms, rate: 10Mbit}, backward: {delay: 25ms, jitter: 1ms, rate: 2Mbit}}
"""


@contextmanager
def up(text: str = TOPOLOGY) -> Iterator[Network]:
    with tempfile.TemporaryDirectory() as folder, \
            NetnsSubstrate().open(parse(text, "measured.yaml"), Path(folder), 1, {}) as network:
        yield network


@each_user
def test_measures_each_direction_of_each_link_against_what_was_asked(user: str) -> None:
    def work() -> None:
        with up() as network:
            rows = {(row["from"], row["to"]): row for row in calibrate(network)}
        assert set(rows) == {("h1", "h2"), ("h2", "r1"), ("r1", "h1"), ("r1", "h3"), ("h3", "r1")}
        for row in rows.values():
            assert row["samples"] >= 15
            assert row["asked_delay_s"] * 0.9 < row["measured_p50_s"] < row["asked_delay_s"] * 2 + 0.05, row
        assert rows["h3", "r1"]["measured_p50_s"] > 3 * rows["r1", "h3"]["measured_p50_s"]
        fast, slow = rows["r1", "h3"]["measured_rate"], rows["h3", "r1"]["measured_rate"]
        assert 3.5 < fast / slow < 6.5

    passes(work, user)


def test_refuses_a_network_without_the_delay_that_was_asked_for() -> None:
    def work() -> None:
        with up() as network:
            network.shape(End("r1-h3", "h3"), Shape())
            with pytest.raises(ShapeNotInForce, match=r"h3 -> r1 \(link r1-h3\): asked for 25.* ms, measured 0"):
                calibrate(network)

    passes(work)


def test_refuses_a_network_that_nothing_passes_and_names_the_path() -> None:
    def work() -> None:
        with up() as network:
            network.connect("r1-h3", False)
            with pytest.raises(ShapeNotInForce, match=r"r1 -> h3 \(link r1-h3\): nothing came through"):
                calibrate(network)

    passes(work)


def test_measures_a_network_that_has_ipv6_alone() -> None:
    def work() -> None:
        six = "name: six\naddressing: {ipv4: none}\nnodes: {a: {}, b: {}}\nlinks: [{ends: [a, b], delay: 4ms}]\n"
        with up(six) as network:
            assert [(row["from"], row["samples"] > 0) for row in calibrate(network)] == [("a", True), ("b", True)]

    passes(work)


def test_packets_that_come_after_their_measurement_count_for_no_later_one() -> None:
    def work() -> None:
        far = "name: far\nnodes: {a: {}, b: {}, c: {}}\nlinks: [{ends: [a, b], delay: 400ms}, [b, c], [a, c]]\n"
        with up(far) as network, Prober(network, ["a", "b", "c"]) as prober:
            address = {name: str(network.topology.address(name)) for name in ("a", "b", "c")}
            assert prober.send([Train(0, "a", "b", address["b"], 30, 0.2, 100, True)], 6.0).answered == {0}
            late = [Train(number, "a", "b", address["b"], 5, 0.001, 100) for number in (0, 7)]
            assert prober.send(late, 0.1).received == {}
            found = prober.send([Train(0, "b", "c", address["c"], 3, 0.25, 100)], 2.0).received
            assert [number for number, _, _ in found.pop(0)] == [0, 1, 2]
            assert found == {}

    passes(work)
