"""A topology as DOT, for Graphviz and what else draws it: ``dot -Tsvg``, ``neato``, ``sfdp``."""

from __future__ import annotations

from collections.abc import Iterator

from testbed.topology.model import Kind, Link, Node, Topology
from testbed.topology.shape import Shape
from testbed.units import DELAYS, RATES, SHARES
from testbed.units import write as text

_LOOK: dict[Kind, str] = {
    "host": 'shape=box, fillcolor="#dbe9f6"',
    "router": 'shape=ellipse, fillcolor="#fde3c8"',
    "switch": 'shape=underline, fillcolor="#e6e6e6"',
}


def write(topology: Topology) -> str:
    """The text of the file; links tell delay, jitter, loss and rate, in both directions where they differ."""
    lines = [f"graph {_quoted(topology.name)} {{", "  node [style=filled, fontname=Helvetica]",
             "  edge [fontname=Helvetica, fontsize=10]"]
    lines += [f"  {_quoted(node.name)} [{_look(node)}]" for node in topology.nodes.values()]
    lines += [f"  {_quoted(link.ends[0].node)} -- {_quoted(link.ends[1].node)} [{_says(link)}]"
              for link in topology.links.values()]
    return "\n".join([*lines, "}", ""])


def _look(node: Node) -> str:
    tags = f", tooltip={_quoted(' '.join(node.tags))}" if node.tags else ""
    return _LOOK[node.kind] + tags


def _says(link: Link) -> str:
    there, back = (", ".join(_brief(end.shape)) for end in link.ends)
    if there != back:
        names = [end.node for end in link.ends]
        there = "\n".join(f"{start} to {goal}: {words or 'unshaped'}"
                          for start, goal, words in zip(names, names[::-1], (there, back), strict=True))
    return f"tooltip={_quoted(link.name)}" + (f", label={_quoted(there)}" if there else "")


def _brief(shape: Shape) -> Iterator[str]:
    if shape.delay:
        yield text(shape.delay, DELAYS) + (f" ± {text(shape.jitter, DELAYS)}" if shape.jitter else "")
    if shape.loss:
        yield f"{text(shape.loss, SHARES)} loss"
    if shape.rate is not None:
        yield f"{text(shape.rate, RATES)}/s"


def _quoted(words: str) -> str:
    escaped = words.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
