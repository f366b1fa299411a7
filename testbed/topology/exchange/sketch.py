"""A network as another program describes it, in our words: nodes, links, and notes on what is left out.

A sketch is what the readers make. It becomes a document for ``testbed.topology.load``, with the lines of its source, so
that a problem of the network is told where it is; ``written.py`` makes a file of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from testbed.document import Document, Place
from testbed.topology.model import Kind

Texts = Mapping[str, str]
"""Keys of a shape with their values as a file has them: ``{"delay": "10ms"}``."""


@dataclass(frozen=True, slots=True)
class Note:
    """One thing that the topology does not have, or has in another way, and the line of the source (0: the whole)."""

    line: int
    sentence: str


@dataclass(frozen=True, slots=True)
class SketchNode:
    """A node; ``remark`` stands beside it in a written file, ``limits`` are keys of its entry there."""

    name: str
    kind: Kind
    line: int
    tags: tuple[str, ...] = ()
    remark: str = ""
    limits: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SketchLink:
    """A link; ``shapes[0]`` acts from ``ends[0]`` to ``ends[1]``. Without ``name`` it is called by its ends."""

    ends: tuple[str, str]
    line: int
    shapes: tuple[Texts, Texts] = ({}, {})
    name: str = ""
    mtu: int | None = None
    addresses: Mapping[str, tuple[str, ...]] | None = None
    remark: str = ""

    def data(self) -> dict[str, object]:
        """The link as an entry of a topology file."""
        there, back = self.shapes
        both = {key: text for key, text in there.items() if back.get(key) == text}
        whole: dict[str, object] = {"ends": list(self.ends)}
        whole |= {"name": self.name} if self.name else {}
        whole |= both
        whole |= {"mtu": self.mtu} if self.mtu is not None else {}
        for key, shape in (("forward", there), ("backward", back)):
            own = {each: text for each, text in shape.items() if each not in both}
            whole |= {key: own} if own else {}
        addresses = {node: list(of) for node, of in (self.addresses or {}).items()}
        return whole | ({"addresses": addresses} if addresses else {})


@dataclass(frozen=True, slots=True)
class Sketch:
    """A whole network; ``settings`` are further keys of the file, ``facts`` sentences on how values were found.

    ``is_own`` marks a network that this program wrote, which needs no settling.
    """

    name: str
    source: str
    nodes: Sequence[SketchNode]
    links: Sequence[SketchLink]
    notes: Sequence[Note] = ()
    facts: Sequence[str] = ()
    settings: Mapping[str, object] | None = None
    is_own: bool = False

    def data(self) -> dict[str, object]:
        """The network as the data of a topology file."""
        nodes = {node.name: _entry(node) for node in self.nodes}
        links = [link.data() for link in self.links]
        return {"name": self.name, **(self.settings or {}), "nodes": nodes, "links": links}

    def document(self) -> Document:
        """The network as a document whose lines are those of the source."""
        lines: dict[Place, int] = {("nodes", node.name): node.line for node in self.nodes}
        lines |= {("links", index): link.line for index, link in enumerate(self.links)}
        return Document(self.source, self.data(), lines)

    @property
    def told(self) -> tuple[str, ...]:
        """The notes for a terminal, each with its place."""
        return tuple(f"{self.source}:{note.line}: {note.sentence}" if note.line else f"{self.source}: {note.sentence}"
                     for note in self.notes)


def _entry(node: SketchNode) -> dict[str, object]:
    kind = {} if node.kind == "host" else {"kind": node.kind}
    return {**kind, **({"tags": list(node.tags)} if node.tags else {}), **node.limits}
