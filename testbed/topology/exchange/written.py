"""A sketch as a topology file, with a leading comment on where it is from and what it leaves out."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from testbed.topology.exchange.sketch import Sketch

_WIDTH = 118


def topology_yaml(sketch: Sketch) -> str:
    """The text of the file."""
    yaml = YAML()
    yaml.width = 1 << 20  # an entry a line
    yaml.allow_unicode = True
    out = io.StringIO()
    yaml.dump(_data(sketch), out)
    return "".join(f"{line}\n" for line in _comment(sketch)) + out.getvalue()


def _comment(sketch: Sketch) -> Iterator[str]:
    yield f"# Purpose: the network {_clean(sketch.name)}, for use in experiments."
    yield from _wrapped(f"Source:  made from {_clean(Path(sketch.source).name)} by `testbed import`.", "         ")
    for fact in sketch.facts:
        yield from _wrapped(f"         {fact}", "         ")
    if sketch.notes:
        yield "# Left out, or carried over in another way:"
    for note in sketch.notes:
        yield from _wrapped(f"- {f'line {note.line}: ' if note.line else ''}{_clean(note.sentence)}", "  ")


def _wrapped(text: str, hanging: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent=f"# {hanging}", break_long_words=False,
                         break_on_hyphens=False)


def _clean(text: str) -> str:
    """``text`` on one line of a comment."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


def _data(sketch: Sketch) -> CommentedMap:
    data = CommentedMap(sketch.data())
    for key in sketch.settings or ():
        data[key] = _flow(data[key])
    data["nodes"] = CommentedMap({name: _flow(entry) for name, entry in data["nodes"].items()})
    data["links"] = CommentedSeq([_flow(entry) for entry in data["links"]])
    for node in sketch.nodes:
        if node.remark:
            data["nodes"].yaml_add_eol_comment(_clean(node.remark), node.name, column=0)
    for index, link in enumerate(sketch.links):
        if link.remark:
            data["links"].yaml_add_eol_comment(_clean(link.remark), index, column=0)
    return data


def _flow(value: object) -> object:
    """``value`` on one line, as in {ends: [a, b], delay: 1ms}."""
    if isinstance(value, dict):
        mapping = CommentedMap({key: _flow(each) for key, each in value.items()})
        mapping.fa.set_flow_style()
        return mapping
    if isinstance(value, list):
        sequence = CommentedSeq([_flow(each) for each in value])
        sequence.fa.set_flow_style()
        return sequence
    return value
