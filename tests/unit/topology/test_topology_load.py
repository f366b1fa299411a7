"""From a file to a topology: defaults, directions, LANs, generators beside explicit entries, and stability."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from testbed.document import parse_document, set_path
from testbed.errors import InputError
from testbed.places import home
from testbed.topology.load import from_document, load, parse
from testbed.topology.model import End, Topology
from testbed.units import Queue

SHIPPED = sorted((home() / "topologies").glob("*.yaml"))
PAIR = "nodes: {h1: {}, h2: {}}\nlinks: [[h1, h2]]\n"


def made(text: str) -> Topology:
    return parse(text, "net.yaml")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_topology_loads_and_tells_what_it_is_for(path: Path) -> None:
    topology = load(path)
    assert topology.name == path.stem and topology.source == str(path)
    comment = path.read_text().split("name:")[0]
    assert "# Purpose:" in comment and "# Source:" in comment
    hosts = topology.of_kind("host")
    assert all(topology.path(a.name, b.name) for a in hosts[:6] for b in hosts if a != b)


def test_the_quickstart_takes_the_delays_that_its_picture_tells() -> None:
    topology = load(home() / "topologies" / "quickstart.yaml")
    assert topology.round_trip_s("c1", "e1") == pytest.approx(0.014)
    assert topology.round_trip_s("e1", "w1") == pytest.approx(0.002)
    assert topology.round_trip_s("e1", "w2") == pytest.approx(0.040)
    assert [end.link for end in topology.path("c1", "w2")] == ["access", "backhaul", "core", "far"]


def test_the_slow_line_of_four_takes_what_was_published() -> None:
    topology = load(home() / "topologies" / "linear-303-slow.yaml")
    there_and_on = topology.round_trip_s("h4", "h3") + topology.round_trip_s("h3", "h2")
    assert there_and_on == pytest.approx(0.2)  # 201.4 ms were measured through the router
    assert topology.address("h3") == "10.1.0.3"


def test_links_take_defaults_then_their_own_keys_then_those_of_a_direction() -> None:
    topology = made("""
defaults: {link: {delay: 1ms, rate: 100Mbit, queue: 50p}}
nodes: {a: {}, b: {}}
links:
  - {ends: [a, b], delay: 5ms, loss: 1%, backward: {delay: 20ms, rate: 1Mbit}}
""")
    forward, backward = (end.shape for end in topology.links["a-b"].ends)
    assert (forward.delay, forward.rate, forward.loss, forward.queue) == (0.005, 1e8, 0.01, Queue(packets=50))
    assert (backward.delay, backward.rate, backward.loss, backward.queue) == (0.020, 1e6, 0.01, Queue(packets=50))


def test_a_default_can_be_set_back() -> None:
    topology = made("defaults: {link: {delay: 1ms}}\nnodes: {a: {}, b: {}}\nlinks: [{ends: [a, b], delay: 0}]\n")
    assert topology.links["a-b"].ends[0].shape.is_plain


def test_nodes_take_defaults_and_may_stand_empty() -> None:
    topology = made("""
defaults: {node: {kind: router, tags: [core]}}
nodes:
  r1:
  r2: {tags: [edge, arm]}
  h1: {kind: host}
links: [[r1, r2], [r2, h1]]
""")
    assert [(node.kind, node.tags) for node in topology.nodes.values()] == [
        ("router", ("core",)),
        ("router", ("edge", "arm")),
        ("host", ("core",)),
    ]


def test_a_round_trip_adds_both_directions_of_each_link() -> None:
    topology = load(home() / "topologies" / "edge-line.yaml")
    assert topology.round_trip_s("h1", "h2") == pytest.approx(2 * 0.001 + 2 * 0.010 + 0.005 + 0.020)


def test_a_lan_is_a_switch_with_a_link_to_each_member() -> None:
    topology = made("""
nodes: {a: {}, b: {}, r: {kind: router}, c: {}}
lans: {office: {members: [a, b, r], delay: 2ms, mtu: 9000}}
links: [[r, c]]
""")
    assert topology.nodes["office"].kind == "switch"
    assert list(topology.links) == ["r-c", "a-office", "b-office", "r-office"]
    assert topology.path("a", "b") == (End("a-office", "a"), End("b-office", "office"))
    assert topology.links["b-office"].mtu == 9000
    assert topology.round_trip_s("a", "c") == pytest.approx(0.008)


def test_parallel_links_get_names_of_their_own() -> None:
    topology = made("nodes: {a: {}, b: {}}\nlinks: [[a, b], {ends: [a, b], name: spare}, [a, b], [b, a]]\n")
    assert list(topology.links) == ["a-b", "spare", "a-b-2", "b-a"]


def test_generators_and_explicit_entries_meet() -> None:
    topology = made("""
nodes: {probe: {}}
generate:
  - {family: star, hosts: 2, prefix: west-, kind: router, tags: [west]}
  - {family: line, nodes: 2, prefix: east-, access: {delay: 3ms}}
links:
  - {ends: [west-r1, east-r1], delay: 30ms}
  - [probe, west-r1]
""")
    assert topology.nodes["west-h1"].tags == ("west",)
    assert topology.round_trip_s("probe", "east-h2") == pytest.approx(0.066)


def test_the_name_defaults_to_that_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "my-lab.yaml").write_text(PAIR)
    assert load(tmp_path / "my-lab.yaml").name == "my-lab"


def test_a_topology_inside_another_file_keeps_its_lines() -> None:
    document = parse_document("seed: 1\ntopology:\n  nodes: {h1: {}, h2: {}}\n  links: [[h1, h3]]\n", "exp.yaml")
    with pytest.raises(InputError) as caught:
        from_document(document, ("topology",))
    told = 'exp.yaml:4 topology.links[0]: found the unknown node "h3"; expected one of h1, h2.'
    assert str(caught.value) == told
    sound = set_path(document, "topology.links[0]=[h1, h2]")
    assert from_document(sound, ("topology",)).name == "exp"


def test_all_of_a_network_is_checked_although_a_link_is_wrong() -> None:
    with pytest.raises(InputError) as caught:
        made("""
nodes: {s1: {kind: switch}, s2: {kind: switch}, h1: {}, h2: {}}
links: [[h1, s1], [h2, nobody], [s1, s2], [s1, s2]]
""")
    assert [problem.path for problem in caught.value.problems] == ["links[1]", "links[3]"]


def test_the_digest_follows_the_meaning_and_not_the_layout() -> None:
    base = "name: n\nnodes: {h1: {}, h2: {}}\nlinks:\n  - {ends: [h1, h2], delay: 10ms}\n"
    same = '# told\nlinks: [{delay: 0.01s, ends: ["h1", h2]}]\nnodes:\n  h1: {kind: host}\n  h2:\nname: n\n'
    assert made(base).digest == made(same).digest
    for old, new in (("10ms", "11ms"), ("h2", "h3"), ("name: n", "name: m"), ("{ends", "{mtu: 1400, ends")):
        assert made(base.replace(old, new)).digest != made(base).digest


def test_the_digest_is_the_same_on_every_machine_and_in_every_version() -> None:
    assert made(PAIR).digest == "397c18a088bda1ce"


def test_a_file_can_move_without_a_change_of_digest(tmp_path: Path) -> None:
    shutil.copy(home() / "topologies" / "two-hosts.yaml", tmp_path)
    moved = load(tmp_path / "two-hosts.yaml")
    assert moved.digest == load(home() / "topologies" / "two-hosts.yaml").digest


@pytest.mark.parametrize("family", ["{family: star, hosts: 1000}", "{family: tree, depth: 3, fanout: 10}"])
def test_a_thousand_hosts_load_in_the_time_of_some_parses_of_a_file(family: str) -> None:
    spelt = "nodes: {" + ", ".join(f"n{number}: {{}}" for number in range(2000)) + "}\nlinks: []\n"
    begin = time.process_time()
    parse_document(spelt, "x")
    yardstick = time.process_time() - begin  # on an idle core about 0.3 s
    begin = time.process_time()
    assert len(made(f"generate: [{family}]").of_kind("host")) == 1000
    assert time.process_time() - begin < 10 * yardstick
