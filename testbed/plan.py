"""From an experiment to the agents that its run needs: who runs where, with which files."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from testbed.deploy.spec import AgentSpec
from testbed.experiment.model import Experiment
from testbed.roles.api import Site
from testbed.topology.hops import Hops
from testbed.workload import files
from testbed.workload.schedule import schedule


def agents_nodes(experiment: Experiment) -> list[str]:
    """The nodes that have an agent, in order of the experiment."""
    return list(dict.fromkeys(node for node, _ in experiment.placement))


def specs(experiment: Experiment) -> list[AgentSpec]:
    """Every agent to start, with the schedule of each client among its files."""
    topology = experiment.topology
    nodes = agents_nodes(experiment)
    addresses = {node: topology.address(node) for node in nodes}
    places: dict[str, tuple[str, ...]] = {role: experiment.nodes_of(role) for _, role in experiment.placement}
    given = plans(experiment)
    found = []
    for node, role in experiment.placement:
        hops = Hops(topology, node, nodes)
        site = Site(node, role, experiment.seed, addresses, places, experiment.functions, hops)
        texts = given.get(node, {}) if role == experiment.system.duties["client"] else {}
        found.append(
            AgentSpec(node, role, experiment.system.name, site, experiment.parameters[node, role], files=texts)
        )
    return found


def plans(experiment: Experiment) -> Mapping[str, Mapping[str, str]]:
    """For each client the files that tell it what to fire."""
    made = schedule(
        experiment.workload, experiment.clients, tuple(experiment.file.functions), experiment.seed, experiment.folder
    )
    texts = {}
    for client, plan in made.items():
        with tempfile.TemporaryDirectory() as folder:
            files.write(plan, Path(folder))
            texts[client] = {each.name: each.read_text(encoding="utf-8") for each in Path(folder).iterdir()}
    return texts
