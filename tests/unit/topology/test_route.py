"""Routes and the ways of packets, beside networkx as ground truth, in both families."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from itertools import pairwise, permutations
from typing import Literal

import networkx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_networks import networks

from testbed.errors import UsageError
from testbed.topology.load import parse
from testbed.topology.model import End, Topology
from testbed.topology.route import Hop, aggregate


def truth(topology: Topology, metric: str) -> networkx.DiGraph[tuple[str, str]]:
    """Nodes in an "in" and an "out" half: only routers and switches join theirs, so only they forward."""
    graph: networkx.DiGraph[tuple[str, str]] = networkx.DiGraph()
    for node in topology.nodes.values():
        if node.kind != "host":
            graph.add_edge((node.name, "in"), (node.name, "out"), cost=0)
    for link in topology.links.values():
        for end, other in (link.ends, link.ends[::-1]):
            hops = 0 if topology.nodes[end.node].kind == "switch" else 1
            delay_ns = round(end.shape.delay * 1e9)
            cost = hops * 10**15 + delay_ns if metric == "hops" else delay_ns * 10**6 + hops
            source, goal = (end.node, "out"), (other.node, "in")
            if not graph.has_edge(source, goal) or graph.edges[source, goal]["cost"] > cost:
                graph.add_edge(source, goal, cost=cost)
    return graph


def measured(topology: Topology, ends: tuple[End, ...], metric: str) -> int:
    total = 0
    for end in ends:
        hops = 0 if topology.nodes[end.node].kind == "switch" else 1
        delay_ns = round(topology.links[end.link].at(end.node).shape.delay * 1e9)
        total += hops * 10**15 + delay_ns if metric == "hops" else delay_ns * 10**6 + hops
    return total


def single_homed(topology: Topology) -> list[str]:
    """Hosts alone with one router on their only LAN: the way to them has no choice at its end."""
    found = []
    for node in topology.of_kind("host"):
        links = [link for link, _ in topology.interfaces[node.name]]
        if len(links) == 1 and topology.nodes[links[0].beyond(node.name).node].kind == "router":
            found.append(node.name)
    return found


@given(networks())
@settings(max_examples=100, deadline=None)
def test_ways_to_hosts_cost_what_the_shortest_ways_cost(text: str) -> None:
    topology = parse(text, "x")
    metric = "delay" if '"metric": "delay"' in text else "hops"
    graph = truth(topology, metric)
    for goal in single_homed(topology):
        for start in topology.of_kind("host", "router"):
            if start.name == goal:
                continue
            best = networkx.dijkstra_path_length(graph, (start.name, "out"), (goal, "in"), weight="cost")
            on_the_link = len(topology.path(start.name, goal)) == 1  # what is on the link is sent there directly
            for family in (4, 6):
                way = topology.ways.walk(start.name, goal, family)
                assert on_the_link or measured(topology, way, metric) == best


@given(networks())
@settings(max_examples=100, deadline=None)
def test_every_packet_arrives_and_only_routers_forward_it(text: str) -> None:
    topology = parse(text, "x")
    for start, goal in permutations([node.name for node in topology.of_kind("host", "router")], 2):
        for family in (4, 6):
            way = topology.ways.walk(start, goal, family)
            assert way[0].node == start
            assert topology.links[way[-1].link].beyond(way[-1].node).node == goal
            for here, following in pairwise(way):
                assert topology.links[here.link].beyond(here.node).node == following.node
                assert topology.nodes[following.node].kind != "host"


def forwarded(topology: Topology, start: str, address: str) -> list[str]:
    """The way to an address as the kernel would do it: longest prefix, connected subnets among the routes."""
    owner = {str(a.ip): e.node for k in topology.links.values() for e in k.ends for a in (e.ipv4, e.ipv6) if a}
    destination, node, way = ip_address(address), start, [start]
    while node != owner[address]:
        table = [(route.destination, route.gateway) for route in topology.nodes[node].routes]
        for _, end in topology.interfaces[node]:
            table += [(a.network, address) for a in (end.ipv4, end.ipv6) if a]
        fitting = [entry for entry in table if entry[0].version == destination.version and destination in entry[0]]
        node = owner[max(fitting, key=lambda entry: entry[0].prefixlen)[1]]
        assert node not in way, f"a loop on the way to {address}: {way}"
        way.append(node)
    return way


@given(networks())
@settings(max_examples=60, deadline=None)
def test_the_routes_alone_lead_to_every_address_of_the_network(text: str) -> None:
    topology = parse(text, "x")
    addresses = [str(a.ip) for k in topology.links.values() for e in k.ends for a in (e.ipv4, e.ipv6) if a]
    for start in topology.of_kind("host", "router"):
        for address in addresses:
            forwarded(topology, start.name, address)


@given(networks())
@settings(max_examples=60, deadline=None)
def test_gateways_are_neighbours_on_the_interface_of_the_route(text: str) -> None:
    topology = parse(text, "x")
    for node in topology.nodes.values():
        mine = {end.name: end for _, end in topology.interfaces[node.name]}
        for route in node.routes:
            end, gateway = mine[route.interface], ip_address(route.gateway)
            address = end.ipv4 if gateway.version == 4 else end.ipv6
            assert address is not None and gateway in address.network and gateway != address.ip
            assert route.destination.version == gateway.version
        assert len({route.destination for route in node.routes}) == len(node.routes)
        connected = {a.network for end in mine.values() for a in (end.ipv4, end.ipv6) if a}
        assert not connected & {route.destination for route in node.routes}


def test_a_host_with_one_router_needs_a_default_route_only() -> None:
    topology = parse("generate: [{family: grid, rows: 4, columns: 4}]\n", "x")
    for host in topology.of_kind("host"):
        assert [str(route.destination) for route in host.routes] == ["0.0.0.0/0", "::/0"]


def test_hosts_do_not_forward() -> None:
    with pytest.raises(UsageError, match="No route leads from a to b"):
        parse("nodes: {a: {}, m: {}, b: {}}\nlinks: [[a, m], [m, b]]\n", "x").path("a", "b")


def test_a_packet_from_a_node_to_itself_crosses_no_link() -> None:
    assert parse("nodes: {a: {}, b: {}}\nlinks: [[a, b]]\n", "x").path("a", "a") == ()


@pytest.mark.parametrize("goal", ["s", "nobody"])
def test_no_packet_goes_to_a_switch_or_a_stranger(goal: str) -> None:
    topology = parse("nodes: {a: {}, b: {}, s: {kind: switch}}\nlinks: [[a, s], [b, s]]\n", "x")
    with pytest.raises(UsageError, match="is not a host or router"):
        topology.path("a", goal)


def test_networks_in_parts_have_no_route_between_them() -> None:
    topology = parse("nodes: {a: {}, b: {}, c: {}, d: {}}\nlinks: [[a, b], [c, d]]\n", "x")
    with pytest.raises(UsageError, match="No route leads from a to d"):
        topology.path("a", "d")


@pytest.mark.parametrize(("metric", "way"), [("hops", ["a-x", "x-y", "y-b"]), ("delay", ["a-x", "x-z", "z-y", "y-b"])])
def test_the_metric_decides_between_few_hops_and_little_delay(metric: str, way: list[str]) -> None:
    topology = parse(
        f"""
routing: {{metric: {metric}}}
nodes: {{a: {{}}, b: {{}}, x: {{kind: router}}, y: {{kind: router}}, z: {{kind: router}}}}
links:
  - [a, x]
  - {{ends: [x, y], delay: 50ms}}
  - {{ends: [x, z], delay: 5ms}}
  - {{ends: [z, y], delay: 5ms}}
  - [y, b]
""",
        "x",
    )
    assert [end.link for end in topology.path("a", "b")] == way


def test_directions_of_unlike_delay_are_routed_apart() -> None:
    topology = parse(
        """
routing: {metric: delay}
nodes: {a: {}, b: {}, x: {kind: router}, y: {kind: router}}
links:
  - [a, x]
  - {ends: [x, y], name: up, forward: {delay: 1ms}, backward: {delay: 9ms}}
  - {ends: [x, y], name: down, forward: {delay: 9ms}, backward: {delay: 1ms}}
  - [y, b]
""",
        "x",
    )
    assert [end.link for end in topology.path("a", "b")] == ["a-x", "up", "y-b"]
    assert [end.link for end in topology.path("b", "a")] == ["y-b", "down", "a-x"]


def test_a_host_on_a_lan_with_two_routers_uses_the_right_one_for_each_goal() -> None:
    topology = parse(
        """
nodes: {a: {}, b: {}, c: {}, x: {kind: router}, y: {kind: router}}
lans: {lan: {members: [a, x, y]}}
links: [[x, b], [y, c]]
""",
        "x",
    )
    assert [end.link for end in topology.path("a", "b")] == ["a-lan", "x-lan", "x-b"]
    assert [end.link for end in topology.path("a", "c")] == ["a-lan", "y-lan", "y-c"]


def test_one_family_alone_is_routed_too() -> None:
    text = "addressing: {ipv4: none}\ngenerate: [{family: ring, nodes: 4}]\n"
    topology = parse(text, "x")
    assert topology.path("h1", "h3") and topology.address("h1", 6) == "fd00:0:0:4::1"
    assert {route.destination.version for node in topology.nodes.values() for route in node.routes} == {6}


def test_routes_of_a_thousand_hosts_stay_few() -> None:
    topology = parse("generate: [{family: tree, depth: 3, fanout: 10}]\n", "x")
    assert len(topology.nodes) == 1111
    assert max(len(node.routes) for node in topology.nodes.values()) <= 100
    assert len(topology.path("h1", "h1000")) == 6


@given(st.lists(st.tuples(st.integers(1, 2), st.integers(0, 3)), min_size=1, max_size=40), st.sampled_from([32, 128]))
def test_aggregated_prefixes_send_each_way_to_its_hop(blocks: list[tuple[int, int]], bits: Literal[32, 128]) -> None:
    hops = [Hop(End(f"l{number}", "me"), End(f"l{number}", "you")) for number in range(4)]
    ways, start = [], 0
    for length, hop in blocks:  # subnets of 256 or 512 addresses, aligned, with gaps
        size = 256 * length
        start = -(-start // size) * size
        ways.append((start, start + size - 1, hops[hop]))
        start += size * (1 + hop % 2)
    prefixes = list(aggregate(ways, bits))
    kind = "0.0.0.0" if bits == 32 else "::"
    assert all(prefix.version == ip_network(f"{kind}/0").version for prefix, _ in prefixes)
    for first, last, wanted in ways:
        for address in (first, last):
            fitting = [
                (prefix.prefixlen, each)
                for prefix, each in prefixes
                if int(prefix.network_address) <= address <= int(prefix.broadcast_address)
            ]
            assert max(fitting, key=lambda pair: pair[0])[1] == wanted
    assert len(prefixes) <= len(ways)
