"""Which nodes are told their neighbours' hardware addresses in advance.

The kernel keeps at most 1024 learned neighbours in each family, for all namespaces of the machine together
(net.ipv4.neigh.default.gc_thresh3), and then refuses to send with ENOBUFS. Small networks learn them, as real ones do.
In networks that could come near the limit, permanent entries, which do not count, take their place.

On a LAN of more than 32 members only what goes through a router is entered: all pairs would be too many. So more than
500 pairs of hosts that talk at once on such LANs still meet the limit; root can raise gc_thresh3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations

from testbed.topology.hearing import hearing
from testbed.topology.model import Interface, Topology

LEARNED_AT_MOST = 500
_ALL_PAIRS_UP_TO = 32


def neighbours(topology: Topology) -> Mapping[str, list[tuple[Interface, Interface]]]:
    """For each node the pairs of its own interface and the neighbour's behind it that are to be entered for good."""
    routers = {node.name for node in topology.of_kind("router")}
    pairs = [pair for members in hearing(topology) for pair in _pairs(members, routers)]
    found: dict[str, list[tuple[Interface, Interface]]] = {}
    if len(pairs) > LEARNED_AT_MOST:
        for own, other in pairs:
            found.setdefault(own.node, []).append((own, other))
    return found


def _pairs(members: Sequence[Interface], routers: set[str]) -> Iterator[tuple[Interface, Interface]]:
    if len(members) <= _ALL_PAIRS_UP_TO:
        yield from permutations(members, 2)
        return
    for router in (each for each in members if each.node in routers):
        for other in (each for each in members if each is not router):
            yield router, other
            if other.node not in routers:
                yield other, router
