"""Telling topology files, experiment files and inventories apart, and what they hold."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from testbed import places
from testbed.cli import tables
from testbed.document import read
from testbed.errors import InputError, Problem
from testbed.experiment import load as experiments
from testbed.substrate import inventory
from testbed.topology import load as topologies
from testbed.topology.exchange.formats import is_foreign
from testbed.topology.model import Topology
from testbed.workload.arrivals.trace import COLUMNS
from testbed.workload.schedule import Draft

_EXPERIMENT_KEYS = {"system", "workload", "place", "functions"}
_INVENTORY_KEYS = {"machines"}


def is_experiment(path: Path) -> bool:
    """Whether the file has keys that only an experiment has; raises InputError if it cannot be read."""
    return _has(path, _EXPERIMENT_KEYS)


def _has(path: Path, keys: set[str]) -> bool:
    if is_foreign(path):
        return False
    data = read(places.find(path)).data
    return isinstance(data, dict) and bool(keys & data.keys())


def problems_of(path: Path) -> tuple[Problem, ...]:
    """All that is wrong with a topology, an experiment or an inventory; tells what a foreign file has in vain."""
    try:
        if _has(path, _INVENTORY_KEYS):
            inventory.load(path)
        else:
            topology_of(path)
    except InputError as error:
        return error.problems
    return ()


def topology_of(path: Path) -> Topology:
    """The network of a topology or experiment file, telling its notes; raises InputError."""
    found = experiments.load(path).topology if is_experiment(path) else topologies.load(places.find(path))
    tables.notes(found)
    return found


def trace_of(path: Path, sets: Sequence[str]) -> str:
    """What an experiment will send, as a trace in CSV; users who think after each answer send nothing beforehand."""
    experiment = experiments.load(path, sets)
    draft = Draft(experiment.workload, experiment.clients, tuple(experiment.file.functions), experiment.seed,
                  experiment.folder)  # fmt: skip
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for each in draft:
        writer.writerow((each.t_scheduled, each.function, each.client, len(each.payload.encode()), each.session))
    return text.getvalue()
