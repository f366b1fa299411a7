"""GraphML as in the Internet Topology Zoo, and as ``graphml_out.py`` writes it.

Of the zoo: ``label`` makes the name of a node, ``Latitude`` and ``Longitude`` the delay of its links, ``LinkSpeedRaw``
(bits per second) or ``LinkSpeed`` with ``LinkSpeedUnits`` their rate. Every node becomes a router.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import networkx

from testbed import units
from testbed.document import in_order
from testbed.errors import InputError, Problem
from testbed.topology.exchange import plain, source, sphere
from testbed.topology.exchange.names import Names
from testbed.topology.exchange.outline import Outline, outline, without_hyperedges
from testbed.topology.exchange.settle import listed
from testbed.topology.exchange.sketch import Note, Sketch, SketchLink, SketchNode, Texts
from testbed.topology.model import Kind
from testbed.topology.routing import Routing

OWN = "edge-testbed"
"""The value of the attribute ``format`` of a graph that this program wrote."""
WAYS = ("forward", "backward")
ENDS = ("source", "target")
_KINDS = ("host", "router", "switch")
_SPEED_UNITS = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_READ: Mapping[str, frozenset[str]] = {
    "graph": frozenset({"Network", "label", "name", "format", *(f"routing_{key}" for key in Routing.model_fields)}),
    "node": frozenset({"label", "Latitude", "Longitude", "hyperedge", "kind", "tags",
                       *plain.LIMITS.values()}),
    "edge": frozenset({"name", "mtu_bytes", "LinkSpeedRaw", "LinkSpeed", "LinkSpeedUnits", "LinkLabel", "id", "key",
                       *(f"{end}_{family}" for end in ENDS for family in ("ipv4", "ipv6")),
                       *(f"{way}_{key}" for way in WAYS for key in plain.KEYS)}),
}  # fmt: skip


def read(path: Path, choice: str = "") -> Sketch:
    """The network of a GraphML file; raises InputError with every problem of the file."""
    source.no_choice(path, choice)
    raw = source.raw(path, "a GraphML file")
    lines = outline(raw, str(path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ports, which the outline has noted
            graph = networkx.read_graphml(io.BytesIO(without_hyperedges(raw)), force_multigraph=True)
    except (networkx.NetworkXError, KeyError, ValueError, TypeError, AttributeError) as error:
        found = f"what networkx cannot read ({error})"
        raise InputError([Problem(str(path), 0, "", found, "a GraphML file with one <graph>")]) from None
    return _Reading(graph, lines, path).sketch()


@dataclass(frozen=True, slots=True)
class _Edge:
    source: str
    target: str
    line: int
    data: Mapping[str, Any]
    back: Mapping[str, Any] | None = None  # of the opposite edge of a directed graph


class _Reading:
    def __init__(self, graph: Any, lines: Outline, path: Path) -> None:
        self.graph, self.lines, self.path = graph, lines, path
        self.is_own = str(graph.graph.get("format", "")).startswith(OWN)
        self.notes = list(lines.notes)
        self.problems: list[Problem] = []
        self.defaults = {each: graph.graph.get(f"{each}_default", {}) for each in ("node", "edge")}

    def sketch(self) -> Sketch:
        names = Names()
        nodes = {each: self._node(each, names) for each in self.lines.nodes}
        edges = self._edges()
        links = [self._link(edge, nodes) for edge in edges]
        if self.problems:
            raise InputError(in_order(self.problems))
        self.notes += [*self._unused(), *self._without_place(edges, nodes)]
        settings = self._settings(links, nodes) if self.is_own else {}
        given = [self.graph.graph.get(each) for each in ("Network", "name", "label")]
        name = str(next(filter(None, given), self.path.stem))[:100]
        return Sketch(name, str(self.path), list(nodes.values()), links, self.notes,
                      () if self.is_own else (sphere.FACT,), settings, self.is_own)

    def _refuse(self, line: int, found: str, expected: str) -> None:
        self.problems.append(Problem(str(self.path), line, "", found, expected))

    def _of(self, node: str) -> Mapping[str, Any]:
        return {**self.defaults["node"], **self.graph.nodes[node]}

    def _node(self, node: str, names: Names) -> SketchNode:
        data, line = self._of(node), self.lines.nodes[node]
        label = str(data.get("label") or node)
        kind = data.get("kind") if data.get("kind") in _KINDS else "router"
        name = names.take(label, f"n{node}")
        if data.get("hyperedge") in (1, True, "1", "true"):
            self.notes.append(Note(line, f"The hyper-edge {label} becomes the router {name}, which joins its nodes."))
        return SketchNode(name, cast(Kind, kind), line, self._tags(data, line), label if label != name else "",
                          plain.limit_entries(data))

    def _tags(self, data: Mapping[str, Any], line: int) -> tuple[str, ...]:
        text = data.get("tags", "[]")
        try:
            tags = json.loads(text)
        except ValueError:
            tags = None
        if isinstance(tags, list) and all(isinstance(each, str) for each in tags):
            return tuple(tags)
        self._refuse(line, f"the tags {text!r}", 'a JSON list such as ["edge"]')
        return ()

    def _edges(self) -> list[_Edge]:
        """The edges in the order of the file; of a directed graph, an edge and the next opposite one are one link."""
        values: dict[object, Iterator[Mapping[str, Any]]] = {}
        one_way: dict[tuple[str, str], list[int]] = {}
        found: list[_Edge] = []
        for a, b, line in self.lines.edges:
            pair = (a, b) if self.graph.is_directed() else frozenset((a, b))
            several = values.setdefault(pair, iter(self.graph[a][b].values()))
            data = next(several, None)
            if data is None:
                self._refuse(line, f"a second edge of this id between {a!r} and {b!r}", "each id once")
                continue
            data = {**self.defaults["edge"], **data}
            if self.graph.is_directed() and one_way.get((b, a)):
                first = one_way[b, a].pop(0)
                found[first] = replace(found[first], back=data)
                continue
            one_way.setdefault((a, b), []).append(len(found))
            found.append(_Edge(a, b, line, data))
        if self.graph.is_directed():
            self.notes += [Note(edge.line, "An edge in one direction is carried over as a link in both.")
                           for edge in found if edge.back is None]
        return found

    def _link(self, edge: _Edge, nodes: Mapping[str, SketchNode]) -> SketchLink:
        ends = nodes[edge.source].name, nodes[edge.target].name
        there = self._shape(edge, edge.data, "forward")
        back = self._shape(edge, edge.data if edge.back is None else edge.back, "backward")
        name = str(edge.data.get("name", ""))
        return SketchLink(ends, edge.line, (there, back), "" if name == "-".join(ends) else name,
                          edge.data.get("mtu_bytes"), self._addresses(edge, ends),
                          str(edge.data.get("LinkLabel", "")))

    def _shape(self, edge: _Edge, data: Mapping[str, Any], way: str) -> dict[str, str]:
        given = {key: data[f"{way}_{key}"] for key in plain.KEYS if f"{way}_{key}" in data}
        try:
            shape = plain.texts(given)
        except ValueError as error:
            self._refuse(edge.line, f"{error}", "numbers")
            return {}
        if "delay" not in shape and not self.is_own:
            shape |= sphere.delay(self._of(edge.source), self._of(edge.target))
        return shape if "rate" in shape else {**shape, **self._rate(edge, data)}

    def _rate(self, edge: _Edge, data: Mapping[str, Any]) -> Texts:
        raw, unit = data.get("LinkSpeedRaw"), 1.0
        if raw is None and "LinkSpeed" in data:
            letter = str(data.get("LinkSpeedUnits", "")).strip().upper()[:1]
            raw, unit = data["LinkSpeed"], _SPEED_UNITS.get(letter, 0.0)
        try:
            amount = float(raw or 0) * unit
        except ValueError:
            amount = 0.0
        if 0 < amount < 1e18:
            return {"rate": units.write(amount, units.RATES)}
        if raw is not None:
            self.notes.append(Note(edge.line, f"The link speed {raw!r} is left out, since no link can have it."))
        return {}

    def _addresses(self, edge: _Edge, ends: tuple[str, str]) -> dict[str, tuple[str, ...]]:
        found = {name: tuple(str(edge.data[f"{end}_{family}"]) for family in ("ipv4", "ipv6")
                             if f"{end}_{family}" in edge.data)
                 for end, name in zip(ENDS, ends, strict=True)}
        return {name: addresses for name, addresses in found.items() if addresses}

    def _settings(self, links: Sequence[SketchLink], nodes: Mapping[str, SketchNode]) -> dict[str, object]:
        """How routes are found, and no pool for a family that some host or router has no address of."""
        routing = {key: found for key, field in Routing.model_fields.items()
                   if (found := self.graph.graph.get(f"routing_{key}", field.default)) != field.default}
        settings: dict[str, object] = {"routing": routing} if routing else {}
        switches = {node.name for node in nodes.values() if node.kind == "switch"}
        ends = [(link.addresses or {}).get(end, ()) for link in links for end in link.ends if end not in switches]
        pools = {family: "none" for family, mark in (("ipv4", "."), ("ipv6", ":"))
                 if any(ends) and not all(any(mark in each for each in addresses) for addresses in ends)}
        return settings | ({"addressing": pools} if pools else {})

    def _unused(self) -> Iterator[Note]:
        for scope, read_ones in _READ.items():
            left = [self.lines.keys[key] for of, key in self.lines.used
                    if of == scope and self.lines.keys[key].name not in read_ones]
            if left:
                names = listed(list(dict.fromkeys(each.name for each in left)))
                line = min(each.line for each in left)
                yield Note(line, f"These attributes of {scope}s are not carried over: {names}.")

    def _without_place(self, edges: Sequence[_Edge], nodes: Mapping[str, SketchNode]) -> Iterator[Note]:
        if self.is_own:
            return
        lost = {node for node in self.lines.nodes if sphere.place(self._of(node)) is None}
        if len(lost) == len(nodes):
            yield Note(0, "No node has Latitude and Longitude, so that links have no delay.")
            return
        for node in sorted(lost, key=self.lines.nodes.__getitem__):
            count = sum(node in (edge.source, edge.target) for edge in edges)
            yield Note(self.lines.nodes[node], f"The node {nodes[node].name} has no place on the earth (Latitude, "
                       f"Longitude in degrees), so that its links ({count}) have no delay.")
