"""From a pydantic model and all that it mentions to sections with tables of keys."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from testbed.reference.words import Link, bounds, default_words, models_in, type_words


@dataclass(frozen=True)
class Section:
    """The documentation of one model: ``place`` is where it first stands, ``variant`` which of several things there.

    A variant is a member of a union that is chosen by one key: ``key`` and ``variant`` are that key and its value.
    """

    model: type[BaseModel]
    place: str
    key: str = ""
    variant: str = ""

    @property
    def title(self) -> str:
        """``generate[] (family: line)``."""
        return f"{self.place} ({self.key}: {self.variant})" if self.variant else self.place

    @property
    def anchor(self) -> str:
        """What links inside the page point to."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")

    @property
    def link(self) -> str:
        """A mention of this section on its page."""
        return f"[`{self.variant or self.place}`](#{self.anchor})"


def sections(root: type[BaseModel], title: str, prefix: str = "") -> list[Section]:
    """The model ``root`` and every model that it mentions, each once, nearest first; ``prefix`` is where it stands."""
    found = {root: Section(root, title)}
    waiting = [(root, prefix)]
    while waiting:
        model, prefix = waiting.pop(0)
        for name, field in model.model_fields.items():
            place, key = f"{prefix}{name}{_steps(field)}", _chooser(field.annotation, [field, *field.metadata])
            for other in models_in(field.annotation):
                if other not in found:
                    found[other] = Section(other, place, key, _value_of(other, key))
                    waiting.append((other, f"{place}."))
    return list(found.values())


def _steps(field: FieldInfo) -> str:
    """What follows a key whose value is a list or a mapping of entries: ``[]`` or ``.<name>``."""
    origin = get_origin(field.annotation)
    if origin in (list, tuple):
        return "[]"
    return ".<name>" if isinstance(origin, type) and issubclass(origin, Mapping) else ""


def _chooser(annotation: object, metadata: Sequence[object] = ()) -> str:
    """The key by which the members of a union are told apart, wherever in the type it stands; else nothing."""
    for mark in metadata:
        if isinstance(mark, FieldInfo) and isinstance(mark.discriminator, str):
            return mark.discriminator
    inner, *marks = get_args(annotation) if get_origin(annotation) is Annotated else (None,)
    if inner is not None:
        return _chooser(inner, marks)
    return next((key for part in get_args(annotation) if (key := _chooser(part))), "")


def _value_of(model: type[BaseModel], key: str) -> str:
    """The value of ``key`` that chooses ``model``."""
    return str(get_args(model.model_fields[key].annotation)[0]) if key in model.model_fields else ""


def document(root: type[BaseModel], title: str, prefix: str = "") -> str:
    """The sections of ``root`` as Markdown; those of two roots on one page need a ``prefix`` each."""
    listed = {section.model: section for section in sections(root, title, prefix)}

    def link(model: type[BaseModel]) -> str:
        return listed[model].link

    return "\n".join("\n".join(_section(section, listed, link)) for section in listed.values())


def _section(section: Section, anchors: Mapping[type[BaseModel], Section], link: Link) -> Iterator[str]:
    heading = section.title if section.title.endswith(" file") else f"`{section.title}`"
    yield f'<a id="{section.anchor}"></a>\n\n## {heading}\n'
    yield f"{prose(section.model.__doc__ or '')}\n"
    base = next((each for each in section.model.__mro__[1:] if issubclass(each, BaseModel) and each in anchors), None)
    inherited = base.model_fields if base is not None else {}
    fields = {name: field for name, field in section.model.model_fields.items() if name not in inherited}
    if base is not None:
        yield f"It has all keys of {link(base)}{', and these:' if fields else '.'}\n"
    if not fields:
        return
    yield "| Key | Value | Default | Meaning |\n|---|---|---|---|"
    for name, field in fields.items():
        yield _row(section, field.alias or name, field, link)
    yield ""


def _row(section: Section, name: str, field: FieldInfo, link: Link) -> str:
    limits = bounds(field.metadata)
    value = type_words(field.annotation, link, field.metadata) + (f", {limits}" if limits else "")
    key = f'<a id="key-{section.anchor}-{name}"></a>`{name}`'
    cells = (key, value, default_words(field), prose(field.description or ""))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def prose(text: str) -> str:
    """A docstring as one paragraph of Markdown; only what is marked as code may hold a ``<``."""
    parts = " ".join(text.split()).replace("``", "`").split("`")
    return "`".join(part.replace("<", "&lt;") if index % 2 == 0 else part for index, part in enumerate(parts))
