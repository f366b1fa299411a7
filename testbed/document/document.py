"""A YAML file with its lines, and the ways from it to a model."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from testbed.document.salvage import salvage
from testbed.document.source import Place, dotted, printable, read_yaml
from testbed.document.wording import Finding, findings, nearest, show
from testbed.errors import InputError, Problem

M = TypeVar("M", bound=BaseModel)
_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")


@dataclass(frozen=True)
class Document:
    """The data of one YAML file, the line of each place in it, and what was wrong with it as YAML.

    ``overrides`` names the places that a ``--set`` gave, with its text; problems there are told of it, not of the file.
    ``moved`` tells for a list that lost faulty entries which index each entry has in the file.
    """

    file: str
    data: object
    lines: Mapping[Place, int] = field(default_factory=dict)
    flaws: tuple[Problem, ...] = ()
    overrides: Mapping[Place, str] = field(default_factory=dict)
    moved: Mapping[Place, Sequence[int]] = field(default_factory=dict)

    def line(self, place: Place) -> int:
        """The line of ``place``, or of the nearest thing around it (0 if the file is empty)."""
        for length in range(len(place), -1, -1):
            if place[:length] in self.lines:
                return self.lines[place[:length]]
        return 0

    def at(self, place: Place) -> object:
        """The data at ``place``; KeyError or IndexError if there is none."""
        data = self.data
        for part in place:
            data = data[part]  # type: ignore[index]  # what the data is, only the file knows
        return data

    def problem(self, place: Place, found: str, expected: str, hint: str = "") -> Problem:
        """A problem of this file, with the line and the dotted path of ``place``."""
        place = self.in_file(place)
        path, found, expected, hint = (printable(text) for text in (dotted(place), found, expected, hint))
        for length in range(len(place), 0, -1):
            if place[:length] in self.overrides:
                return Problem(f"--set {self.overrides[place[:length]]}", 0, path, found, expected, hint)
        return Problem(self.file, self.line(place), path, found, expected, hint)

    def tell(self, found: Iterable[Finding], prefix: Place = ()) -> list[Problem]:
        """The problems that findings below ``prefix`` stand for."""
        return [self.problem((*prefix, *each.place), each.found, each.expected, each.hint) for each in found]

    def in_file(self, place: Place) -> Place:
        """Where in the file, as it was read, stands what is at ``place`` now that faulty entries are left out."""
        shifted = ((place[:depth], part) for depth, part in enumerate(place))
        return tuple(self.moved[above][part] if isinstance(part, int) and above in self.moved else part
                     for above, part in shifted)

    def into(self, model: type[M], prefix: Place = ()) -> M:
        """The data below ``prefix`` as a ``model``; raises InputError with every problem."""
        made, _, problems = self.attempt(model, prefix)
        if made is None or problems:
            raise InputError(problems)
        return made

    @property
    def context(self) -> Mapping[str, object]:
        """What validators may ask for: the ``folder`` of this file, which its paths are relative to."""
        return {"folder": Path(self.file).resolve().parent}

    def attempt(self, model: type[M], prefix: Place = ()) -> Attempt[M]:
        """What can be made of the data below ``prefix``, and all problems in the order of the file."""
        under = dotted(self.in_file(prefix))
        flaws = [each for each in self.flaws if not each.path or each.path.startswith(under)]
        if self.data is None:
            return Attempt(None, self, flaws or [Problem(self.file, 0, "", "an empty file", "a mapping (key: value)")])
        data = self.at(self.in_file(prefix))
        try:
            whole = model.model_validate(data, context=self.context)
            return Attempt(whole, self, in_order(flaws))
        except ValidationError as error:
            found = findings(error, data, model)
        told = {each.path for each in flaws if each.path}
        problems = [each for each in self.tell(found, prefix) if each.path not in told]
        made, moved = salvage(model, data, found)
        rest = replace(self, moved={(*prefix, *place): indices for place, indices in moved.items()})
        return Attempt(made, rest, in_order([*flaws, *problems]))


class Attempt(NamedTuple, Generic[M]):
    """A model and the problems on the way to it.

    With problems, the model is made of what is left without the faulty parts (None if too little is left), so that a
    caller can look for further problems, which ``document`` then places; it must not be used for anything else.
    """

    model: M | None
    document: Document
    problems: list[Problem]


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """The problems by line, each once; those without a line first."""
    return sorted(dict.fromkeys(problems), key=lambda each: each.line)


def read(path: Path) -> Document:
    """The YAML file ``path`` as a document; raises InputError if it cannot be read or is not YAML."""
    file = str(path)
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8-sig")
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        found = "nothing of this name" if missing else f"what cannot be read ({error.strerror})"
        raise InputError([Problem(file, 0, "", found, "a YAML file", _neighbours(path))]) from None
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        found = f"the byte 0x{raw[error.start]:02x}"
        raise InputError([Problem(file, line, "", found, "text in UTF-8", "Save the file as UTF-8.")]) from None
    return parse_document(text, file)


def _neighbours(path: Path) -> str:
    if not path.parent.is_dir():
        return f"There is no folder {path.parent}." if str(path.parent) != "." else ""
    return nearest(path.name, sorted(each.name for each in path.parent.iterdir()))


def parse_document(text: str, name: str) -> Document:
    """YAML ``text`` as a document that calls itself ``name``."""
    reading = read_yaml(text, name)
    return Document(name, reading.data, reading.lines, tuple(reading.problems))


def load(path: Path, model: type[M]) -> M:
    """The YAML file ``path`` as a ``model``; raises InputError with every problem of the file."""
    return read(path).into(model)


def parse(text: str, name: str, model: type[M]) -> M:
    """YAML ``text`` as a ``model``, as :func:`load` does with a file; ``name`` stands for the file in messages."""
    return parse_document(text, name).into(model)


def set_path(document: Document, assignment: str) -> Document:
    """The document with one value changed, as ``--set workload.arrivals.rate=20/s`` asks for.

    The value is YAML. Mappings that are missing on the way are made, for the model to judge; a place that cannot exist
    (inside a text, beyond the end of a list) raises InputError.
    """
    written, equals, text = assignment.partition("=")
    place = _parse_place(written.strip())
    if not equals or not place:
        found = show(assignment)
        raise InputError([Problem("--set", 0, "", found, "path=value, such as workload.arrivals.rate=20/s")])
    reading = read_yaml(text, f"--set {assignment}")
    if reading.problems:
        raise InputError(reading.problems)
    data = copy.deepcopy(document.data) if document.data is not None else {}
    _assign(data, place, reading.data, assignment)
    return replace(document, data=data, overrides={**document.overrides, place: assignment})


def _parse_place(written: str) -> Place:
    place: list[str | int] = []
    position = 0
    while position < len(written):
        match = _STEP.match(written, position)
        if match is None:
            return ()
        place.append(match[1] if match[1] is not None else int(match[2]))
        position = match.end()
    return tuple(place)


def _assign(data: object, place: Place, value: object, assignment: str) -> None:
    for depth, part in enumerate(place):
        last = depth == len(place) - 1
        if isinstance(data, dict) and isinstance(part, str):
            if last:
                data[part] = value
            elif data.get(part) is None:
                data[part] = {}
            data = data[part]
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            if last:
                data[part] = value
            data = data[part]
        else:
            expected = f"a list of at least {part + 1}" if isinstance(part, int) else "a mapping (key: value)"
            raise InputError([Problem(f"--set {assignment}", 0, dotted(place[:depth]), show(data), expected)])
