"""Dealing out a topology's nodes over machines when nobody says whose is whose: even parts, few and slow links cut.

A cut link pays for the way between the machines. A long delay hides that, a link without any cannot: links with long
delays are cut rather than short ones. Parts are as even in nodes as whole numbers allow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import networkx as nx
from networkx.algorithms.community import kernighan_lin_bisection

from testbed.topology.model import Topology

_STARTS = 4  # places to grow a half from; the cheapest cut of all is taken
_REFINED_UP_TO = 600  # nodes; beyond, exchanging pairs takes longer than building the network


def partition(topology: Topology, machines: Sequence[str]) -> dict[str, str]:
    """The owner of each node; the same for the same topology and machines, everywhere."""
    graph: nx.Graph[str] = nx.Graph()
    graph.add_nodes_from(topology.nodes)
    for link in topology.links.values():
        one, two = (end.node for end in link.ends)
        before = graph.edges[one, two]["weight"] if graph.has_edge(one, two) else 0.0
        graph.add_edge(one, two, weight=before + cost(min(end.shape.delay for end in link.ends)))
    owner: dict[str, str] = {}
    _share(graph, list(machines), owner)
    return {name: owner[name] for name in topology.nodes}


def cost(delay_s: float) -> float:
    """What cutting a link of this one-way delay costs: 10 without delay, 5.5 at 1 ms, nearly 1 for tens of ms."""
    return 1.0 + 9.0 / (1.0 + delay_s * 1e3)


def _share(graph: nx.Graph[str], machines: list[str], owner: dict[str, str]) -> None:
    """Halve ``graph`` and ``machines`` until each machine has its nodes."""
    if len(machines) == 1:
        owner.update(dict.fromkeys(graph, machines[0]))
        return
    some = len(machines) // 2
    size = round(len(graph) * some / len(machines))
    first = _cheapest(graph, size) if 0 < size < len(graph) else set(list(graph)[:size])
    _share(graph.subgraph([name for name in graph if name in first]), machines[:some], owner)
    _share(graph.subgraph([name for name in graph if name not in first]), machines[some:], owner)


def _cheapest(graph: nx.Graph[str], size: int) -> set[str]:
    """``size`` nodes that are cheap to cut off from the others."""
    found = [_refined(graph, _grown(graph, start, size)) for start in _starts(graph)]
    return min(found, key=lambda half: nx.cut_size(graph, half, weight="weight"))


def _starts(graph: nx.Graph[str]) -> Iterator[str]:
    """Nodes far from each other, in any component."""
    names = list(graph)
    distance = dict.fromkeys(names, len(names))
    start = names[0]
    for _ in range(min(_STARTS, len(names))):
        reached = nx.single_source_shortest_path_length(graph, start)
        distance = {name: min(distance[name], reached.get(name, len(names))) for name in names}
        start = max(names, key=lambda name: distance[name])
        yield start


def _grown(graph: nx.Graph[str], start: str, size: int) -> set[str]:
    """A connected half where possible: always the node that has most in common with those inside."""
    inside: set[str] = set()
    pull: dict[str, float] = {start: 0.0}
    rest = iter(list(graph))
    while len(inside) < size:
        if not pull:
            pull[next(name for name in rest if name not in inside)] = 0.0
        best = max(pull, key=lambda name: pull[name])
        del pull[best]
        inside.add(best)
        for name in graph[best]:
            if name not in inside:
                pull[name] = pull.get(name, 0.0) + graph.edges[best, name]["weight"]
    return inside


def _refined(graph: nx.Graph[str], half: set[str]) -> set[str]:
    if len(graph) > _REFINED_UP_TO:
        return half
    both = ([name for name in graph if name in half], [name for name in graph if name not in half])
    found = kernighan_lin_bisection(graph, both, weight="weight", seed=1)
    return next(set(each) for each in found if len(each) == len(half))  # they may come the other way round
