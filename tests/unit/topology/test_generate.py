"""Generators: how many nodes and links of which kind, connected, steady, and what they refuse."""

from __future__ import annotations

import networkx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.errors import InputError
from testbed.topology.family import FatTree, RandomGeometric
from testbed.topology.generate import places, radius_needed
from testbed.topology.load import parse
from testbed.topology.model import Topology

FAMILIES = [
    # entry, hosts, routers, switches, links
    ("{family: line, nodes: 4}", 4, 4, 0, 7),
    ("{family: line, nodes: 4, kind: switch}", 4, 0, 4, 7),
    ("{family: line, nodes: 1, hosts: 2}", 2, 1, 0, 2),
    ("{family: line, nodes: 3, hosts: 0}", 0, 3, 0, 2),
    ("{family: ring, nodes: 5, hosts: 2}", 10, 5, 0, 15),
    ("{family: star, hosts: 6}", 6, 0, 1, 6),
    ("{family: star, hosts: 6, kind: router}", 6, 1, 0, 6),
    ("{family: tree, depth: 1, fanout: 3}", 3, 1, 0, 3),
    ("{family: tree, depth: 3, fanout: 2}", 8, 7, 0, 14),
    ("{family: tree, depth: 3, fanout: 2, kind: switch}", 8, 0, 7, 14),
    ("{family: grid, rows: 3, columns: 4}", 12, 12, 0, 17 + 12),
    ("{family: fat-tree, k: 4}", 16, 20, 0, 48),
    ("{family: fat-tree, k: 2}", 2, 5, 0, 6),
    ("{family: random-geometric, nodes: 1, radius: 1}", 1, 1, 0, 1),
    ("{family: random-geometric, nodes: 9, radius: 1.5}", 9, 9, 0, 36 + 9),
]


def made(entry: str) -> Topology:
    return parse(f"generate: [{entry}]\n", "x")


@pytest.mark.parametrize(("entry", "hosts", "routers", "switches", "links"), FAMILIES)
def test_a_family_has_so_many_of_each(entry: str, hosts: int, routers: int, switches: int, links: int) -> None:
    topology = made(entry)
    assert [len(topology.of_kind(kind)) for kind in ("host", "router", "switch")] == [hosts, routers, switches]
    assert len(topology.links) == links
    assert networkx.is_connected(graph(topology))


def graph(topology: Topology) -> networkx.MultiGraph[str]:
    return networkx.MultiGraph([(k.ends[0].node, k.ends[1].node) for k in topology.links.values()])


def test_hosts_hang_on_the_router_of_their_number() -> None:
    topology = made("{family: ring, nodes: 3, hosts: 2}")
    assert [end.node for end in topology.path("h2-1", "h2-2")] == ["h2-1", "r2"]


def test_backbone_and_access_links_have_shapes_of_their_own() -> None:
    topology = made("{family: grid, rows: 2, columns: 2, link: {delay: 4ms, mtu: 9000}, access: {delay: 1ms}}")
    assert topology.links["r1-r2"].ends[0].shape.delay == 0.004 and topology.links["r1-r2"].mtu == 9000
    assert topology.links["h1-r1"].ends[0].shape.delay == 0.001 and topology.links["h1-r1"].mtu == 1500


@pytest.mark.parametrize("k", [2, 4, 6, 8])
def test_a_fat_tree_has_k_links_at_every_router_and_a_diameter_of_six(k: int) -> None:
    topology = made(f"{{family: fat-tree, k: {k}}}")
    network = graph(topology)
    assert {network.degree(node.name) for node in topology.of_kind("router")} == {k}
    assert networkx.diameter(network) == 6
    assert len(topology.of_kind("host")) == k**3 // 4


@given(st.sampled_from(FAMILIES))
def test_sizes_are_known_before_anything_is_built(family: tuple[str, int, int, int, int]) -> None:
    from testbed.document import parse_document
    from testbed.topology.schema import TopologyFile

    file = parse_document(f"generate: [{family[0]}]\n", "x").into(TopologyFile)
    assert file.generate[0].size == sum(family[1:4])


def test_fat_trees_know_their_size() -> None:
    assert FatTree(family="fat-tree", k=16).size == 1024 + 256 + 64


@given(st.integers(0, 10**6), st.integers(2, 25))
@settings(max_examples=40, deadline=None)
def test_the_radius_that_is_suggested_connects_and_less_does_not(seed: int, nodes: int) -> None:
    tight = RandomGeometric(family="random-geometric", nodes=nodes, radius=0.01, seed=seed)
    needed = radius_needed(tight)
    if needed is None:
        return
    assert radius_needed(tight.model_copy(update={"radius": needed})) is None
    assert needed <= 0.02 or radius_needed(tight.model_copy(update={"radius": needed - 0.01})) is not None


def test_one_seed_gives_one_network_and_more_routers_leave_the_first_in_place() -> None:
    entry = "{family: random-geometric, nodes: 15, radius: 0.6, seed: 4}"
    assert made(entry).digest == made(entry).digest != made(entry.replace("seed: 4", "seed: 5")).digest
    few = RandomGeometric(family="random-geometric", nodes=5, radius=1, seed=4)
    many = RandomGeometric(family="random-geometric", nodes=50, radius=1, seed=4)
    assert places(many)[:5] == places(few)


def test_a_network_too_large_for_a_machine_is_refused_before_it_is_built() -> None:
    with pytest.raises(InputError, match="at most 10000 nodes"):
        made("{family: tree, depth: 14, fanout: 10000}")
    with pytest.raises(InputError, match="at most 10000 nodes"):
        parse("generate:\n" + "  - {family: star, hosts: 4000, prefix: a}\n" * 3, "x")
