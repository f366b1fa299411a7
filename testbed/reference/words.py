"""Types and defaults of model fields, as words of a reference."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from testbed import units

Link = Callable[[type[BaseModel]], str]


@dataclass(frozen=True, slots=True)
class Quantity:
    """How a quantity is called, how one is written, and the units that there are."""

    name: str
    example: str
    table: Mapping[str, float]

    @property
    def words(self) -> str:
        """``time (10ms)``."""
        return f"{self.name} (`{self.example}`)"


QUANTITIES: Mapping[str, Quantity] = {
    "time": Quantity("time", "10ms", units.DELAYS),
    "rate": Quantity("rate", "10Mbit", units.RATES),
    "share": Quantity("share", "0.1%", units.SHARES),
    "size": Quantity("size", "64KiB", units.SIZES),
    "queue": Quantity("queue limit", "100p", {"p": 1, **units.SIZES}),
    "frequency": Quantity("frequency", "20/s", units.FREQUENCIES),
    "offset": Quantity("time, ahead or behind", "-300ms", units.DELAYS),
    "drift": Quantity("drift", "200ppm", units.DRIFTS),
}
"""By the name in :class:`testbed.units.Unit`."""

_PLAIN = {str: "text", int: "whole number", float: "number", bool: "true or false", Any: "anything",
          type(None): "nothing", Path: "path of a file"}
_BOUNDS = (("ge", "at least {}"), ("gt", "above {}"), ("le", "at most {}"), ("lt", "below {}"),
           ("min_length", "at least {} of them"), ("max_length", "at most {} long"), ("pattern", "matches `{}`"))


def unit_of(annotation: object, metadata: Sequence[object] = ()) -> str:
    """The name of the quantity that a type measures, wherever in the type it stands; empty for a plain type."""
    for mark in metadata:
        if isinstance(mark, units.Unit):
            return mark.name
    if get_origin(annotation) is Annotated:
        inner, *marks = get_args(annotation)
        return unit_of(inner, marks)
    return next((found for part in get_args(annotation) if (found := unit_of(part))), "")


def type_words(annotation: object, link: Link, metadata: Sequence[object] = ()) -> str:
    """What may stand there, for a person; ``link`` makes the mention of another model."""
    quantity = QUANTITIES.get(next((mark.name for mark in metadata if isinstance(mark, units.Unit)), ""))
    if quantity is not None:
        return quantity.words
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_words(parts[0], link, parts[1:])
    if origin is Literal:
        return _either([f"`{value}`" for value in parts])
    if origin in (Union, types.UnionType):
        return _either([type_words(part, link) for part in parts if part is not type(None)])
    if origin in (list, tuple) or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return _collection(origin, parts, link)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return link(annotation)
    return _PLAIN.get(annotation, "") or _class_words(annotation)  # type: ignore[call-overload]


def _either(words: Sequence[str]) -> str:
    words = list(dict.fromkeys(words))
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def _collection(origin: object, parts: tuple[Any, ...], link: Link) -> str:
    if origin is tuple and Ellipsis not in parts:
        return f"list: [{', '.join(type_words(part, link) for part in parts)}]"
    if origin in (list, tuple):
        return f"list of {type_words(parts[0], link)}"
    return f"mapping: {type_words(parts[0], link)} → {type_words(parts[1], link)}"


def _class_words(annotation: object) -> str:
    name = getattr(annotation, "__name__", str(annotation))
    return name.replace("Network", " subnet").replace("Interface", " address with prefix length")


def bounds(metadata: Sequence[object]) -> str:
    """The limits of a value: ``at least 1, at most 1000``."""
    found = {name: getattr(mark, name) for mark in metadata for name, _ in _BOUNDS
             if getattr(mark, name, None) is not None}
    if "gt" in found and "ge" in found:  # a type's own limit and a stricter one of the field
        del found["ge" if found["gt"] >= found["ge"] else "gt"]
    return ", ".join(words.format(found[name]) for name, words in _BOUNDS if name in found)


def default_words(field: FieldInfo) -> str:
    """The default as it would stand in a file; ``required`` where there is none."""
    if field.is_required():
        return "**required**"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined or value is None:
        return "none"
    return _value(value, unit_of(field.annotation, field.metadata))


def _value(value: object, unit: str) -> str:
    if isinstance(value, BaseModel):
        told = value.model_dump(mode="json")
        given = {name: told[name] for name in type(value).model_fields if name in value.model_fields_set}
        return f"`{{{', '.join(f'{name}: {each}' for name, each in given.items())}}}`" if given else "its defaults"
    if isinstance(value, list | tuple | Mapping) and not value:
        return "`[]`" if not isinstance(value, Mapping) else "`{}`"
    if isinstance(value, int | float) and not isinstance(value, bool) and unit in QUANTITIES:
        return f"`{_shortest(value, QUANTITIES[unit].table)}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`" if value != "" else "empty"


def _shortest(amount: float, table: Mapping[str, float]) -> str:
    """The amount in the unit that says it in the fewest characters: 128MB rather than 122.0703125MiB."""
    ways = [units.write(amount, {name: factor}) for name, factor in table.items() if name != "µs" and amount >= factor]
    return min(ways, key=len, default=units.write(amount, table))


def models_in(annotation: object) -> Iterator[type[BaseModel]]:
    """Every model that a type mentions, in order."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        if not isinstance(part, str):
            yield from models_in(part)
