"""From the errors of pydantic to problems that a person can act on.

Pydantic names a place in its own terms (branches of unions, fields that a short form was turned into) and reports a
union once for each branch. Here every error is brought back to a place in the file, and a union to one sentence.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from testbed.document.source import Place

_EXPECTED = {
    "model_type": "a mapping (key: value)", "dict_type": "a mapping (key: value)",
    "mapping_type": "a mapping (key: value)", "model_attributes_type": "a mapping (key: value)", "list_type": "a list",
    "tuple_type": "a list", "set_type": "a list", "frozen_set_type": "a list", "string_type": "text",
    "int_type": "a whole number", "int_parsing": "a whole number", "int_from_float": "a whole number",
    "int_parsing_size": "a whole number", "float_type": "a number", "float_parsing": "a number",
    "bool_type": "true or false", "bool_parsing": "true or false", "finite_number": "a finite number",
    "none_required": "nothing", "path_type": "text that names a file",
    "greater_than": "more than {gt}", "greater_than_equal": "at least {ge}", "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "too_short": "at least {min_length} of them", "too_long": "at most {max_length} of them",
    "string_too_short": "text of at least {min_length} letters",
    "string_too_long": "text of at most {max_length} letters",
    "string_pattern_mismatch": "text of the form {pattern}", "literal_error": "{expected}", "enum": "{expected}",
    "union_tag_invalid": "{expected_tags}", "refused": "{expected}",
}

# Words of other tools that are not spelt like ours.
_MEANT = {"latency": "delay", "lat": "delay", "bandwidth": "rate", "bw": "rate", "speed": "rate", "capacity": "rate",
          "packetloss": "loss", "plr": "loss", "type": "kind", "limit": "queue", "buffer": "queue", "labels": "tags",
          "gaussian": "normal", "bridge": "switch", "endpoints": "ends", "edges": "links", "vertices": "nodes"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not fit the model: where in the data, what is there, what should be, what to do."""

    place: Place
    found: str
    expected: str
    hint: str = ""


def show(value: object) -> str:
    """A value as it goes into a message, at most about 60 letters long."""
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= 60 else f'"{value[:57]}..."'
    if isinstance(value, Mapping):
        return f"a mapping with {_some(value)}" if value else "an empty mapping"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}" if value else "an empty list"
    if isinstance(value, bool):
        return str(value).lower()
    return "nothing" if value is None else str(value)[:60]


def _some(names: Iterable[object]) -> str:
    shown = [str(name)[:30] for name in names]
    return ", ".join(shown[:4]) + (", ..." if len(shown) > 4 else "")


def nearest(word: str, known: Iterable[str]) -> str:
    """``Try X.`` for the known word that is spelt most like ``word``, or nothing if none is near."""
    by_lower = {name.lower(): name for name in reversed(list(known))}
    word = _MEANT.get(word.lower().replace("_", ""), word)
    found = difflib.get_close_matches(word.lower()[:100], by_lower, n=1, cutoff=0.6)
    return f"Try {by_lower[found[0]]}." if found else ""


def findings(error: ValidationError, data: object, model: type[BaseModel]) -> list[Finding]:
    """What is wrong with ``data``, once for each place."""
    located = [_Located.of(each, data) for each in error.errors(include_url=False)]
    whole = [each for each in located if each.fork is None]
    forks: dict[Place, list[_Located]] = {}
    for each in located:
        if each.fork is not None:
            forks.setdefault(each.fork, []).append(each)
    found = [each.finding(data, model) for each in whole]
    for fork, branches in forks.items():
        found += _settle(fork, branches, data, model)
    return found


@dataclass(frozen=True, slots=True)
class _Located:
    """An error of pydantic with its place in the data; ``fork`` is the place of the outermost union it came through."""

    error: ErrorDetails
    place: Place
    fork: Place | None
    branch: str

    @classmethod
    def of(cls, error: ErrorDetails, data: object) -> _Located:
        place: Place = ()
        fork: Place | None = None
        branch = ""
        parts = list(error["loc"][:-1] if error["type"] == "missing" else error["loc"])
        for part in parts:
            inside, data_below = _step(data, part)
            if inside:
                place, data = (*place, part), data_below
            elif fork is None and part != "[key]":
                fork, branch = place, str(part)
        return cls(error, place, fork, branch)

    def finding(self, data: object, model: type[BaseModel]) -> Finding:
        value = _at(data, self.place)
        match self.error["type"]:
            case "missing":
                return self._missing(model)
            case "extra_forbidden":
                return self._unknown(model)
            case "union_tag_not_found":
                name = self.error["ctx"]["discriminator"].strip("'")
                return Finding(self.place, f"no key {name}", f"the key {name}")
            case "union_tag_invalid":
                return self._tag(value)
        return Finding(self.place, show(value), _expected(self.error), _hint(self.error, value))

    def _missing(self, model: type[BaseModel]) -> Finding:
        name = self.error["loc"][-1]
        field = f"key {name}" if isinstance(name, str) else f"entry {name + 1}"
        told = _description(model, self.error["loc"])
        return Finding(self.place, f"no {field}", f"the {field}{f' ({told})' if told else ''}")

    def _unknown(self, model: type[BaseModel]) -> Finding:
        known = [name for cls in _owners(model, self.error["loc"][:-1]) for name in _keys(cls)]
        expected = f"one of {', '.join(known)}" if known else "no keys here"
        return Finding(self.place, "an unknown key", expected, nearest(str(self.error["loc"][-1]), known))

    def _tag(self, value: object) -> Finding:
        name = self.error["ctx"]["discriminator"].strip("'")
        inside, tag = _step(value, name)
        place = (*self.place, name) if inside else self.place
        before, comma, last = _expected(self.error).rpartition(", ")
        expected = f"{before} or {last}" if comma else last
        return Finding(place, show(tag), expected, _nearest_of(self.error["ctx"]["expected_tags"], tag))


def _hint(error: ErrorDetails, value: object) -> str:
    context: dict[str, Any] = error.get("ctx", {})
    if error["type"] in ("literal_error", "enum"):
        return _nearest_of(context["expected"], value)
    if error["type"] == "string_type" and isinstance(value, (int, float)):
        return f'Put it in quotes: "{show(value)}".'
    if error["type"] in ("list_type", "tuple_type") and isinstance(value, (str, int, float)):
        return f"Put it in brackets: [{value}]." if len(str(value)) < 40 else "Put it in brackets."
    return str(context.get("hint", "")) if error["type"] == "refused" else ""


def _nearest_of(quoted: str, value: object) -> str:
    return nearest(value, quoted.split("'")[1::2]) if isinstance(value, str) else ""


def _expected(error: ErrorDetails) -> str:
    context: dict[str, Any] = error.get("ctx", {})
    if error["type"] in _EXPECTED:
        return _EXPECTED[error["type"]].format(**context).replace("'", "")
    text = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ").removesuffix(".")
    return text[:1].lower() + text[1:]


def _settle(fork: Place, branches: Sequence[_Located], data: object, model: type[BaseModel]) -> list[Finding]:
    """The errors of a union as few findings: those of the branch that was meant, else one that names all branches."""
    by_branch: dict[str, list[_Located]] = {}
    for each in branches:
        by_branch.setdefault(each.branch, []).append(each)
    meant = [group for group in by_branch.values() if not any(_is_other_kind(each, fork) for each in group)]
    if len(by_branch) == 1 or meant:
        group = min(meant or by_branch.values(), key=len)
        return [each.finding(data, model) for each in group]
    all_found = [each.finding(data, model) for each in branches if each.place == fork]
    expected = " or ".join(dict.fromkeys(each.expected for each in all_found))
    hint = next((each.hint for each in all_found if each.hint), "")
    return [Finding(fork, show(_at(data, fork)), expected, hint)]


def _is_other_kind(each: _Located, fork: Place) -> bool:
    return each.place == fork and each.error["type"] not in ("missing", "extra_forbidden")


def _step(data: object, part: str | int) -> tuple[bool, object]:
    if isinstance(data, Mapping) and part in data:
        return True, data[part]
    if isinstance(data, list) and isinstance(part, int) and part < len(data):
        return True, data[part]
    return False, None


def _at(data: object, place: Place) -> object:
    for part in place:
        data = _step(data, part)[1]
    return data


# What follows walks the annotations of a model, to know which keys an entry may have.


def _alternatives(annotation: Any) -> list[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _alternatives(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [each for arg in get_args(annotation) for each in _alternatives(arg)]
    return [annotation]


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _below(annotation: Any, part: str | int) -> list[Any]:
    if _is_model(annotation):
        return [each for name, field in annotation.model_fields.items() if part in (name, field.alias)
                for each in _alternatives(field.annotation)]
    arguments = [each for each in get_args(annotation) if each is not Ellipsis]
    if get_origin(annotation) is Literal or not arguments:
        return []
    return _alternatives(arguments[part] if isinstance(part, int) and len(arguments) > part > 0 else arguments[-1])


def _named(annotation: Any, label: str | int) -> bool:
    if not _is_model(annotation):
        return False
    tags = [tag for field in annotation.model_fields.values() for tag in get_args(field.annotation)]
    return annotation.__name__ == label or label in tags


def _owners(model: type[BaseModel], loc: Sequence[str | int]) -> list[type[BaseModel]]:
    """The models that can stand at ``loc``."""
    here: list[Any] = [model]
    for part in loc:
        inside = [each for annotation in here for each in _below(annotation, part)]
        here = [each for each in here if _named(each, part)] or inside or here
    return [each for each in here if _is_model(each)]


def _keys(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _description(model: type[BaseModel], loc: Sequence[str | int]) -> str:
    for owner in _owners(model, loc[:-1]):
        field = owner.model_fields.get(str(loc[-1]))
        if field and field.description:
            first = field.description.split(". ")[0].split("; ")[0].removesuffix(".")
            return first[:1].lower() + first[1:]
    return ""
