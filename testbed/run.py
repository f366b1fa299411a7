"""The story of one run: check, network up, measured, agents ready, workload fired, rows collected, verdict, all gone."""

from __future__ import annotations

import platform
import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from testbed import __version__, store
from testbed.collect import invocations, summary
from testbed.collect.events import EventRecorder
from testbed.collect.pcap import Captures
from testbed.collect.sampler import Sampler, Watched
from testbed.collect.schema import INVOCATIONS, SUMMARY
from testbed.conduct import Conductor, View
from testbed.deploy.fleet import Fleet, deploy
from testbed.deploy.forks import fork_server
from testbed.deploy.spec import AgentSpec
from testbed.deploy.ssh import over_ssh
from testbed.errors import TestbedError
from testbed.experiment.load import planned_shapes
from testbed.experiment.model import Experiment
from testbed.fidelity import evidence
from testbed.fidelity.calibrate import calibrate
from testbed.fidelity.evidence import Evidence
from testbed.fidelity.verdict import judge
from testbed.fidelity.watch import Watch
from testbed.published import compare
from testbed.roles.api import Site
from testbed.store import Run, RunRecord, Verdict
from testbed.substrate.base import Network, Substrate
from testbed.tables import Row
from testbed.topology.draw import svg
from testbed.topology.model import End
from testbed.workload import files
from testbed.workload.schedule import schedule

READY_S = 60.0
LEAD_S = 0.5  # from telling the clients when to begin to that moment


@dataclass
class Notes:
    """What the parts of a run leave behind for its verdict."""

    parts: dict[str, Any] = field(default_factory=dict)
    t0: float | None = None
    ended: float = 0.0


def perform(experiment: Experiment, substrate: Substrate, out: Path, view: View) -> Path:
    """Run ``experiment`` and return its folder below ``out``; how it went stands in its ``run.json``.

    Raises MachineLacks before anything is begun that this machine cannot do. Whatever else happens, the folder is
    complete: state ``done``, ``failed`` or ``interrupted``, an error in words, and every scheduled invocation's row.
    """
    run = begin(experiment, substrate, out)
    try:
        status = substrate.enter(lambda: _inside(run, experiment, substrate, view), run.record.run_id)
    except TestbedError as error:
        run.finish("failed", str(error))
        raise
    if store.read_record(run.folder).state not in ("done", "failed", "interrupted"):
        run.record = store.read_record(run.folder)
        run.finish("failed", f"the process that carried the run ended with status {status} before it could say why")
    return run.folder


def begin(experiment: Experiment, substrate: Substrate, out: Path) -> Run:
    """The run's folder with its inputs in it."""
    record = RunRecord(
        run_id=f"{experiment.name}-{time.strftime('%Y%m%d-%H%M%S')}",
        experiment=experiment.name,
        system=experiment.system.name,
        substrate=substrate.name,
        seed=experiment.seed,
        started=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        versions=_versions(),
        topology_digest=experiment.topology.digest,
        topology=_outline(experiment),
    )
    run = Run.begin(out.absolute(), record)
    (run.folder / "experiment.yaml").write_text(experiment.written(), encoding="utf-8")
    topology = Path(experiment.topology.source)
    if topology.is_file() and isinstance(experiment.file.topology, str):
        shutil.copyfile(topology, run.folder / "topology.yaml")
    return run


def _versions() -> dict[str, str]:
    libraries = ("fabric", "grpcio", "pydantic", "pandas", "pyroute2", "scapy")
    return {
        "testbed": __version__,
        "python": platform.python_version(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        **{name: metadata.version(name) for name in libraries},
    }


def _outline(experiment: Experiment) -> dict[str, Any]:
    topology = experiment.topology
    return {
        "name": topology.name,
        "nodes": {name: {"kind": node.kind, "tags": list(node.tags)} for name, node in topology.nodes.items()},
        "links": {
            name: [{"node": end.node, **end.shape.model_dump(mode="json")} for end in link.ends]
            for name, link in topology.links.items()
        },
        "roles": [f"{role} on {node}" for node, role in experiment.placement],
    }


def _inside(run: Run, experiment: Experiment, substrate: Substrate, view: View) -> int:
    """The run itself, where networks can be opened; its status says whether it came to its end."""
    notes, state, error = Notes(), "done", ""
    try:
        _live(run, experiment, substrate, view, notes)
    except KeyboardInterrupt:
        state, error = "interrupted", "by Ctrl-C; what was collected until then is here"
    except TestbedError as failure:
        state, error = "failed", str(failure)
    view.phase("collecting and judging")
    try:
        conclude(run, experiment, notes, state == "done")
    except TestbedError as failure:
        state, error = "failed", error or str(failure)
    run.finish("done" if state == "done" else "interrupted" if state == "interrupted" else "failed", error)
    return 0 if state == "done" else 1


def _live(run: Run, experiment: Experiment, substrate: Substrate, view: View, notes: Notes) -> None:
    """Everything that needs the network; it is gone when this returns."""
    record, hosts = run.record, run.folder / "hosts"
    with ExitStack() as stack:
        view.phase("building the network")
        forks = None
        if experiment.file.access == "direct":  # loads its libraries while the network is built and measured
            forks = stack.enter_context(fork_server([experiment.system.name], run.folder / "forks.log"))
        later = planned_shapes(experiment)
        network = stack.enter_context(substrate.open(experiment.topology, hosts, experiment.seed, later))
        record.mechanisms = dict(network.mechanisms)
        record.features = {name: each.detail for name, each in substrate.probe().features.items() if each.available}
        view.phase("measuring the links")
        record.calibration = [dict(each) for each in calibrate(network, experiment.seed)]
        run.save()
        view.phase("starting the agents")
        reached: Any = network if forks else stack.enter_context(over_ssh(network, _agents_nodes(experiment)))
        fleet = stack.enter_context(deploy(reached, specs(experiment), forks))
        fleet.wait_ready(READY_S)
        record.state = "running"
        run.save()
        _fire(run, experiment, network, fleet, view, notes)


def _agents_nodes(experiment: Experiment) -> list[str]:
    return list(dict.fromkeys(node for node, _ in experiment.placement))


def _fire(run: Run, experiment: Experiment, network: Network, fleet: Fleet, view: View, notes: Notes) -> None:
    """The workload, with everything that watches it."""
    t0 = notes.t0 = network.now() + LEAD_S

    def clock() -> float:
        return network.now() - t0

    def agents() -> list[Watched]:
        return [Watched(node, role, pid) for (node, role), pid in fleet.pids().items()]

    with ExitStack() as stack:
        events = stack.enter_context(EventRecorder(run.folder, clock))
        watch = Watch(run.folder, network, agents, clock)
        stack.callback(watch.close)
        captures = stack.enter_context(Captures(run.folder, network, experiment.file.collect.captures, t0))
        before = dict(network.counters())
        sampler = stack.enter_context(
            Sampler(run.folder, network, agents, clock, experiment.file.collect.period, more=[watch])
        )
        notes.parts.update(events=events.rows, machine=watch.samples, sampler=sampler, captures=captures)
        conductor = Conductor(experiment, network, fleet, events, view, clock)
        notes.parts["conductor"] = conductor
        fleet.go(t0)
        try:
            conductor.follow()
        finally:
            notes.ended = clock()
            notes.parts["links"] = (before, dict(network.counters()), dict(network.mechanisms))
            notes.parts["shapes"] = conductor.shapes


def specs(experiment: Experiment) -> list[AgentSpec]:
    """Every agent to start, with the schedule of each client among its files."""
    topology = experiment.topology
    nodes = _agents_nodes(experiment)
    addresses = {node: topology.address(node) for node in nodes}
    places: dict[str, tuple[str, ...]] = {role: experiment.nodes_of(role) for _, role in experiment.placement}
    plans = _plans(experiment)
    found = []
    for node, role in experiment.placement:
        hops = {other: len(topology.path(node, other)) for other in nodes}
        site = Site(node, role, experiment.seed, addresses, places, experiment.functions, hops)
        texts = plans.get(node, {}) if role == experiment.system.duties["client"] else {}
        found.append(
            AgentSpec(node, role, experiment.system.name, site, experiment.parameters[node, role], files=texts)
        )
    return found


def _plans(experiment: Experiment) -> Mapping[str, Mapping[str, str]]:
    """For each client the files that tell it what to fire."""
    plans = schedule(
        experiment.workload, experiment.clients, tuple(experiment.functions), experiment.seed, experiment.folder
    )
    texts = {}
    for client, plan in plans.items():
        with tempfile.TemporaryDirectory() as folder:
            files.write(plan, Path(folder))
            texts[client] = {each.name: each.read_text(encoding="utf-8") for each in Path(folder).iterdir()}
    return texts


def conclude(run: Run, experiment: Experiment, notes: Notes, complete: bool) -> None:
    """Datasets, verdict and summary from what the folder holds now; also after a crash."""
    record, client = run.record, experiment.system.duties["client"]
    folders = [run.folder / "hosts" / node / client for node in experiment.clients]
    merged = invocations.collect(each for each in folders if (each / "schedule.csv").exists())
    verdict = _judge(run, experiment, notes, merged, complete)
    record.verdict = asdict(verdict)
    stamp: Row = {
        "run_id": record.run_id,
        "verdict": verdict.level,
        "substrate": record.substrate,
        "system": record.system,
        "seed": record.seed,
    }
    run.rows(INVOCATIONS, merged.stamped(stamp))
    rows = list(summary.summarise(merged.rows, experiment.workload.duration))
    run.rows(SUMMARY, rows)
    record.summary = dict(next((row for row in rows if row["function"] == "*"), {}))
    record.events = [dict(row) for row in notes.parts.get("events", [])]
    record.duration_s = notes.ended
    _system_tables(run, experiment)
    if captures := notes.parts.get("captures"):
        captures.flows()
    if experiment.file.published and not experiment.file.sweep:
        record.published = compare(experiment.file.published, [({}, record.summary)])
    (run.folder / "topology.svg").write_text(svg(experiment.topology, _loads(notes)), encoding="utf-8")


def _judge(run: Run, experiment: Experiment, notes: Notes, merged: invocations.Invocations, complete: bool) -> Verdict:
    parts = notes.parts
    if notes.t0 is None or not complete and "links" not in parts:
        reason = store.Reason("invalid", "complete", "The run ended before its workload began, so it shows nothing.")
        return Verdict("invalid", (reason,))
    conductor: Conductor = parts["conductor"]
    agents = [run.folder / "hosts" / node / role for node, role in experiment.placement]
    verdict = judge(
        Evidence(
            firing=evidence.firing(merged.rows, conductor.killed_clients),
            lags=evidence.lags(agents, notes.t0, notes.t0 + notes.ended),
            machine=evidence.during(parts["machine"], notes.ended),
            links=evidence.link_uses(*parts["links"], parts["shapes"]),
            calibration=run.record.calibration,
            events=parts["events"],
            exits=conductor.exits,
            refused=merged.refused,
            sampling=parts["sampler"].cost,
            smallest_delay_s=evidence.smallest_delay(parts["shapes"]),
        )
    )
    if complete:
        return verdict
    reason = store.Reason("invalid", "complete", "The run did not come to its end, so its data are a part only.")
    return Verdict("invalid", (reason, *verdict.reasons), verdict.figures)


def _loads(notes: Notes) -> dict[End, float] | None:
    """Mean bits per second that left each end while the workload ran."""
    if "links" not in notes.parts or notes.ended <= 0:
        return None
    before, after, _ = notes.parts["links"]
    return {
        end: (now.size_bytes - before[end].size_bytes) * 8 / notes.ended for end, now in after.items() if end in before
    }


def _system_tables(run: Run, experiment: Experiment) -> None:
    """One file for each table of the system, with the rows of all its agents."""
    for table in experiment.system.tables:
        found = [run.folder / "hosts" / node / role / f"{table.name}.csv" for node, role in experiment.placement]
        run.gather(table, [path for path in found if path.exists()])
