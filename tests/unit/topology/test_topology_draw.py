"""Drawings: well-formed, complete, the same each time, and no two nodes in one place."""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree

import pytest

from testbed.places import home
from testbed.topology.draw import svg
from testbed.topology.layout import layout
from testbed.topology.load import load, parse
from testbed.topology.model import End

SHIPPED = sorted(path for path in (home() / "topologies").glob("*.yaml") if path.stem != "star-1000")
GENERATED = ["{family: ring, nodes: 9, hosts: 3}", "{family: tree, depth: 3, fanout: 3}", "{family: fat-tree, k: 6}",
             "{family: random-geometric, nodes: 40, radius: 0.3}", "{family: line, nodes: 1}"]  # fmt: skip


def texts(picture: str) -> list[str]:
    return ["".join(each.itertext()) for each in ElementTree.fromstring(picture).iter() if each.tag.endswith("text")]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_picture_names_every_node(path: Path) -> None:
    topology = load(path)
    assert set(topology.nodes) <= set(texts(svg(topology)))
    assert svg(topology) == svg(load(path))


@pytest.mark.parametrize("family", GENERATED)
def test_no_two_nodes_stand_in_one_place(family: str) -> None:
    spots = list(layout(parse(f"generate: [{family}]\n", "x")).values())
    assert min(math.dist(a, b) for index, a in enumerate(spots) for b in spots[:index]) > 0.02


def test_parts_that_are_not_connected_stand_side_by_side() -> None:
    spots = layout(parse("nodes: {a: {}, b: {}, c: {}, d: {}}\nlinks: [[a, b], [c, d]]\n", "x"))
    assert max(spots["a"][0], spots["b"][0]) < min(spots["c"][0], spots["d"][0])


def test_links_are_labelled_in_both_directions_where_they_differ() -> None:
    told = texts(svg(load(home() / "topologies" / "edge-line.yaml")))
    assert "10 ms ± 1 ms" in told and "0.1 % loss" in told
    assert "→ 5 ms 1 Gbit/s" in told and "← 20 ms 50 Mbit/s" in told


def test_load_colours_the_half_of_the_link_at_its_sender() -> None:
    topology = parse("nodes: {a: {}, b: {}}\nlinks: [[a, b]]\n", "x")
    lines = [
        line for line in svg(topology, {End("a-b", "a"): 1.0, End("a-b", "b"): 0.0}).splitlines() if "<line" in line
    ]
    assert len(lines) == 2 and "#c41e2d" in lines[0] and "#9ebca0" in lines[1]


def test_a_load_beyond_the_scale_is_drawn_at_its_end() -> None:
    topology = parse("nodes: {a: {}, b: {}}\nlinks: [[a, b]]\n", "x")
    assert svg(topology, {End("a-b", "a"): 7.0}) == svg(topology, {End("a-b", "a"): 1.0})


def test_names_and_details_are_escaped() -> None:
    topology = parse('name: "<script>&"\nnodes: {a: {tags: ["<b>"]}, b: {}}\nlinks: [[a, b]]\n', "x")
    picture = svg(topology)
    assert "<script>" not in picture and "&lt;script&gt;&amp;" in picture and "[&lt;b&gt;]" in picture


def test_a_thousand_hosts_are_drawn_without_labels() -> None:
    picture = svg(parse("generate: [{family: tree, depth: 3, fanout: 10}]\n", "x"))
    assert "h1000" not in texts(picture) and picture.count("<rect") > 1111
