"""Builds the families of ``family.py``: the nodes and the links that they wish for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise, product

import networkx

from testbed.document import Place
from testbed.seeds import stream
from testbed.topology.draft import NodeDraft, Wish
from testbed.topology.family import FatTree, Generator, Grid, Line, RandomGeometric, Ring, Spined, Star, Tree
from testbed.topology.limits import UNLIMITED
from testbed.topology.model import Kind


class Builder:
    """Collects what one generator makes; ``place`` is where the file asks for it."""

    def __init__(self, family: Generator, place: Place) -> None:
        self.family, self.place = family, place
        self.nodes: list[NodeDraft] = []
        self.wishes: list[Wish] = []

    def node(self, name: str, kind: Kind) -> str:
        """Add a node and return its full name."""
        full = self.family.prefix + name
        tags, limits = (self.family.tags, self.family) if kind == "host" else ((), UNLIMITED)
        self.nodes.append(NodeDraft(full, kind, tags, self.place, limits))
        return full

    def inner(self, count: int, kind: Kind = "router") -> list[str]:
        """Add ``count`` routers r1... or switches s1..."""
        return [self.node(f"{kind[0]}{number}", kind) for number in range(1, count + 1)]

    def join(self, a: str, b: str) -> None:
        """Add a link between inner nodes."""
        self.wishes.append(Wish((a, b), self.family.link, self.place))

    def host(self, name: str, at: str) -> None:
        """Add a host and its link to ``at``."""
        access = getattr(self.family, "access", self.family.link)
        self.wishes.append(Wish((self.node(name, "host"), at), access, self.place))


def generate(families: Sequence[Generator]) -> tuple[list[NodeDraft], list[Wish]]:
    """The nodes and links of all families; a family too large to build must have been refused before."""
    nodes: list[NodeDraft] = []
    wishes: list[Wish] = []
    for index, family in enumerate(families):
        builder = Builder(family, ("generate", index))
        _BUILD[type(family)](family, builder)
        nodes += builder.nodes
        wishes += builder.wishes
    return nodes, wishes


def _hosts(family: Spined, inner: Iterable[str], build: Builder) -> None:
    for number, name in enumerate(inner, 1):
        for each in range(1, family.hosts + 1):
            build.host(f"h{number}" if family.hosts == 1 else f"h{number}-{each}", name)


def _line(family: Line, build: Builder) -> None:
    inner = build.inner(family.nodes, family.kind)
    for a, b in pairwise(inner):
        build.join(a, b)
    _hosts(family, inner, build)


def _ring(family: Ring, build: Builder) -> None:
    inner = build.inner(family.nodes)
    for a, b in pairwise([*inner, inner[0]]):
        build.join(a, b)
    _hosts(family, inner, build)


def _star(family: Star, build: Builder) -> None:
    (centre,) = build.inner(1, family.kind)
    for number in range(1, family.hosts + 1):
        build.host(f"h{number}", centre)


def _tree(family: Tree, build: Builder) -> None:
    inner = build.inner(sum(family.fanout**level for level in range(family.depth)), family.kind)
    children = iter(inner[1:])
    leaves = iter(range(1, family.fanout**family.depth + 1))
    for parent in inner:
        for _ in range(family.fanout):
            child = next(children, None)
            if child is not None:
                build.join(parent, child)
            else:
                build.host(f"h{next(leaves)}", parent)


def _grid(family: Grid, build: Builder) -> None:
    inner = build.inner(family.rows * family.columns)
    at = dict(zip(product(range(family.rows), range(family.columns)), inner, strict=True))
    for (row, column), name in at.items():
        for neighbour in ((row, column + 1), (row + 1, column)):
            if neighbour in at:
                build.join(name, at[neighbour])
    _hosts(family, inner, build)


def _fat_tree(family: FatTree, build: Builder) -> None:
    half = range(1, family.k // 2 + 1)
    core = [build.node(f"c{number}", "router") for number in range(1, len(half) ** 2 + 1)]
    for pod in range(1, family.k + 1):  # links in an order that lets the routes to one pod go together
        aggregation = [build.node(f"a{pod}-{number}", "router") for number in half]
        edge = [build.node(f"e{pod}-{number}", "router") for number in half]
        for group, name in enumerate(aggregation):
            for up in core[group * len(half) : (group + 1) * len(half)]:
                build.join(up, name)
            for down in edge:
                build.join(name, down)
        for number, host in product(half, half):
            build.host(f"h{pod}-{number}-{host}", edge[number - 1])


def _geometric(family: RandomGeometric, build: Builder) -> None:
    inner = build.inner(family.nodes)
    for a, b in close_pairs(family, family.radius):
        build.join(inner[a], inner[b])
    _hosts(family, inner, build)


def close_pairs(family: RandomGeometric, radius: float) -> Iterator[tuple[int, int]]:
    """The routers that are at most ``radius`` apart, as pairs of their indices."""
    spots = places(family)
    for a, (x, y) in enumerate(spots):
        for b in range(a + 1, len(spots)):
            if (x - spots[b][0]) ** 2 + (y - spots[b][1]) ** 2 <= radius * radius:
                yield a, b


def places(family: RandomGeometric) -> list[tuple[float, float]]:
    """Where the routers are; each has its own random stream, so that more routers leave the first where they are."""
    streams = (stream(family.seed, "random-geometric", str(number)) for number in range(family.nodes))
    return [(each.random(), each.random()) for each in streams]


def radius_needed(family: RandomGeometric) -> float | None:
    """None if the routers are connected, else the smallest radius (two decimals, rounded up) that connects them."""
    graph = networkx.Graph(close_pairs(family, family.radius))
    graph.add_nodes_from(range(family.nodes))
    if networkx.is_connected(graph):
        return None
    low, high = round(family.radius * 100), 142
    while high - low > 1:  # connectedness grows with the radius, so halving finds the first that does
        middle = (low + high) // 2
        graph = networkx.Graph(close_pairs(family, middle / 100))
        graph.add_nodes_from(range(family.nodes))
        low, high = (low, middle) if networkx.is_connected(graph) else (middle, high)
    return high / 100


_BUILD: dict[type[Generator], Callable[..., None]] = {
    Line: _line, Ring: _ring, Star: _star, Tree: _tree, Grid: _grid, FatTree: _fat_tree, RandomGeometric: _geometric,
}
