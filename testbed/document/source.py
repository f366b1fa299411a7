"""From YAML text to plain data, with the line of every value.

The tree of YAML nodes is walked here instead of by a YAML constructor, because a constructor knows the line of its
first error only, lets aliases grow without bound and builds whatever a tag names.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from testbed.errors import InputError, Problem

Place = tuple[str | int, ...]
"""Where a value is inside a file: mapping keys and list indices (from 0), outermost first."""

_TAG = "tag:yaml.org,2002:"
_PLAIN = re.compile(r"[A-Za-z_][\w-]*$")
MAX_ALIASED = 100_000
"""How many values aliases may add to a file; far above any honest file, far below what hurts."""

# What the YAML parser lets through on hostile input, beside its own errors.
_SLIPS = (ValueError, LookupError, ArithmeticError, AttributeError, TypeError, AssertionError, NotImplementedError)


def printable(text: str) -> str:
    """``text`` on one line that a terminal can show: what cannot be printed becomes its escape."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def dotted(place: Place) -> str:
    """A place as a person reads it: ``links[2].delay``."""
    text = ""
    for part in place:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN.match(part):
            text += f".{part}" if text else part
        else:
            text += f'["{part[:40]}"]'
    return text


@dataclass
class Reading:
    """What was read of one file: its data, the line of each place, and what was wrong on the way."""

    file: str
    data: object = None
    lines: dict[Place, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def refuse(self, place: Place, line: int, found: str, expected: str, hint: str = "") -> None:
        """Note one problem and go on."""
        path = printable(dotted(place))
        self.problems.append(Problem(self.file, line, path, printable(found), expected, printable(hint)))


def read_yaml(text: str, file: str) -> Reading:
    """Read ``text``; raises InputError where it is not YAML at all, and notes lesser problems in the result."""
    root = _compose(text, file)
    reading = Reading(file)
    if root is not None:
        reading.data = _Builder(reading).value(root, ())
    return reading


def _compose(text: str, file: str) -> Node | None:
    yaml = YAML(typ="safe", pure=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a reused anchor is odd, but legal
            root: Node | None = yaml.compose(text)
            return root
    except RecursionError:
        problem = _too_deep(file, 0)
    except MarkedYAMLError as error:
        problem = _syntax_problem(error, text, file)
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problem = Problem(file, line, "", f"the character {_shown(error.character)}", "printable text", "Remove it.")
    except (YAMLError, *_SLIPS) as error:
        found = f"something that is not YAML ({printable(str(error))[:100]})"
        problem = Problem(file, 0, "", found, "a YAML file")
    raise InputError([problem])


def _too_deep(file: str, line: int) -> Problem:
    return Problem(file, line, "", "lists or mappings nested too deeply", "at most some hundred levels")


def _shown(character: object) -> str:
    return f"U+{character:04X}" if isinstance(character, int) else ascii(character)


def _integer(text: str) -> int:
    bare = text.replace("_", "")
    return int(bare, 0) if bare.lstrip("+-")[:2].lower() in ("0x", "0o", "0b") else int(bare, 10)


def _float(text: str) -> float:
    return float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))


_SCALARS: dict[str, Callable[[str], object]] = {
    "str": str, "timestamp": str, "null": lambda text: None, "bool": lambda text: text.lower() == "true",
    "int": _integer, "float": _float,
}


def _syntax_problem(error: MarkedYAMLError, text: str, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    number = mark.line + 1 if mark else 0
    lines = text.splitlines()
    line = lines[number - 1] if 0 < number <= len(lines) else ""
    found = printable(" ".join(str(error.problem or error.context or "broken YAML").split()))
    if "\t" in line[: len(line) - len(line.lstrip())] or "'\\t'" in found:
        return Problem(file, number, "", "a tab where the line is indented", "spaces", "Indent with spaces.")
    if "single document" in str(error.context):
        return Problem(file, number, "", "a second YAML document", "one document a file", "Remove the line ---.")
    context = " ".join(str(error.context or "").split())
    found = f"broken YAML ({found} {context})" if context and context != found else f"broken YAML ({found})"
    return Problem(file, number, "", found, "valid YAML", _syntax_hint(found, line))


def _syntax_hint(found: str, line: str) -> str:
    if "undefined alias" in found:
        return "Define the anchor (&name) above its first use, or put a text that begins with * in quotes."
    if "cannot start any token" in found:
        return "Put the text in quotes."
    if "mapping values are not allowed" in found:
        return "Check the indentation, and put a text that holds ': ' in quotes."
    if "expected <block end>" in found:
        return "Check the indentation: entries of one block begin in one column."
    if "expected ',' or" in found:
        return "Check the brackets and commas."
    return "Close the quote." if "quoted scalar" in found else ""


class _Builder:
    """Walks the YAML nodes of one file; keeps count of what aliases add."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._seen: set[int] = set()
        self._open: set[int] = set()
        self._aliased = 0

    def value(self, node: Node, place: Place) -> object:
        line = node.start_mark.line + 1
        self._reading.lines.setdefault(place, line)
        if id(node) in self._open:
            self._reading.refuse(place, line, "an alias of what it is a part of", "a value that ends")
            return None
        self._count(node, place, line)
        if isinstance(node, ScalarNode):
            return self._scalar(node, place, line)
        self._open.add(id(node))
        try:
            return self._collection(node, place, line)
        except RecursionError:
            raise InputError([_too_deep(self._reading.file, line)]) from None
        finally:
            self._open.discard(id(node))

    def _count(self, node: Node, place: Place, line: int) -> None:
        self._aliased += id(node) in self._seen
        self._seen.add(id(node))
        if self._aliased > MAX_ALIASED:
            found = f"aliases that make more than {MAX_ALIASED} values"
            raise InputError([Problem(self._reading.file, line, "", found, "a file that stays small when read")])

    def _collection(self, node: Node, place: Place, line: int) -> object:
        tag = str(node.tag)
        if tag not in (_TAG + "map", _TAG + "seq"):
            self._refuse_tag(tag, place, line)
            return None
        if isinstance(node, SequenceNode):
            return [self.value(item, (*place, index)) for index, item in enumerate(node.value)]
        assert isinstance(node, MappingNode)
        return self._mapping(node, place)

    def _mapping(self, node: MappingNode, place: Place) -> dict[str, object]:
        found: dict[str, object] = {}
        merged: dict[str, object] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if str(key_node.tag) == _TAG + "merge":
                merged |= self._merge(value_node, place, line)
                continue
            key = self._key(key_node, place, line)
            if key is None:
                continue
            if key in found:
                first = self._reading.lines[*place, key]
                self._reading.refuse((*place, key), line, f"this key a second time (first in line {first})",
                                     "each key once", "Remove one of the two.")
                continue
            self._reading.lines[*place, key] = line
            found[key] = self.value(value_node, (*place, key))
        return merged | found

    def _merge(self, node: Node, place: Place, line: int) -> dict[str, object]:
        sources = node.value if isinstance(node, SequenceNode) else [node]
        merged: dict[str, object] = {}
        for source in sources:
            if not isinstance(source, MappingNode):
                self._reading.refuse(place, line, "<< with something that is not a mapping", "<<: *name of a mapping")
                continue
            value = self.value(source, place)
            if isinstance(value, dict):
                merged = value | merged
        return merged

    def _key(self, node: Node, place: Place, line: int) -> str | None:
        if not isinstance(node, ScalarNode):
            self._reading.refuse(place, line, "a list or a mapping as a key", "keys that are text")
            return None
        if str(node.tag) in (_TAG + "str", _TAG + "timestamp"):
            return str(node.value)
        hint = f'Put it in quotes: "{node.value}".' if node.value else "Write the key before the colon."
        self._reading.refuse(place, line, f"the key {node.value[:40] or 'without text'}", "keys that are text", hint)
        return None

    def _scalar(self, node: ScalarNode, place: Place, line: int) -> object:
        tag = str(node.tag)
        if not tag.startswith(_TAG) or tag.removeprefix(_TAG) not in _SCALARS:
            self._refuse_tag(tag, place, line)
            return None
        try:
            return _SCALARS[tag.removeprefix(_TAG)](str(node.value))
        except ValueError:
            kind = tag.removeprefix(_TAG)
            self._reading.refuse(place, line, f'"{node.value[:40]}"', f"a value that can be read as {kind}")
            return None

    def _refuse_tag(self, tag: str, place: Place, line: int) -> None:
        shown = tag.replace(_TAG, "!!")
        self._reading.refuse(place, line, f"the YAML tag {shown[:60]}", "plain values", "Remove the tag.")
