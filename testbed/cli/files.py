"""Telling topology files and experiment files apart."""

from __future__ import annotations

from pathlib import Path

from testbed import places
from testbed.document import read
from testbed.errors import InputError, Problem
from testbed.experiment import load as experiments
from testbed.topology import load as topologies
from testbed.topology.model import Topology

_EXPERIMENT_KEYS = {"system", "workload", "place", "functions"}


def is_experiment(path: Path) -> bool:
    """Whether the file has keys that only an experiment has; raises InputError if it cannot be read."""
    data = read(places.find(path)).data
    return isinstance(data, dict) and bool(_EXPERIMENT_KEYS & data.keys())


def problems_of(path: Path) -> tuple[Problem, ...]:
    """All that is wrong with a topology or experiment file."""
    try:
        experiments.load(path) if is_experiment(path) else topologies.load(places.find(path))
    except InputError as error:
        return error.problems
    return ()


def topology_of(path: Path) -> Topology:
    """The network of a topology or experiment file; raises InputError."""
    return experiments.load(path).topology if is_experiment(path) else topologies.load(places.find(path))
