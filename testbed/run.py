"""The story of one run: network up and measured, agents ready, workload fired, rows collected, verdict, all gone."""

from __future__ import annotations

import platform
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from testbed import __version__, store
from testbed.background.iperf import require
from testbed.background.live import LiveBackground
from testbed.collect.events import EventRecorder
from testbed.collect.pcap import Captures
from testbed.collect.routes import RouteWatch
from testbed.collect.sampler import Sampler, Watched
from testbed.conclude import Traces, conclude
from testbed.conduct import Conductor, View
from testbed.deploy.fleet import Fleet, deploy
from testbed.deploy.forks import fork_server
from testbed.deploy.hands import LiveHands
from testbed.deploy.ssh import over_ssh
from testbed.errors import TestbedError
from testbed.experiment.load import planned_shapes
from testbed.experiment.model import Experiment
from testbed.fidelity.calibrate import calibrate
from testbed.fidelity.watch import Watch
from testbed.plan import agents_nodes, errand, specs
from testbed.store import Run, RunRecord, State
from testbed.substrate.away import Abroad, Direct, machines_of
from testbed.substrate.base import Network, Substrate, limit_use
from testbed.twin.story import Virtual

READY_S = 60.0
LEAD_S = 0.5  # from telling the clients when to begin to that moment


def perform(experiment: Experiment, substrate: Substrate, out: Path, view: View) -> Path:
    """Run ``experiment`` and return its folder below ``out``; how it went stands in its ``run.json``.

    Raises MachineLacks before anything is begun that this machine cannot do. Whatever else happens, the folder is
    complete: state ``done``, ``failed`` or ``interrupted``, an error in words, and every scheduled invocation's row.
    """
    if isinstance(substrate, Abroad):
        substrate.expect(errand(experiment))
    elif not substrate.virtual:
        require(experiment.background, substrate.probe())
    run = begin(experiment, substrate, out)
    try:
        with run.held():
            status = substrate.enter(partial(_inside, run, experiment, substrate, view), run.record.run_id)
    except TestbedError as error:
        run.finish("failed", str(error))
        raise
    run.record = store.read_record(run.folder)
    if run.record.state not in ("done", "failed", "interrupted"):
        why = f"the process that carried the run ended with status {status} before it could say why"
        concluded, trouble = _outcome(lambda: conclude(run, experiment, None, complete=False))
        run.finish("failed", why if concluded == "done" else f"{why}; its datasets could not be written: {trouble}")
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
        inputs=experiment.digest,
        source=str(Path(experiment.document.file).absolute()),
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
        "nodes": {
            name: {"kind": node.kind, "tags": list(node.tags), **node.limits.data()}
            for name, node in topology.nodes.items()
        },
        "links": {
            name: [{"node": end.node, **end.shape.model_dump(mode="json")} for end in link.ends]
            for name, link in topology.links.items()
        },
        "roles": [f"{role} on {node}" for node, role in experiment.placement],
    }


def _inside(run: Run, experiment: Experiment, substrate: Substrate, view: View) -> int:
    """The run itself, where networks can be opened; its status says whether it came to its end."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `testbed down` and a plain kill end it like Ctrl-C
    live = Virtual(run, experiment, view) if substrate.virtual else _Live(run, experiment, substrate, view)
    state, error = _outcome(live.go)
    with _forgiving():
        view.phase("collecting and judging")
        concluded, trouble = _outcome(lambda: conclude(run, experiment, live.traces, state == "done"))
        if concluded != "done" and state == "done":
            state, error = concluded, trouble
        view.close()
        run.finish(state, error)
    return 0 if state == "done" else 1


@contextmanager
def _forgiving() -> Iterator[None]:
    """Meanwhile one request to end is not heard, since the record is about to be complete; a second one is."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore(*_: object) -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number, handler in before.items():
        signal.signal(number, handler if handler is signal.SIG_IGN else restore)
    try:
        yield
    finally:
        restore()


def _outcome(part: Callable[[], None]) -> tuple[State, str]:
    """How ``part`` ended, and why; a mistake of the program is told with its traceback and ends the run, too."""
    try:
        part()
    except KeyboardInterrupt:
        return "interrupted", "by Ctrl-C or SIGTERM; what was collected until then is here"
    except TestbedError as failure:
        return "failed", str(failure)
    except Exception as mistake:  # noqa: BLE001 - the folder has to say how the run ended, whatever happened
        traceback.print_exc()
        return "failed", f"by a mistake in the program, please report it: {type(mistake).__name__}: {mistake}"
    return "done", ""


class _Live:
    """Everything that needs the network; it is gone when :meth:`go` returns or raises."""

    def __init__(self, run: Run, experiment: Experiment, substrate: Substrate, view: View) -> None:
        self._run, self._experiment, self._substrate, self._view = run, experiment, substrate, view
        self.traces: Traces | None = None

    def go(self) -> None:
        """Build, measure, deploy, fire; ``traces`` is set from the moment at which the workload begins."""
        run, experiment, phase = self._run, self._experiment, self._view.phase
        with ExitStack() as stack:
            phase("building the network")
            forks, is_abroad = None, isinstance(self._substrate, Abroad)
            if experiment.file.access == "direct" and not is_abroad:  # loads its libraries while the network is built
                forks = stack.enter_context(fork_server([experiment.system.name], run.folder / "forks.log"))
            network = self._network(stack)
            phase("measuring the links")
            run.record.calibration = [dict(each) for each in calibrate(network)]
            run.record.machines = machines_of(network)
            run.save()
            phase("starting the agents")
            is_reached = forks is not None or is_abroad
            reached: Any = network if is_reached else stack.enter_context(over_ssh(network, agents_nodes(experiment)))
            own = network.addresses if isinstance(network, Direct) else {}
            with tempfile.TemporaryDirectory(prefix="schedules-", dir=run.folder) as folder:
                fleet = stack.enter_context(deploy(reached, specs(experiment, Path(folder), own), forks))
            fleet.wait_ready(READY_S)
            run.record.state = "running"
            run.save()
            try:
                self._fire(network, fleet)
            finally:
                run.record.machines = machines_of(network)

    def _network(self, stack: ExitStack) -> Network:
        run, experiment, substrate = self._run, self._experiment, self._substrate
        later, hosts = planned_shapes(experiment), run.folder / "hosts"
        network = stack.enter_context(substrate.open(experiment.topology, hosts, experiment.seed, later))
        run.record.mechanisms = dict(network.mechanisms)
        found = {name: each.detail for name, each in substrate.probe().features.items() if each.available}
        run.record.features = {**found, **network.notes}
        return network

    def _fire(self, network: Network, fleet: Fleet) -> None:
        """The workload, with everything that watches it."""
        run, experiment = self._run, self._experiment

        def agents() -> list[Watched]:
            ours = [Watched(node, role, pid) for (node, role), pid in fleet.pids().items()]
            return [*ours, *(Watched(*each) for each in background.processes())]

        def clock() -> float:
            return network.now() - t0

        with ExitStack() as stack:
            captures = stack.enter_context(Captures(run.folder, network, experiment.file.collect.captures))
            events = stack.enter_context(EventRecorder(run.folder, clock))
            hands = stack.enter_context(LiveHands(network, fleet))
            background = LiveBackground(network, experiment.background, experiment.seed, events.record)
            stack.enter_context(background).prepare()
            conductor = Conductor(experiment, network, fleet, hands, events, self._view, clock)
            conductor.prepare()
            t0 = network.now() + LEAD_S
            stack.enter_context(RouteWatch(network, events, clock))
            watch = Watch(run.folder, network, agents, clock)
            stack.callback(watch.close)
            before = dict(network.counters())
            period = experiment.file.collect.period
            sampler = stack.enter_context(Sampler(run.folder, network, agents, clock, period, more=[watch]))
            limits = limit_use(network)
            traces = Traces(t0, conductor, sampler.spent, captures, events.rows, watch.samples, before, before)
            self.traces = traces
            background.begin(t0)
            fleet.go(t0)
            try:
                conductor.follow()
            finally:
                traces.ended, traces.after = clock(), dict(network.counters())
                traces.limits = limits, limit_use(network)
                traces.background = background.end()
