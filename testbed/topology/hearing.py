"""Which interfaces of a finished topology hear each other: the two of a link, or all around connected switches."""

from __future__ import annotations

from collections.abc import Iterator

import networkx as nx

from testbed.topology.model import Interface, Topology


def hearing(topology: Topology) -> Iterator[tuple[Interface, ...]]:
    """The ends on hosts and routers, those that hear each other together."""
    switches = {node.name for node in topology.of_kind("switch")}
    graph: nx.Graph[tuple[str, str]] = nx.Graph()
    for link in topology.links.values():
        graph.add_edge(*(("", end.node) if end.node in switches else (link.name, end.node) for end in link.ends))
    for part in nx.connected_components(graph):
        yield tuple(topology.links[link].at(node) for link, node in sorted(part) if link)
