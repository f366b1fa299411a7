"""Where each interface goes, before there is any."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.shaping.base import Mechanism
from testbed.substrate.layout import FABRIC, Layout, Pair
from testbed.topology.load import parse
from testbed.topology.model import End, Topology

TEXT = """
name: line
nodes: {h1: {}, h2: {}, s1: {kind: switch}, s2: {kind: switch}, r1: {kind: router}}
links: [[h1, s1], [s1, s2], [s2, r1], [r1, h2]]
"""


def made(mechanism: Mechanism, text: str = TEXT) -> tuple[Topology, Layout, list[Pair]]:
    topology = parse(text, "line.yaml")
    layout = Layout(topology, dict.fromkeys(topology.links, mechanism))
    return topology, layout, [pair for pairs in layout.pairs_by_net.values() for pair in pairs]


def test_a_direct_link_is_one_pair_and_a_relayed_one_is_two() -> None:
    assert len(made("none")[2]) == 4
    assert len(made("tbf")[2]) == 4
    assert len(made("relay")[2]) == 8


def test_switch_ports_are_in_the_fabric_and_have_their_bridge() -> None:
    _, layout, _ = made("none")
    for link, switch in [("h1-s1", "s1"), ("s1-s2", "s1"), ("s1-s2", "s2"), ("s2-r1", "s2")]:
        spot = layout.ends[End(link, switch)]
        assert spot.net == FABRIC
        assert layout.masters[spot] == layout.bridges[switch].index
    assert layout.ends[End("r1-h2", "r1")].net == "r1"


def test_a_pair_is_made_from_the_fabric_whenever_it_has_an_end_there() -> None:
    for mechanism in ("none", "relay"):
        for pair in made(mechanism)[2]:
            assert pair.near.net == FABRIC or FABRIC not in (pair.near.net, pair.far.net)


def test_a_relays_port_has_another_hardware_address_than_the_node_at_its_end() -> None:
    for pair in made("relay")[2]:
        assert pair.near_mac != pair.far_mac
        assert int(pair.near_mac.split(":")[0], 16) & 3 == 2  # local, not multicast


@settings(max_examples=30, deadline=None)
@given(nodes=st.integers(1, 12), hosts=st.integers(0, 4), kind=st.sampled_from(["router", "switch"]),
       mechanism=st.sampled_from(["none", "relay"]))  # fmt: skip
def test_names_and_indices_are_unique_in_a_namespace(nodes: int, hosts: int, kind: str, mechanism: Mechanism) -> None:
    if nodes * (1 + hosts) < 2:
        return
    text = f"name: n\ngenerate: [{{family: line, nodes: {nodes}, hosts: {hosts}, kind: {kind}}}]\n"
    _, layout, pairs = made(mechanism, text)
    spots = [*layout.bridges.values(), *(spot for pair in pairs for spot in (pair.near, pair.far))]
    assert max(Counter((spot.net, spot.index) for spot in spots).values()) == 1
    assert max(Counter((spot.net, spot.name) for spot in spots).values()) == 1
    assert all(len(spot.name) < 16 for spot in spots)
    assert set(layout.ends.values()) <= set(spots)
