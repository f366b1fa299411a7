"""Which paths are measured, and what is asked of them."""

from __future__ import annotations

from itertools import pairwise

import pytest

from testbed.fidelity.paths import Path, paths
from testbed.topology.load import parse
from testbed.topology.model import End, Topology

TREE = """
name: tree
nodes: {h1: {}, h2: {}, h3: {}, s1: {kind: switch}, s2: {kind: switch}, r1: {kind: router}, h4: {}}
links:
  - {ends: [h1, s1], delay: 1ms}
  - {ends: [h2, s1], delay: 2ms, loss: 10%}
  - {ends: [s1, s2], delay: 4ms, jitter: 3ms}
  - {ends: [s2, h3], delay: 8ms}
  - {ends: [s2, r1], delay: 16ms, rate: 1Mbit}
  - {ends: [r1, h4], forward: {delay: 5ms, rate: 1Gbit}, backward: {delay: 20ms, jitter: 4ms}}
"""


def tree() -> Topology:
    return parse(TREE, "tree.yaml")


def between(start: str, goal: str) -> Path:
    return next(path for path in paths(tree()) if (path.start, path.goal) == (start, goal))


def test_the_paths_cross_every_direction_to_and_from_a_host_or_router() -> None:
    topology = tree()
    crossed = {end for path in paths(topology) for end in path.ends}
    assert crossed == {End(link.name, end.node) for link in topology.links.values() for end in link.ends}


def test_members_of_a_lan_form_a_ring_and_a_link_without_switch_is_measured_both_ways() -> None:
    assert [(path.start, path.goal) for path in paths(tree())] == [
        ("h1", "h2"), ("h2", "h3"), ("h3", "r1"), ("r1", "h1"), ("r1", "h4"), ("h4", "r1")]


def test_a_path_adds_up_what_was_asked_of_its_links() -> None:
    path = between("h2", "h3")
    assert path.link == "h2-s1+s1-s2+s2-h3"
    assert path.delay_s(64) == pytest.approx(0.014)
    assert path.loss == pytest.approx(0.1)
    assert path.jitter_s == pytest.approx(0.003)
    assert path.rate is None


def test_serialisation_of_the_probe_counts_as_asked_for() -> None:
    assert between("h3", "r1").delay_s(64) == pytest.approx(0.024 + (64 + 42) * 8 / 1e6)


def test_the_two_directions_of_a_link_are_told_apart() -> None:
    assert (between("r1", "h4").delay_s(0), between("h4", "r1").jitter_s) == (pytest.approx(0.005, rel=1e-3), 0.004)
    beyond = tree().links["r1-h4"].at("r1").ipv4
    assert beyond is not None
    assert between("h4", "r1").address == str(beyond.ip)


def test_the_median_of_a_pareto_jitter_is_below_its_mean() -> None:
    text = "name: p\nnodes: {a: {}, b: {}}\nlinks: [{ends: [a, b], delay: 50ms, jitter: 10ms, distribution: pareto}]\n"
    assert 0.046 < paths(parse(text, "p.yaml"))[0].delay_s(0) < 0.049


def test_a_large_network_is_measured_on_a_sample_spread_over_it() -> None:
    text = "name: star\ngenerate: [{family: star, hosts: 300}]\n"
    every = [path.start for path in paths(parse(text, "s.yaml"))]
    chosen = [path.start for path in paths(parse(text, "s.yaml"), most=120)]
    assert len(every) == 300
    assert len(set(chosen)) == 120
    assert every.index(chosen[-1]) > 290
    assert max(b - a for a, b in pairwise(every.index(start) for start in chosen)) == 3


def test_a_burst_lets_a_probe_through_without_waiting_for_the_rate() -> None:
    text = "name: b\nnodes: {a: {}, b: {}}\nlinks: [{ends: [a, b], delay: 5ms, rate: 1Mbit, burst: 15KiB}]\n"
    assert paths(parse(text, "b.yaml"))[0].delay_s(64) == pytest.approx(0.005)
