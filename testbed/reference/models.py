"""From a pydantic model and all that it mentions to sections with tables of keys."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from testbed.reference.words import Link, bounds, default_words, models_in, type_words


@dataclass(frozen=True)
class Section:
    """The documentation of one model: ``place`` is where in the file it first stands."""

    model: type[BaseModel]
    place: str

    @property
    def anchor(self) -> str:
        """What links inside the page point to."""
        return re.sub(r"[^a-z0-9]+", "-", self.place.lower()).strip("-")


def sections(root: type[BaseModel], title: str, prefix: str = "") -> list[Section]:
    """The model ``root`` and every model that it mentions, each once, nearest first; ``prefix`` is where it stands."""
    found = {root: Section(root, title)}
    waiting = [(root, prefix)]
    while waiting:
        model, prefix = waiting.pop(0)
        for name, field in model.model_fields.items():
            for other in models_in(field.annotation):
                if other in found:
                    continue
                place = f"{prefix}{name}{_steps(field)}"
                found[other] = Section(other, place + _variant(other))
                waiting.append((other, f"{place}."))
    return list(found.values())


def _steps(field: FieldInfo) -> str:
    """What follows a key whose value is a list or a mapping of entries: ``[]`` or ``.<name>``."""
    origin = get_origin(field.annotation)
    if origin in (list, tuple):
        return "[]"
    return ".<name>" if isinstance(origin, type) and issubclass(origin, Mapping) else ""


def _variant(model: type[BaseModel]) -> str:
    """What tells a member of a union from the others: `` (family: line)``."""
    for name, field in model.model_fields.items():
        if get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1:
            return f" ({name}: {get_args(field.annotation)[0]})"
    return ""


def document(root: type[BaseModel], title: str, prefix: str = "") -> str:
    """The sections of ``root`` as Markdown; those of two roots on one page need a ``prefix`` each."""
    listed = sections(root, title, prefix)
    anchors = {section.model: section for section in listed}

    def link(model: type[BaseModel]) -> str:
        variant = _variant(model).rpartition(" ")[2].rstrip(")")
        return f"[`{variant or anchors[model].place}`](#{anchors[model].anchor})"

    return "\n".join("\n".join(_section(section, anchors, link)) for section in listed)


def _section(section: Section, anchors: Mapping[type[BaseModel], Section], link: Link) -> Iterator[str]:
    heading = section.place if " file" in section.place else f"`{section.place}`"
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
