"""Who is told whose hardware address in advance."""

from __future__ import annotations

from testbed.substrate.neighbours import LEARNED_AT_MOST, neighbours
from testbed.topology.load import parse


def told(text: str) -> dict[str, set[str]]:
    found = neighbours(parse(f"name: n\ngenerate: [{text}]\n", "n.yaml"))
    return {node: {other.node for _, other in pairs} for node, pairs in found.items()}


def test_small_networks_learn_their_neighbours() -> None:
    assert told("{family: star, hosts: 20}") == {}
    assert told("{family: star, hosts: 200, kind: router}") == {}


def test_in_a_large_network_both_ends_of_every_link_are_told() -> None:
    hosts = LEARNED_AT_MOST
    found = told(f"{{family: star, hosts: {hosts}, kind: router}}")
    assert found["h1"] == {"r1"}
    assert len(found["r1"]) == hosts


def test_members_of_small_lans_are_told_all_others_and_those_of_large_ones_their_router_alone() -> None:
    hosts = ", ".join(f"a{number}: {{}}" for number in range(600)) + ", b0: {}, b1: {}"
    big = "".join(f"\n  - [a{number}, big]" for number in range(600))
    text = (f"name: n\nnodes: {{r: {{kind: router}}, big: {{kind: switch}}, small: {{kind: switch}}, {hosts}}}\n"
            f"links:\n  - [r, big]\n  - [r, small]\n  - [b0, small]\n  - [b1, small]{big}\n")  # fmt: skip
    found = neighbours(parse(text, "n.yaml"))
    assert {other.node for _, other in found["a7"]} == {"r"}
    assert {other.node for _, other in found["b0"]} == {"r", "b1"}
    assert len(found["r"]) == 602
    own, other = found["b0"][0]
    assert own.node == "b0"
    assert own.ipv4 is not None and other.ipv4 is not None
    assert own.ipv4.network == other.ipv4.network
