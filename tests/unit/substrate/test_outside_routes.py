"""Which routes lead to the outside, and that they hide no way inside."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from testbed.substrate.outside_routes import EVERYWHERE, Outwards
from testbed.topology.load import parse
from testbed.topology.model import Route, Topology

LINE = """
name: line
nodes: {h1: {}, r1: {kind: router}, r2: {kind: router}, r3: {kind: router}, h2: {}, h3: {}}
links: [[h1, r1], [r1, r2], [r2, r3], [r3, h2], [r2, h3]]
"""
FAR_APART = """
name: apart
nodes: {h1: {}, r1: {kind: router}, r2: {kind: router}, h2: {}, h3: {}}
links:
  - {ends: [h1, r1], addresses: {h1: [10.1.0.2/24], r1: [10.1.0.1/24]}}
  - {ends: [r1, r2], addresses: {r1: [10.2.0.1/24], r2: [10.2.0.2/24]}}
  - {ends: [r2, h2], addresses: {r2: [192.168.7.1/24], h2: [192.168.7.2/24]}}
  - {ends: [r2, h3], addresses: {r2: [203.0.113.1/24], h3: [203.0.113.2/24]}}
"""
OUTSIDE = IPv4Address("8.8.8.8")


def tables(topology: Topology, door: str) -> dict[str, list[Route]]:
    """The routes of all nodes once the changes are made."""
    found = {node.name: list(node.routes) for node in topology.of_kind("host", "router")}
    for change in Outwards(topology, door).changes():
        new = {route.destination for route in change.new}
        kept = [each for each in found[change.node] if each not in change.gone and each.destination not in new]
        found[change.node] = [*kept, *change.new]
    found[door] = [each for each in found[door] if each.destination != EVERYWHERE]
    return found


def walked(topology: Topology, found: dict[str, list[Route]], start: str, address: IPv4Address) -> list[str]:
    """The nodes that a packet passes, up to where nobody knows a way on or it is there."""
    owner = {end.ipv4.ip: end.node for link in topology.links.values() for end in link.ends if end.ipv4}
    nodes = [start]
    while len(nodes) < 20:
        here = nodes[-1]
        own = [end.ipv4 for _, end in topology.interfaces[here] if end.ipv4]
        if address in [each.ip for each in own]:
            return nodes
        if any(address in each.network for each in own):
            return [*nodes, owner[address]]
        fitting = [each for each in found[here]
                   if isinstance(each.destination, IPv4Network) and address in each.destination]  # fmt: skip
        if not fitting:
            return nodes
        nodes.append(owner[IPv4Address(max(fitting, key=lambda each: each.destination.prefixlen).gateway)])
    raise AssertionError(f"a loop: {nodes}")


@pytest.mark.parametrize("text", [LINE, FAR_APART])
@pytest.mark.parametrize("door", ["h1", "r1", "r2", "h3"])
def test_everybody_finds_the_door_and_still_everybody_else(text: str, door: str) -> None:
    topology = parse(text, "t.yaml")
    found = tables(topology, door)
    for start in found:
        assert walked(topology, found, start, OUTSIDE)[-1] == door
        for goal in found:
            assert walked(topology, found, start, IPv4Address(topology.address(goal)))[-1] == goal


def test_a_host_behind_its_only_router_keeps_its_routes() -> None:
    changed = {change.node for change in Outwards(parse(LINE, "t.yaml"), "r1").changes()}
    assert changed == {"r2", "r3"}


def test_the_subnet_of_the_door_is_one_that_the_network_does_not_use() -> None:
    taken = LINE.replace("[h1, r1]", "{ends: [h1, r1], addresses: {h1: [10.255.254.2/24], r1: [10.255.254.1/24]}}")
    assert Outwards(parse(LINE, "t.yaml"), "r1").free_subnet() == IPv4Network("10.255.254.0/24")
    assert Outwards(parse(taken, "t.yaml"), "r1").free_subnet() == IPv4Network("172.31.254.0/24")
