"""Where things are in a GraphML file: networkx reads the values, and tells no lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.etree import ElementTree as Xml
from xml.parsers import expat

from testbed.document import in_order
from testbed.errors import InputError, Problem
from testbed.topology.exchange.sketch import Note

_TYPES: Mapping[str, type] = {"int": int, "integer": int, "long": int, "float": float, "double": float, "real": float}
_BOOLEANS = {"true", "false", "0", "1"}
_UNREAD = {"hyperedge": "hyper-edge", "port": "port"}


@dataclass(frozen=True, slots=True)
class Key:
    """An attribute that the file declares."""

    name: str
    kind: str
    line: int


@dataclass
class Outline:
    """The lines of nodes, edges and attributes, in the order of the file, and what is wrong with them."""

    file: str
    nodes: dict[str, int] = field(default_factory=dict)
    edges: list[tuple[str, str, int]] = field(default_factory=list)
    keys: dict[str, Key] = field(default_factory=dict)
    used: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often an attribute is given: (graph, node or edge; the key's id)."""
    notes: list[Note] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def outline(raw: bytes, name: str) -> Outline:
    """The outline of GraphML; raises InputError with every problem of the file."""
    walk = _Walk(name)
    try:
        walk.parser.Parse(raw, True)
    except expat.ExpatError as error:
        what = f"broken XML ({expat.ErrorString(error.code)})"
        raise InputError([*walk.found.problems, Problem(name, error.lineno, "", what, "a GraphML file")]) from None
    except (LookupError, ValueError) as error:  # an encoding that does not exist, or that the parser does not know
        raise InputError([Problem(name, 1, "", f"XML that cannot be read ({error})", "XML in UTF-8")]) from None
    return _checked(walk.found)


def without_hyperedges(raw: bytes) -> bytes:
    """The same GraphML without its hyper-edges, which networkx refuses; the outline has noted them."""
    if b"hyperedge" not in raw:
        return raw
    root = Xml.fromstring(raw)
    for graph in root.iterfind("{*}graph"):
        for each in graph.findall("{*}hyperedge"):
            graph.remove(each)
    return Xml.tostring(root)


def _checked(found: Outline) -> Outline:
    for source, target, line in found.edges:
        for end in dict.fromkeys((source, target)):
            if end not in found.nodes:
                what = f"an edge to the unknown node {end!r}"
                found.problems.append(Problem(found.file, line, "", what, "the id of a node"))
    if found.problems:
        raise InputError(in_order(found.problems))
    return found


class _Walk:
    """What the XML parser calls; ``path`` are the names of the elements that are open."""

    def __init__(self, file: str) -> None:
        self.found = Outline(file)
        self.path: list[str] = []
        self.text: list[str] = []
        self.data = ""  # the key of the data element that is open
        self.graphs = 0
        self.is_directed = False
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self.text.append
        self.parser.EntityDeclHandler = self._entity

    def _refuse(self, found: str, expected: str, hint: str = "") -> None:
        self.found.problems.append(Problem(self.found.file, self.parser.CurrentLineNumber, "", found, expected, hint))

    def _note(self, sentence: str) -> None:
        self.found.notes.append(Note(self.parser.CurrentLineNumber, sentence))

    def _entity(self, *declaration: object) -> None:
        self._refuse("an entity declaration", "a GraphML file without one", "Remove the <!ENTITY ...>.")

    def _start(self, tag: str, given: dict[str, str]) -> None:
        name = tag.rpartition(" ")[2]
        self.path.append(name)
        if len(self.path) == 1 and name != "graphml":
            self._refuse(f"the element <{name}>", "a GraphML file, whose outermost element is <graphml>")
        elif self.path == ["graphml", "key"]:
            self._key(given)
        elif name == "graph":
            self._graph(given)
        elif self.graphs == 1 and self.path[:2] == ["graphml", "graph"]:
            self._part(name, given)

    def _key(self, given: Mapping[str, str]) -> None:
        name, kind = given.get("attr.name", given.get("yfiles.type", "")), given.get("attr.type", "string")
        if "id" not in given or not name:
            self._refuse("an attribute without id or attr.name", '<key id="..." for="..." attr.name="..." .../>')
        elif kind not in _TYPES and kind not in ("string", "boolean"):
            self._refuse(f"the attribute type {kind!r}", "one of string, boolean, int, long, float, double")
        else:
            self.found.keys[given["id"]] = Key(name, kind, self.parser.CurrentLineNumber)

    def _graph(self, given: Mapping[str, str]) -> None:
        if len(self.path) > 2:
            self._note("A graph within a graph is left out.")
            return
        self.graphs += 1
        self.is_directed = given.get("edgedefault") == "directed"
        if self.graphs == 2:
            self._note("This graph and those below are left out; only the first of a file is read.")

    def _part(self, name: str, given: Mapping[str, str]) -> None:
        line, depth = self.parser.CurrentLineNumber, len(self.path)
        if depth == 3 and name == "node":
            self._node(given.get("id", ""), line)
        elif depth == 3 and name == "edge":
            ends = given.get("source", ""), given.get("target", "")
            if given.get("directed", str(self.is_directed).lower()) != str(self.is_directed).lower():
                self._refuse("an edge with a direction of its own", "edges that are all as edgedefault of <graph> says")
            self.found.edges.append((*ends, line))
        elif name in _UNREAD and depth in (3, 4):
            self._note(f"The {_UNREAD[name]} is left out; links join two nodes.")
        elif name == "data" and (depth == 3 or (depth == 4 and self.path[2] in ("node", "edge"))):
            self.data = given.get("key", "")
            self.text.clear()
            if self.data in self.found.keys:
                self.found.used[self.path[-2], self.data] += 1
            else:
                self._refuse(f"data with the unknown key {self.data!r}", "the id of a <key> above <graph>")

    def _node(self, name: str, line: int) -> None:
        if not name:
            self._refuse("a node without id", '<node id="...">')
        elif name in self.found.nodes:
            self._refuse(f"a second node {name!r} (first in line {self.found.nodes[name]})", "each id once")
        self.found.nodes.setdefault(name, line)

    def _end(self, tag: str) -> None:
        if self.path.pop() == "data" and self.data:
            self._check(self.found.keys.get(self.data))
            self.data = ""

    def _check(self, key: Key | None) -> None:
        text = "".join(self.text).strip()
        if key is None or key.kind == "string":
            return
        if key.kind == "boolean":
            fits = text.lower() in _BOOLEANS
        else:
            try:
                fits = _TYPES[key.kind](text) is not None
            except ValueError:
                fits = False
        if not fits:
            self._refuse(f"{key.name} {text[:40]!r}", f"a value of the type {key.kind}")
