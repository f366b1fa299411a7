"""Telling topology files and experiment files apart."""

from __future__ import annotations

from pathlib import Path

from testbed import places
from testbed.cli import tables
from testbed.document import read
from testbed.errors import InputError, Problem
from testbed.experiment import load as experiments
from testbed.topology import load as topologies
from testbed.topology.exchange.formats import is_foreign
from testbed.topology.model import Topology

_EXPERIMENT_KEYS = {"system", "workload", "place", "functions"}


def is_experiment(path: Path) -> bool:
    """Whether the file has keys that only an experiment has; raises InputError if it cannot be read."""
    if is_foreign(path):
        return False
    data = read(places.find(path)).data
    return isinstance(data, dict) and bool(_EXPERIMENT_KEYS & data.keys())


def problems_of(path: Path) -> tuple[Problem, ...]:
    """All that is wrong with a topology or experiment file; tells what a file of another program has in vain."""
    try:
        topology_of(path)
    except InputError as error:
        return error.problems
    return ()


def topology_of(path: Path) -> Topology:
    """The network of a topology or experiment file, telling its notes; raises InputError."""
    found = experiments.load(path).topology if is_experiment(path) else topologies.load(places.find(path))
    tables.notes(found)
    return found
