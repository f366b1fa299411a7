"""What a topology file says under ``routing``, and what OSPF makes of a topology."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from random_networks import networks

from testbed.errors import InputError, UsageError
from testbed.topology.load import parse
from testbed.topology.model import Topology
from testbed.topology.ospf import Ospf
from testbed.topology.reroute import rerouted

RING = """
nodes: {{c: {{}}, w: {{}}, r1: {{kind: router}}, r2: {{kind: router}}, r3: {{kind: router}}}}
links:
  - [c, r1]
  - {{name: short, ends: [r1, r2], delay: 1ms}}
  - [r2, w]
  - {{name: there, ends: [r1, r3], delay: 2ms}}
  - {{name: on, ends: [r3, r2], delay: 2ms}}
routing: {{{routing}}}
"""


def ring(routing: str = "protocol: ospf") -> Topology:
    return parse(RING.format(routing=routing), "ring.yaml")


@pytest.mark.parametrize(
    ("routing", "said"),
    [
        ("hello: 1.5s", "whole seconds"),
        ("hello: 0s", "whole seconds"),
        ("hello: 5s, dead: 4s", "more than the hello interval of 5 s"),
        ("dead: 1s", "more than the hello interval of 1 s"),
        ("hello: 3", "Add the unit"),
        ("bfd: 1ms", "from 10ms to 60s"),
        ("protocol: rip", "static, ospf or none"),
        ("helo: 2s", "hello"),
    ],
)
def test_refuses_times_that_the_protocol_does_not_know(routing: str, said: str) -> None:
    with pytest.raises(InputError) as refused:
        ring(routing)
    assert said in str(refused.value)


def test_the_protocol_makes_another_network_of_it_and_leaves_the_planned_ways() -> None:
    static, ospf, slow = ring("protocol: static"), ring(), ring("protocol: ospf, dead: 40s")
    assert len({static.digest, ospf.digest, slow.digest}) == 3
    assert static.path("c", "w") == ospf.path("c", "w")
    assert ring("hello: 2s").digest == static.digest  # which OSPF alone would have heeded


def test_without_routing_nobody_knows_more_than_its_own_lans() -> None:
    topology = ring("protocol: none")
    assert not any(node.routes for node in topology.nodes.values())
    assert [end.link for end in topology.path("r1", "r2")] == ["short"]
    with pytest.raises(UsageError, match="No route"):
        topology.path("c", "w")


def test_a_lost_link_is_gone_round_and_a_lost_way_is_no_way() -> None:
    topology = ring()
    assert [end.link for end in rerouted(topology, {"short"}).path("c", "w")] == ["c-r1", "there", "on", "r2-w"]
    with pytest.raises(UsageError, match="No route"):
        rerouted(topology, {"short", "on"}).path("c", "w")


@settings(max_examples=40, deadline=None)
@given(networks())
def test_routes_found_again_are_those_that_were_planned(text: str) -> None:
    topology = parse(text, "random.json")
    assert rerouted(topology, frozenset()) == topology


def test_a_router_knows_what_is_behind_each_of_its_interfaces() -> None:
    topology = parse("""
nodes: {a: {}, r1: {kind: router}, r2: {kind: router}, r3: {kind: router}}
links: [[a, r1], [r1, r2]]
lans: {lan: {members: [r1, r2, r3]}}
routing: {protocol: ospf}
""", "lan.yaml")
    ospf = Ospf(topology)
    assert [(port.kind, [each.node for each in port.neighbours]) for port in ospf.ports["r1"]] == [
        ("stub", []), ("ptp", ["r2"]), ("broadcast", ["r2", "r3"])
    ]
    assert [ospf.router_id(router) for router in ("r1", "r2")] == ["10.0.0.2", "10.0.1.2"]
    assert {port.cost for ports in ospf.ports.values() for port in ports} == {1}  # no delay decides anything
    assert ospf.expected("r3", 4) == {ip_network("10.0.0.0/24"): {"eth0"}, ip_network("10.0.1.0/24"): {"eth0"}}


def test_delays_decide_between_ways_of_equally_many_hops_and_never_against_hops() -> None:
    square = """
nodes: {{a: {{kind: router}}, b: {{kind: router}}, c: {{kind: router}}, d: {{kind: router}}, h: {{}}}}
links:
  - {{ends: [a, b], delay: 1ms}}
  - {{ends: [b, d], delay: {slow}}}
  - {{ends: [a, c], delay: 2ms}}
  - {{ends: [c, d], delay: 2ms}}
  - [d, h]
  {direct}
routing: {{protocol: ospf}}
"""
    lan = ip_network("10.0.4.0/24")
    tie = square.replace("delay: 1ms", "delay: 2ms").format(slow="2ms", direct="")
    assert Ospf(parse(tie, "square.yaml")).expected("a", 4)[lan] == {"eth0", "eth1"}
    for slow, direct, ways in (
        ("2ms", "", {"eth0"}), ("9ms", "", {"eth1"}),
        ("2ms", "- {ends: [a, d], delay: 500ms}", {"eth2"}),
    ):  # fmt: skip
        ospf = Ospf(parse(square.format(slow=slow, direct=direct), "square.yaml"))
        assert ospf.expected("a", 4)[lan] == ways, slow


def test_costs_are_delays_where_delays_are_the_metric() -> None:
    ospf = Ospf(ring("protocol: ospf, metric: delay"))
    assert [port.cost for port in ospf.ports["r1"]] == [1, 1000, 2000]  # microseconds, as long as they fit
    long = Ospf(parse(RING.format(routing="protocol: ospf, metric: delay").replace("2ms", "10min"), "ring.yaml"))
    assert max(port.cost for ports in long.ports.values() for port in ports) == 65535
    assert long.expected("r1", 6)[ip_network("fd00:0:0:2::/64")] == {"eth1"}


def test_a_network_with_one_family_routes_that_family() -> None:
    text = RING.format(routing="protocol: ospf") + "addressing: {ipv4: none}\n"
    ospf = Ospf(parse(text, "ring.yaml"))
    assert ospf.families == (6,)
    assert ospf.router_id("r2") == "0.0.0.2"
