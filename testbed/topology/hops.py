"""How many links away the other nodes are, worked out when somebody asks: of a thousand nodes, few ever do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from testbed.topology.model import Topology


class Hops(Mapping[str, int]):
    """From ``start`` to each of ``nodes``: links on the way."""

    def __init__(self, topology: Topology, start: str, nodes: Sequence[str]) -> None:
        self._topology, self._start, self._nodes = topology, start, dict.fromkeys(nodes)
        self._known: dict[str, int] = {}

    def __getitem__(self, node: str) -> int:
        if node not in self._nodes:
            raise KeyError(node)
        if node not in self._known:
            self._known[node] = len(self._topology.path(self._start, node))
        return self._known[node]

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)
