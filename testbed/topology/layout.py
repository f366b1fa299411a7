"""Where nodes go in a drawing: the same places for the same network.

Nodes with one link stand around the node that they hang on. What is left, the core, is a straight line where it is a
line, a radial tree where it is a tree (or too large for anything better), else placed so that distances on paper come
close to distances in links (stress majorisation; Gansner, Koren, North, 2004).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

import networkx
import numpy

from testbed.topology.model import Topology

Spot = tuple[float, float]
Graph = networkx.Graph  # the type of its nodes, str, can be told to the checker only
MAX_STRESS = 200
"""Cores larger than this are drawn as a radial tree, since anything better takes seconds."""


def layout(topology: Topology) -> Mapping[str, Spot]:
    """A spot for each node, in units of about one link length; y grows downwards."""
    graph: Graph[str] = networkx.Graph()
    graph.add_nodes_from(topology.nodes)
    graph.add_edges_from((link.ends[0].node, link.ends[1].node) for link in topology.links.values())
    placed: dict[str, Spot] = {}
    left = 0.0
    for part in networkx.connected_components(graph):
        names = [name for name in graph if name in part]  # a set has no order of its own
        spots = _part(graph, names)
        shift = left - min(x for x, _ in spots.values())
        placed |= {name: (x + shift, y) for name, (x, y) in spots.items()}
        left = max(x for x, _ in placed.values()) + 1.0
    return placed


def _part(graph: Graph[str], names: list[str]) -> dict[str, Spot]:
    core = [name for name in names if graph.degree(name) > 1]
    inner: Graph[str] = networkx.Graph(graph.subgraph(core))
    is_tree = bool(core) and networkx.is_tree(inner)
    if is_tree and len(core) > 1 and max(dict(inner.degree).values()) <= 2:
        return _with_leaves(graph, names, _line(graph, inner, names))
    if is_tree or len(core) < 3 or len(core) > MAX_STRESS:
        return radial(graph, names)
    spots = _with_leaves(graph, names, _stress(inner, core))
    return _apart(spots) if len(spots) <= 2 * MAX_STRESS else spots


def _line(graph: Graph[str], inner: Graph[str], names: list[str]) -> dict[str, Spot]:
    """The core in a row, the end with the node that the file names first on the left."""

    def first(end: str) -> int:
        return min(names.index(each) for each in (end, *graph[end]) if each == end or each not in inner)

    left, right = sorted((name for name in inner if inner.degree(name) == 1), key=first)
    row = networkx.shortest_path(inner, left, right)
    return {name: (float(x), 0.0) for x, name in enumerate(row)}


def _stress(graph: Graph[str], names: list[str]) -> dict[str, Spot]:
    count = len(names)
    ways = dict(networkx.all_pairs_shortest_path_length(graph))
    wanted = numpy.array([[float(ways[a][b]) for b in names] for a in names]) + numpy.eye(count)
    weights = (1 - numpy.eye(count)) / wanted**2
    inverse = numpy.linalg.pinv(numpy.diag(weights.sum(axis=1)) - weights)
    start = radial(graph, names)
    spots = numpy.array([start[name] for name in names])
    for _ in range(120):
        apart = numpy.linalg.norm(spots[:, None] - spots[None, :], axis=2)
        pull = -weights * wanted / numpy.maximum(apart, 1e-3)
        numpy.fill_diagonal(pull, 0.0)
        numpy.fill_diagonal(pull, -pull.sum(axis=1))
        spots = inverse @ pull @ spots
    return {name: (float(x), float(y)) for name, (x, y) in zip(names, spots, strict=True)}


def _with_leaves(graph: Graph[str], names: list[str], spots: dict[str, Spot]) -> dict[str, Spot]:
    """Leaves stand in the widest gaps between the links of their node."""
    placed = dict(spots)
    hanging: dict[str, list[str]] = {name: [] for name in spots}
    for name in names:
        if name not in spots:
            hanging[next(iter(graph[name]))].append(name)
    for name, leaves in hanging.items():
        x, y = spots[name]
        near = [math.atan2(spots[other][1] - y, spots[other][0] - x) for other in graph[name] if other in spots]
        for leaf, angle in zip(leaves, _fan(near, len(leaves)), strict=True):
            placed[leaf] = (x + math.cos(angle), y + math.sin(angle))
    return placed


def _apart(spots: Mapping[str, Spot]) -> dict[str, Spot]:
    """The same spots, but nodes that would cover each other pushed apart."""
    names, near = list(spots), 0.38
    places = numpy.array([spots[name] for name in names])
    for _ in range(30):
        between = places[:, None] - places[None, :]
        far = numpy.linalg.norm(between, axis=2)
        numpy.fill_diagonal(far, near)
        push = numpy.clip(near - far, 0, None) / numpy.maximum(far, 1e-3) / 4
        places = places + (between * push[:, :, None]).sum(axis=1)
    return {name: (float(x), float(y)) for name, (x, y) in zip(names, places, strict=True)}


def _fan(taken: Iterable[float], count: int) -> Iterator[float]:
    """``count`` directions in the widest gaps between those that are taken; of equal gaps the lower first."""
    angles = sorted(angle % (2 * math.pi) for angle in taken)
    gaps = [((b - a) % (2 * math.pi) or 2 * math.pi, a) for a, b in zip(angles, [*angles[1:], angles[0]], strict=True)]
    widest = max(gap for gap, _ in gaps)
    wide = [gap for gap in gaps if gap[0] > 0.9 * widest]
    wide.sort(key=lambda gap: -round(math.sin(gap[1] + gap[0] / 2), 6))
    for index, (gap, begin) in enumerate(wide):
        here = count // len(wide) + (index < count % len(wide))
        step = min(0.7, gap / (here + 1))
        yield from (begin + gap / 2 + (number - (here - 1) / 2) * step for number in range(here))


def radial(graph: Graph[str], names: list[str]) -> dict[str, Spot]:
    """A tree (of shortest ways) around the middle of the network; each branch gets an angle by its leaves."""
    root = _middle(graph, names)
    edges = list(networkx.bfs_edges(graph, root))
    children: dict[str, list[str]] = {name: [] for name in names}
    for parent, child in edges:
        children[parent].append(child)
    order = [root, *(child for _, child in edges)]
    leaves: dict[str, int] = {}
    for name in reversed(order):
        leaves[name] = sum(leaves[child] for child in children[name]) or 1
    depth, sector = {root: 0}, {root: (math.pi, 3 * math.pi)}
    for name in order:
        begin, end = sector[name]
        turn = (end - begin) / leaves[name]
        if name == root and children[name]:  # the first branch points to the left
            begin -= turn * leaves[children[name][0]] / 2
        for child in children[name]:
            sector[child] = (begin, begin + turn * leaves[child])
            begin += turn * leaves[child]
            depth[child] = depth[name] + 1
    rings = _rings(depth)
    return {name: _polar(rings[depth[name]], sum(sector[name]) / 2) for name in names}


def _rings(depth: Mapping[str, int]) -> list[float]:
    """The radius of each ring: one link apart, wider where many nodes must stand side by side."""
    count = [0] * (max(depth.values()) + 1)
    for level in depth.values():
        count[level] += 1
    spacing = 0.45 if len(depth) <= 80 else 0.15
    radii = [0.0]
    for level in range(1, len(count)):
        radii.append(max(radii[-1] + 1.0, count[level] * spacing / (2 * math.pi)))
    return radii


def _polar(radius: float, angle: float) -> Spot:
    return radius * math.cos(angle), radius * math.sin(angle)


def _middle(graph: Graph[str], names: list[str]) -> str:
    """The middle of a longest way: two searches find it in a tree, and come close in other networks."""
    far = list(networkx.bfs_edges(graph, names[0]))
    ways = networkx.single_source_shortest_path(graph, far[-1][1] if far else names[0])
    longest: list[str] = max(ways.values(), key=len)
    return longest[(len(longest) - 1) // 2]
