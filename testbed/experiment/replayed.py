"""The functions that replayed traces bring into an experiment, beside those that its file lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from testbed.document import Document, Place, nearest, show
from testbed.errors import InputError, Problem
from testbed.roles.api import Function
from testbed.workload.arrivals.replay import Brought, Replay
from testbed.workload.spec import Workload


def with_replayed(
    functions: Mapping[str, Function], workload: Workload, document: Document, folder: Path
) -> tuple[dict[str, Function], list[Problem]]:
    """``functions`` and those of every trace that is replayed, each a copy of the one it is like; and the problems.

    ``folder`` is where the traces are found.
    """
    found, problems = dict(functions), list[Problem]()
    for place, replay in _replays(workload):
        if replay.like not in functions:
            known = nearest(replay.like, list(functions))
            expected = f"a function of this file ({', '.join(functions) or 'none'})"
            problems.append(document.problem((*place, "like"), show(replay.like), expected, known))
            continue
        try:
            brought = replay.brought(folder)
        except InputError as error:
            problems += [told(each, place, document, folder) for each in error.problems]
            continue
        for each in brought:
            made = _copy(functions[replay.like], each)
            if found.setdefault(each.name, made) != made:
                twice = f"a second function {show(each.name)}, with another memory"
                hint = "Give each replay a function of its own to be like."
                problems.append(document.problem(place, twice, "functions that differ to have names that do", hint))
    return found, problems


def told(problem: Problem, place: Place, document: Document, folder: Path) -> Problem:
    """The problem of a file that the experiment names, by the name it has there; without a line, at ``place``."""
    path = Path(problem.file)
    file = str(Path(document.file).parent / path.relative_to(folder) if path.is_relative_to(folder) else path)
    if problem.line:
        return replace(problem, file=file)
    return document.problem(place, f"{file}: {problem.found}", problem.expected)


def _replays(workload: Workload) -> Iterator[tuple[Place, Replay]]:
    for index, traffic in enumerate(workload.traffic):
        if isinstance(traffic.arrivals, Replay):
            yield ("workload", "traffic", index, "arrivals"), traffic.arrivals


def _copy(function: Function, each: Brought) -> Function:
    memory = function.memory_bytes if each.memory_bytes is None else each.memory_bytes
    return function.model_copy(update={"name": each.name, "memory_bytes": memory})
