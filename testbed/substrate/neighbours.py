"""Which nodes are told their neighbours' hardware addresses in advance.

The kernel keeps at most 1024 learned neighbours in each family, for all namespaces of the machine together
(net.ipv4.neigh.default.gc_thresh3), and then refuses to send with ENOBUFS. Small networks learn them, as real ones do.
In networks that could come near the limit, permanent entries, which do not count, take their place.

On a LAN of more than 32 members only what goes through a router is entered: all pairs would be too many. So more than
500 pairs of hosts that talk at once on such LANs still meet the limit; root can raise gc_thresh3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import permutations

import networkx as nx

from testbed.topology.model import Interface, Topology

LEARNED_AT_MOST = 500
_ALL_PAIRS_UP_TO = 32


def neighbours(topology: Topology) -> Mapping[str, list[tuple[Interface, Interface]]]:
    """For each node the pairs of its own interface and the neighbour's behind it that are to be entered for good."""
    routers = {node.name for node in topology.of_kind("router")}
    pairs = [pair for members in _segments(topology) for pair in _pairs(members, routers)]
    found: dict[str, list[tuple[Interface, Interface]]] = {}
    if len(pairs) > LEARNED_AT_MOST:
        for own, other in pairs:
            found.setdefault(own.node, []).append((own, other))
    return found


def _segments(topology: Topology) -> Iterator[list[Interface]]:
    """The interfaces that hear each other: the two of a link, or all around connected switches."""
    switches = {node.name for node in topology.of_kind("switch")}
    graph: nx.Graph[tuple[str, str]] = nx.Graph()
    for link in topology.links.values():
        graph.add_edge(*(("", end.node) if end.node in switches else (link.name, end.node) for end in link.ends))
    for part in nx.connected_components(graph):
        yield [topology.links[link].at(node) for link, node in sorted(part) if link]


def _pairs(members: list[Interface], routers: set[str]) -> Iterator[tuple[Interface, Interface]]:
    if len(members) <= _ALL_PAIRS_UP_TO:
        yield from permutations(members, 2)
        return
    for router in (each for each in members if each.node in routers):
        for other in (each for each in members if each is not router):
            yield router, other
            if other.node not in routers:
                yield other, router
