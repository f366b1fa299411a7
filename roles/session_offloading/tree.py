"""The tree of locations: given as parents by child, or grown from the network.

In a grown tree the root is the location whose nearest client is farthest (ties: by all clients' hops together, then the
last in the experiment), which stands for the cloud; the parent of any other is the first location on its shortest way
to the root.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from testbed.errors import TestbedError


@dataclass(frozen=True)
class Tree:
    """Who is whose parent; the root is nobody's child. Made by :func:`given` or :func:`grown`."""

    root: str
    parents: Mapping[str, str]

    @cached_property
    def locations(self) -> tuple[str, ...]:
        """All locations, the root first."""
        return (self.root, *self.parents)

    @cached_property
    def children(self) -> Mapping[str, tuple[str, ...]]:
        """The children of each location."""
        found: dict[str, list[str]] = {name: [] for name in self.locations}
        for child, parent in self.parents.items():
            found[parent].append(child)
        return {name: tuple(children) for name, children in found.items()}

    def path(self, location: str) -> tuple[str, ...]:
        """From the root down to ``location``, both included."""
        found = [location]
        while found[-1] != self.root:
            found.append(self.parents[found[-1]])
        return tuple(reversed(found))

    def depth(self, location: str) -> int:
        """How many steps below the root it is."""
        return len(self.path(location)) - 1

    @cached_property
    def height(self) -> int:
        """The depth of the deepest leaf."""
        return max(self.depth(location) for location in self.locations)

    def is_leaf(self, location: str) -> bool:
        """Whether it has no children."""
        return not self.children[location]

    def holds(self, top: str, location: str) -> bool:
        """Whether ``location`` is in the subtree below ``top``, which itself belongs to it."""
        return location in self.children and top in self.path(location)


def given(parents: Mapping[str, str], locations: Sequence[str]) -> Tree:
    """The tree that these parents make of the locations; raises TestbedError for what is none."""
    for child, parent in parents.items():
        for name in (child, parent):
            if name not in locations:
                raise TestbedError(f"The tree names {name!r}, which is no location; there are: {', '.join(locations)}.")
    roots = [name for name in locations if name not in parents]
    if len(roots) != 1:
        found = f"{len(roots)} locations without a parent ({', '.join(roots)})" if roots else "no root: it goes round"
        raise TestbedError(f"A tree of locations has one root; this one has {found}. Give each other one its parent.")
    tree = Tree(roots[0], dict(parents))
    for name in locations:
        _refuse_loop(name, tree)
    return tree


def _refuse_loop(name: str, tree: Tree) -> None:
    seen, at = [name], name
    while at != tree.root:
        at = tree.parents[at]
        if at in seen:
            raise TestbedError(f"The tree of locations goes round: {' -> '.join([*seen, at])}.")
        seen.append(at)


def grown(graph: Mapping[str, Sequence[str]], locations: Sequence[str], clients: Iterable[str]) -> Tree:
    """The tree that the network suggests; of one location, that one."""
    hops = [_hops(graph, client) for client in clients]
    far = {name: sorted(each.get(name, 0) for each in hops) for name in locations}
    root = max(reversed(locations), key=lambda name: (far[name][:1], sum(far[name])))
    return Tree(root, dict(_parents(graph, locations, root)))


def _hops(graph: Mapping[str, Sequence[str]], start: str) -> dict[str, int]:
    found, todo = {start: 0}, deque([start])
    while todo:
        node = todo.popleft()
        for other in graph.get(node, ()):
            if other not in found:
                found[other] = found[node] + 1
                todo.append(other)
    return found


def _parents(graph: Mapping[str, Sequence[str]], locations: Sequence[str], root: str) -> Iterable[tuple[str, str]]:
    """Walk from the root outwards; each location learns which one was passed last."""
    passed, todo = {root: root}, deque([root])
    while todo:
        node = todo.popleft()
        above = node if node in locations else passed[node]
        for other in graph.get(node, ()):
            if other not in passed:
                passed[other] = above
                todo.append(other)
    return [(name, passed.get(name, root)) for name in locations if name != root]
