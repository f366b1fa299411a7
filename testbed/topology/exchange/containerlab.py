"""containerlab files: nodes by kind, links between two nodes. Software, mounts and management are not carried over."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from testbed.document import Document, Place, in_order, nearest, show
from testbed.document import read as read_yaml
from testbed.errors import InputError, Problem
from testbed.topology.exchange.names import Names
from testbed.topology.exchange.settle import listed
from testbed.topology.exchange.sketch import Note, Sketch, SketchLink, SketchNode
from testbed.topology.exchange.source import no_choice
from testbed.topology.model import Kind

SWITCHES = frozenset({"bridge", "ovs-bridge"})
HOSTS = frozenset({"linux", "host", "ext-container", "k8s-kind", "generic_vm", "keysight_ixia-c-one", "ixia-c-one"})
"""Kinds that run programs and do not forward; all others are network operating systems, and become routers."""
_ROUTING = re.compile(r"(^|[/_.-])(frr|frrouting|quagga|bird2?|vyos|gobgp|openbgpd|holo|bmv2)($|[/_.:-])")
_OUTSIDE = ("host", "mgmt-net", "macvlan", "dummy")
_FACT = "containerlab files have no delays and no rates; give them to all links with defaults: {link: {delay: 1ms}}."


def read(path: Path, choice: str = "") -> Sketch:
    """The network of a containerlab file; raises InputError with every problem of the file."""
    no_choice(path, choice)
    document = read_yaml(path)
    return _Reading(document).sketch(path)


def _other(mapping: Mapping[str, object], *known: str) -> list[str]:
    return [key for key in mapping if key not in known]


class _Reading:
    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = list(document.flaws)
        self.notes: list[Note] = []
        self.left: dict[str, tuple[int, list[str]]] = {}  # keys that are not carried over: first line, where
        self.kinds: dict[str, tuple[int, Kind, list[str]]] = {}

    def sketch(self, path: Path) -> Sketch:
        top = self._mapping(())
        topology = self._mapping(("topology",)) if "topology" in top else {}
        if not isinstance(topology.get("nodes"), dict):
            place: Place = ("topology",) if "topology" in top else ()
            self._refuse(place, "no topology.nodes", "a containerlab file with nodes")
        names = Names()
        nodes = {name: self._node(name, topology, names) for name in self._mapping(("topology", "nodes"))}
        links = [link for index in range(len(self._list(("topology", "links"))))
                 for link in self._link(index, nodes)]
        for key in _other(top, "name", "topology"):
            self._leave(key, (key,), "")
        for key in _other(topology, "nodes", "links", "kinds", "defaults", "groups"):
            self._leave(f"topology.{key}", ("topology", key), "")
        if self.problems:
            raise InputError(in_order(self.problems))
        name = str(top.get("name") or path.name.split(".")[0])
        return Sketch(name[:100], str(path), list(nodes.values()), links, [*self.notes, *self._told()], (_FACT,))

    def _refuse(self, place: Place, found: str, expected: str, hint: str = "") -> None:
        self.problems.append(self.document.problem(place, found, expected, hint))

    def _leave(self, key: str, place: Place, where: str) -> None:
        _, places = self.left.setdefault(key, (self.document.line(place), []))
        places += [where] if where and where not in places else []

    def _told(self) -> Iterator[Note]:
        for key, (line, places) in self.left.items():
            yield Note(line, f"{key} is not carried over{f' ({listed(places)})' if places else ''}.")
        for kind, (line, ours, places) in self.kinds.items():
            yield Note(line, f"The kind {kind} becomes a {ours}, without its software ({listed(places)}).")

    def _at(self, place: Place) -> object:
        try:
            return self.document.at(place)
        except (KeyError, IndexError, TypeError):
            return None

    def _mapping(self, place: Place) -> Mapping[str, object]:
        """The mapping at ``place``, empty where there is nothing."""
        value = self._at(place)
        if value is not None and not isinstance(value, dict):
            self._refuse(place, show(value), "a mapping (key: value)")
        return value if isinstance(value, dict) else {}

    def _list(self, place: Place) -> list[object]:
        value = self._at(place)
        if value is not None and not isinstance(value, list):
            self._refuse(place, show(value), "a list")
        return value if isinstance(value, list) else []

    def _node(self, name: str, topology: Mapping[str, object], names: Names) -> SketchNode:
        place: Place = ("topology", "nodes", name)
        line, entry = self.document.line(place), self._mapping(place)
        group = str(entry.get("group") or "")
        parents = [("topology", "groups", group)] if group else []
        kind = self._inherited("kind", [place, *parents, ("topology", "defaults")])
        layers: list[Place] = [place, *parents, ("topology", "kinds", kind), ("topology", "defaults")]
        for layer in layers:
            for key in _other(self._mapping(layer), "kind", "group"):
                self._leave(key, (*layer, key), name)
        ours = self._kind(kind, self._inherited("image", layers), name, line)
        called = names.take(name)
        if called != name:
            self.notes.append(Note(line, f"The node {name} is called {called}."))
        return SketchNode(called, ours, line, (group,) if group else ())

    def _inherited(self, key: str, layers: list[Place]) -> str:
        return next((str(found) for layer in layers if (found := self._mapping(layer).get(key))), "")

    def _kind(self, kind: str, image: str, name: str, line: int) -> Kind:
        if kind in SWITCHES:
            return "switch"
        if kind in ("", "linux") and _ROUTING.search(image):
            self.notes.append(Note(line, f"The node {name} becomes a router, since its image {image} is one."))
            return "router"
        if kind in ("", "linux"):
            return "host"
        ours: Kind = "host" if kind in HOSTS else "router"
        self.kinds.setdefault(kind, (line, ours, []))[2].append(name)
        return ours

    def _link(self, index: int, nodes: Mapping[str, SketchNode]) -> Iterator[SketchLink]:
        place: Place = ("topology", "links", index)
        line, entry = self.document.line(place), self._mapping(place)
        kind = str(entry.get("type", "veth"))
        if kind != "veth":
            self.notes.append(Note(line, f"The link of type {kind} is left out; links join two nodes."))
            return
        ends = [self._end((*place, "endpoints", number)) for number in range(len(self._list((*place, "endpoints"))))]
        if len(ends) != 2:
            self._refuse(place, f"{len(ends)} endpoints", 'two, such as ["r1:eth1", "r2:eth1"]')
            return
        for key in _other(entry, "type", "endpoints", "mtu"):
            self._leave(f"{key} of links", (*place, key), "")
        outside = [end for end in ends if end in _OUTSIDE and end not in nodes]
        if outside:
            self.notes.append(Note(line, f"The link to {outside[0]}, outside of the network, is left out."))
            return
        unknown = [end for end in ends if end and end not in nodes]
        for end in unknown:
            self._refuse((*place, "endpoints"), f"the unknown node {show(end)}", f"one of {listed(list(nodes))}",
                         nearest(end, list(nodes)))
        mtu = entry.get("mtu")
        if mtu is not None and not isinstance(mtu, int):
            self._refuse((*place, "mtu"), show(mtu), "a number of bytes")
        elif all(ends) and not unknown:
            yield SketchLink((nodes[ends[0]].name, nodes[ends[1]].name), line, mtu=mtu)

    def _end(self, place: Place) -> str:
        """The node of an endpoint, ``node:interface`` or {node: ..., interface: ...}; empty if there is none."""
        value = self._at(place)
        if isinstance(value, dict):
            for key in _other(value, "node", "interface"):
                self._leave(f"{key} of endpoints", (*place, key), "")
            value = value.get("node")
        node = value.split(":")[0].strip() if isinstance(value, str) else ""
        if not node:
            self._refuse(place, show(value), 'a node and its interface, such as "r1:eth1"')
        return node
