"""Splitting a topology over machines: whose is whose, what a part looks like, what travels to its machine."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_networks import networks

from testbed.errors import UsageError
from testbed.substrate.partition import partition
from testbed.substrate.parts import assign, near_ends, relieved, split, stub
from testbed.substrate.parts_wire import from_wire, shape_from_wire, shape_to_wire, to_wire
from testbed.topology.load import parse
from testbed.topology.model import End, Topology
from testbed.topology.shape import Shape

LINE = """
name: line
nodes: {h1: {tags: [left]}, h2: {}, h3: {}, s1: {kind: switch}, r1: {kind: router, tags: [left]}}
links:
  - {ends: [h1, s1], delay: 3ms}
  - [h3, s1]
  - {ends: [s1, r1], forward: {delay: 5ms}, backward: {delay: 7ms}}
  - [r1, h2]
"""


def line() -> Topology:
    return parse(LINE, "line.yaml")


def test_nodes_are_named_by_name_pattern_and_tag() -> None:
    owner = assign(line(), {"one": ["tag:left", "s1"], "two": ["h2", "h3"]})
    assert owner == {"h1": "one", "r1": "one", "s1": "one", "h2": "two", "h3": "two"}


def test_a_name_goes_before_a_pattern() -> None:
    owner = assign(line(), {"one": ["h*", "s1", "r1"], "two": ["h2"]})
    assert owner["h1"] == owner["h3"] == "one"
    assert owner["h2"] == "two"


def test_nodes_that_nobody_names_go_where_most_of_their_neighbours_are() -> None:
    owner = assign(line(), {"one": ["h1", "h3"], "two": ["h2"]})
    assert owner["s1"] == "one"  # two of its three neighbours
    assert owner["r1"] in ("one", "two")
    lonely = parse("name: two\nnodes: {a: {}, b: {}, c: {}, d: {}}\nlinks: [[a, b], [c, d]]\n", "t.yaml")
    assert assign(lonely, {"one": ["a"], "two": []}) == {"a": "one", "b": "one", "c": "two", "d": "two"}


def test_a_node_of_two_machines_is_refused() -> None:
    with pytest.raises(UsageError, match=r"The node h1 is given to both one and two: name it at one of them\."):
        assign(line(), {"one": ["h1"], "two": ["h1"]})
    with pytest.raises(UsageError, match=r"The node h\d is given to both"):
        assign(line(), {"one": ["h*"], "two": ["h?"]})


@pytest.mark.parametrize("wanted", ["h9", "x*", "tag:right"])
def test_a_name_that_means_nothing_is_refused(wanted: str) -> None:
    with pytest.raises(UsageError, match=f"The part of one names '{re.escape(wanted)}', which no node of line"):
        assign(line(), {"one": [wanted]})


def test_a_part_has_a_stub_in_the_place_of_each_foreign_neighbour() -> None:
    whole = line()
    parts = split(whole, assign(whole, {"one": ["h1", "h3", "s1"], "two": ["r1", "h2"]}), ["one", "two"])
    (cut,) = parts.cuts.values()
    assert (cut.link, cut.nodes, cut.machines) == ("s1-r1", ("s1", "r1"), ("one", "two"))
    one, two = parts.topologies["one"], parts.topologies["two"]
    assert list(one.nodes) == ["h1", "h3", "s1", stub("s1-r1")]
    assert list(one.links) == ["h1-s1", "h3-s1", "s1-r1"]
    assert one.links["h1-s1"] == whole.links["h1-s1"]
    near, far = one.links["s1-r1"].ends
    assert near == whole.links["s1-r1"].at("s1")
    assert (far.node, far.ipv4, far.ipv6, far.shape.is_plain) == (stub("s1-r1"), None, None, True)
    assert far.mac != whole.links["s1-r1"].at("r1").mac
    assert two.links["s1-r1"].at("r1").shape.delay == 0.007  # each direction is shaped where it is sent
    assert two.links["s1-r1"].beyond("r1").node == stub("s1-r1")
    assert two.nodes["h2"] == whole.nodes["h2"]
    ends = {End(link.name, end.node) for link in whole.links.values() for end in link.ends}
    assert set(near_ends(one)) | set(near_ends(two)) == ends
    assert parts.machines_of("s1-r1") == ("one", "two")
    assert parts.machines_of("h1-s1") == ("one",)
    assert parts.cuts_of("one") == parts.cuts_of("two") == (cut,)


@settings(max_examples=25, deadline=None)
@given(networks(), st.integers(1, 4), st.randoms(use_true_random=False))
def test_the_parts_of_any_network_hold_all_of_it_once(text: str, count: int, rng: st.Random) -> None:  # type: ignore[name-defined]
    whole = parse(text, "random.yaml")
    machines = [f"m{number}" for number in range(count)]
    parts = split(whole, {name: rng.choice(machines) for name in whole.nodes}, machines)
    ends = [end for part in parts.topologies.values() for end in near_ends(part)]
    assert len(ends) == len(set(ends)) == 2 * len(whole.links)
    nodes = [name for part in parts.topologies.values() for name in part.nodes if not name.startswith("~")]
    assert sorted(nodes) == sorted(whole.nodes)
    for part in parts.topologies.values():
        for end in near_ends(part):
            assert part.links[end.link].at(end.node) == whole.links[end.link].at(end.node)
    inside = [link for part in parts.topologies.values() for link in part.links if link not in parts.cuts]
    assert sorted([*inside, *parts.cuts]) == sorted(whole.links)


@settings(max_examples=25, deadline=None)
@given(networks(), st.integers(1, 4))
def test_an_automatic_partition_is_even_and_always_the_same(text: str, count: int) -> None:
    whole = parse(text, "random.yaml")
    machines = [f"m{number}" for number in range(count)]
    owner = partition(whole, machines)
    sizes = [sum(1 for each in owner.values() if each == name) for name in machines]
    assert list(owner) == list(whole.nodes)
    assert max(sizes) - min(sizes) <= 2
    assert partition(whole, machines) == owner


def test_an_automatic_partition_cuts_few_links_and_those_with_long_delays() -> None:
    text = """
name: sites
nodes: {a1: {}, a2: {}, a3: {}, sa: {kind: router}, b1: {}, b2: {}, b3: {}, sb: {kind: router}}
links: [[a1, sa], [b1, sb], [a2, sa], [b2, sb], [a3, sa], [b3, sb], {ends: [sa, sb], delay: 20ms}]
"""
    sites = parse(text, "sites.yaml")
    assert list(split(sites, partition(sites, ["x", "y"]), ["x", "y"]).cuts) == ["sa-sb"]
    near = "name: ring\nnodes: {a: {kind: router}, b: {kind: router}, c: {kind: router}, d: {kind: router}}\n" \
           "links: [[a, b], {ends: [b, c], delay: 10ms}, [c, d], {ends: [d, a], delay: 10ms}]\n"
    ring = parse(near, "ring.yaml")
    assert set(split(ring, partition(ring, ["x", "y"]), ["x", "y"]).cuts) == {"b-c", "d-a"}


@settings(max_examples=25, deadline=None)
@given(networks())
def test_a_topology_that_travels_to_a_machine_loses_nothing(text: str) -> None:
    whole = parse(text, "random.yaml")
    travelled = from_wire(json.loads(json.dumps(to_wire(whole))))
    assert travelled == whole
    assert travelled.digest == whole.digest


def test_limits_routing_and_every_part_of_a_shape_travel() -> None:
    text = """
name: rich
routing: {protocol: ospf, hello: 2s, dead: 8s, bfd: 100ms}
nodes: {a: {cpu: 0.5, memory: 256MB, cpuset: 0-1}, r: {kind: router}}
links: [{ends: [a, r], delay: 1ms, jitter: 1ms, distribution: uniform, loss: 1%, duplicate: 1%, reorder: 2%,
         corrupt: 3%, rate: 10Mbit, burst: 5kB, queue: 64kB, mtu: 1400}]
"""
    whole = parse(text, "rich.yaml")
    travelled = from_wire(json.loads(json.dumps(to_wire(whole))))
    assert travelled == whole
    assert travelled.nodes["a"].limits == whole.nodes["a"].limits
    shape = whole.links["a-r"].ends[0].shape
    assert shape_from_wire(json.loads(json.dumps(shape_to_wire(shape)))) == shape


def test_what_the_way_takes_comes_off_the_delay_as_far_as_there_is_one() -> None:
    assert relieved(Shape.model_validate({"delay": "5ms", "loss": "1%"}), 0.002).delay == pytest.approx(0.003)
    assert relieved(Shape.model_validate({"delay": "1ms"}), 0.002).delay == 0.0
    plain = Shape.model_validate({"rate": "1Mbit"})
    assert relieved(plain, 0.002) is plain
