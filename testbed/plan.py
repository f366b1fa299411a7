"""From an experiment to the agents that its run needs: who runs where, with which files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from testbed.deploy import libraries, skew
from testbed.deploy.spec import AgentSpec
from testbed.experiment.model import Experiment
from testbed.roles.api import Site
from testbed.substrate.away import Errand
from testbed.topology.hops import Hops
from testbed.workload import files
from testbed.workload.schedule import Draft


def agents_nodes(experiment: Experiment) -> list[str]:
    """The nodes that have an agent, in order of the experiment."""
    return list(dict.fromkeys(node for node, _ in experiment.placement))


def errand(experiment: Experiment) -> Errand:
    """What a run of the experiment will want of machines elsewhere."""
    timetable = experiment.timetable
    actions = (*timetable.before, *(action for event in timetable.events for action in event.actions))
    return Errand(
        experiment.topology, agents_nodes(experiment), actions, libraries.needed(experiment.system.name),
        bool(experiment.file.collect.captures), bool(experiment.background),
    )  # fmt: skip


def specs(experiment: Experiment, hosts: Path, own: Mapping[str, str] | None = None) -> list[AgentSpec]:
    """Every agent to start, with the schedule of each client among its files: they are in ``hosts/<node>/<role>``.

    ``own`` are the addresses of nodes that have others than the topology gives them.
    """
    topology = experiment.topology
    nodes = agents_nodes(experiment)
    addresses = {node: topology.address(node) for node in nodes} | dict(own or {})
    places: dict[str, tuple[str, ...]] = {role: experiment.nodes_of(role) for _, role in experiment.placement}
    client = experiment.system.duties["client"]
    graph = topology.graph if experiment.system.sees_network else {}
    given, skewed = lay_out(experiment, hosts), experiment.timetable.skewed
    found = []
    for node, role in experiment.placement:
        hops = Hops(topology, node, nodes)
        site = Site(node, role, experiment.seed, addresses, places, experiment.functions, hops, graph)
        limits = topology.nodes[node].limits
        site = replace(site, cores=limits.cores, memory_bytes=limits.memory)
        its_files: dict[str, str | Path] = {skew.NAME: skew.BLANK} if node in skewed else {}
        if role == client:
            its_files |= {each.name: each for each in given[node].iterdir()}
        found.append(
            AgentSpec(node, role, experiment.system.name, site, experiment.parameters[node, role], files=its_files)
        )
    secrets = experiment.system.private_files([(each.site, experiment.parameters[each.name]) for each in found])
    return [replace(each, private=secrets.get(each.name, {})) for each in found]


def lay_out(experiment: Experiment, hosts: Path) -> Mapping[str, Path]:
    """Write the files that tell each client what to fire; gives the folder of each, ``hosts/<node>/<role>``."""
    folders = {node: hosts / node / experiment.system.duties["client"] for node in experiment.clients}
    for folder in folders.values():
        folder.mkdir(parents=True)
    functions = tuple(experiment.file.functions)
    draft = Draft(experiment.workload, experiment.clients, functions, experiment.seed, experiment.folder)
    files.lay_out(draft, folders)
    return folders
