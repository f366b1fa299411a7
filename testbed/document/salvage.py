"""A faulty file without its faulty parts, so that what else is wrong with it can be told in the same pass."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from testbed.document.source import Place
from testbed.document.wording import Finding, findings

M = TypeVar("M", bound=BaseModel)
_ROUNDS = 5
_HOLE = object()


def salvage(
    model: type[M], data: object, found: Sequence[Finding]
) -> tuple[M | None, Mapping[Place, Sequence[int]]]:
    """The model of ``data`` without what was found faulty, or None; and for each list which entries are left of it."""
    data = copy.deepcopy(data)
    for _ in range(_ROUNDS):
        if any(not each.place for each in found):
            break
        for place in {each.place for each in found}:
            _remove(data, place)
        sound = copy.deepcopy(data, {id(_HOLE): _HOLE})
        moved: dict[Place, Sequence[int]] = {}
        _drop_holes(sound, (), moved)
        try:
            return model.model_validate(sound), moved
        except ValidationError as error:
            places = [(each, _back(each.place, moved)) for each in findings(error, sound, model)]
            found = [Finding(place, each.found, each.expected) for each, place in places]
    return None, {}


def _back(place: Place, moved: Mapping[Place, Sequence[int]]) -> Place:
    return tuple(moved[place[:depth]][part] if isinstance(part, int) and place[:depth] in moved else part
                 for depth, part in enumerate(place))


def _remove(data: object, place: Place) -> None:
    for part in place[:-1]:
        data = data[part]  # type: ignore[index]  # what the data is, only the file knows
        if data is _HOLE:
            return
    data[place[-1]] = _HOLE  # type: ignore[index]


def _drop_holes(data: object, place: Place, moved: dict[Place, Sequence[int]]) -> None:
    if isinstance(data, dict):
        for key in [key for key, value in data.items() if value is _HOLE]:
            del data[key]
        for key, value in data.items():
            _drop_holes(value, (*place, key), moved)
    elif isinstance(data, list):
        moved[place] = [index for index, value in enumerate(data) if value is not _HOLE]
        data[:] = [value for value in data if value is not _HOLE]
        for index, value in enumerate(data):
            _drop_holes(value, (*place, index), moved)
