"""From an experiment file to an :class:`Experiment`, or to one error that tells all that is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from testbed import places
from testbed.document import Document, in_order, read, set_path
from testbed.errors import InputError, Problem
from testbed.experiment.model import Experiment, ExperimentFile
from testbed.experiment.resolve import Resolver
from testbed.timeline.actions import SetShape
from testbed.timeline.force import InForce
from testbed.topology.shape import Shape


def load(path: Path, sets: Sequence[str] = ()) -> Experiment:
    """The experiment in ``path`` with every ``path=value`` of ``sets`` applied; raises InputError with all problems."""
    document = read(places.find(path))
    for assignment in sets:
        document = set_path(document, assignment)
    return from_text(document)


def from_text(document: Document) -> Experiment:
    """The experiment of a document; raises InputError with all problems of it and of its topology."""
    file, rest, problems = document.attempt(ExperimentFile)
    if file is not None:
        return Resolver(rest, file, problems).experiment()
    raise InputError(in_order([*problems, *_further(document, problems)]))


_NEUTRAL: Mapping[str, object] = {
    "name": "unnamed",
    "topology": {"nodes": {"h1": {}, "h2": {}}, "links": [["h1", "h2"]]},
    "system": "",
    "place": {},
    "functions": {},
    "workload": {"duration": "1s", "traffic": [{"arrivals": {"model": "poisson", "rate": "1/s"}}]},
}


def _further(document: Document, problems: Sequence[Problem]) -> list[Problem]:
    """The problems of the sections that are in order, where others are so faulty that there is no experiment."""
    if not isinstance(document.data, dict):
        return []
    faulty = {problem.path.split(".")[0].split("[")[0] for problem in problems}
    data = {key: value for key, value in document.data.items() if key not in faulty}
    trial = replace(document, data={**{key: _NEUTRAL[key] for key in _NEUTRAL if key not in data}, **data})
    file, rest, more = trial.attempt(ExperimentFile)
    if file is None:
        return []
    try:
        Resolver(rest, file, more).experiment()
    except InputError as error:
        absent = _NEUTRAL.keys() - data.keys()
        depending = {"place", "workload", "timeline", "background", "collect"}
        unclear = absent | (depending if "topology" in absent else set())
        return [each for each in error.problems if each.path.split(".")[0].split("[")[0] not in unclear]
    return []


def planned_shapes(experiment: Experiment) -> Mapping[str, tuple[Shape, ...]]:
    """For each link that the timeline touches, every shape that one of its ends will have, in order of time."""
    now = InForce(experiment.topology)
    planned: dict[str, dict[Shape, None]] = {}
    for action in (each for event in experiment.timetable.events for each in event.actions):
        if isinstance(action, SetShape):
            for end, shape in now.shape(action):
                planned.setdefault(end.link, {})[shape] = None
    return {link: tuple(shapes) for link, shapes in planned.items()}
