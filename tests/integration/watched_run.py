"""A whole small run of the echo system, driven part by part: for tests of collection and of the verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from testbed.collect.events import EventRecorder
from testbed.collect.invocations import Invocations, collect
from testbed.collect.pcap import Captures
from testbed.collect.sampler import Sampler, Watched
from testbed.deploy.fleet import Fleet, deploy
from testbed.deploy.forks import ForkServer, fork_server
from testbed.deploy.spec import AgentSpec
from testbed.fidelity import evidence
from testbed.fidelity.calibrate import calibrate
from testbed.fidelity.evidence import Evidence
from testbed.fidelity.verdict import judge
from testbed.fidelity.watch import Watch
from testbed.roles.api import Function, Site
from testbed.store import Verdict
from testbed.substrate.base import Network
from testbed.substrate.netns import NetnsSubstrate
from testbed.topology.load import parse
from testbed.workload import files
from testbed.workload.schedule import schedule
from testbed.workload.spec import Workload

HOME = Path(__file__).parents[1] / "unit" / "deploy" / "home"
TOPOLOGY = """
name: two
nodes: {c1: {}, r1: {kind: router}, w1: {}}
links:
  - {ends: [c1, r1], delay: 5ms, loss: 1%}
  - {ends: [r1, w1], delay: 2ms, rate: 20Mbit}
"""
FUNCTION = Function(name="f")
Disturbance = Callable[[Network], AbstractContextManager[object]]


@dataclass(frozen=True)
class Told:
    """What a run left behind."""

    verdict: Verdict
    invocations: Invocations
    folder: Path
    captures: Captures


@contextmanager
def calm(network: Network) -> Iterator[None]:
    """No disturbance."""
    yield


@contextmanager
def forks(folder: Path) -> Iterator[ForkServer]:
    """One fork server for several runs."""
    with fork_server(["echo"], folder / "forks.log", HOME) as server:
        server.wait_loaded()
        yield server


def workload(rate: int, seconds: float) -> Workload:
    """Poisson arrivals."""
    return Workload.model_validate({
        "duration": f"{seconds}s", "timeout": "3s",
        "traffic": [{"arrivals": {"model": "poisson", "rate": f"{rate}/s"}, "payload": {"size": "20B"}}]})


def run(folder: Path, server: ForkServer, disturbed: Disturbance = calm, *, rate: int = 60, seconds: float = 3.0,
        seed: int = 1, meanwhile: Callable[[Fleet, float], object] = lambda fleet, t: None,
        captures: Sequence[tuple[str, str]] = ()) -> Told:
    """Network up, measured, agents ready, workload fired under ``disturbed``, judged. Call it inside an arena."""
    folder.mkdir(parents=True)
    topology = parse(TOPOLOGY, "two.yaml")
    hosts = folder / "hosts"
    with ExitStack() as stack:
        network = stack.enter_context(NetnsSubstrate().open(topology, hosts, seed, {}))
        calibration = calibrate(network)
        places = {"server": ("w1",), "caller": ("c1",)}
        addresses = {name: topology.address(name) for name in ("c1", "w1")}
        plan = schedule(workload(rate, seconds), ["c1"], ["f"], seed, folder)["c1"]
        files.write(plan, folder)
        texts = {name: (folder / name).read_text() for name in ("schedule.csv", "workload.json")}
        specs = [AgentSpec(node, role, "echo", Site(node, role, seed, addresses, places, {"f": FUNCTION}),
                           files=texts if role == "caller" else {})
                 for role, (node,) in places.items()]
        fleet = stack.enter_context(deploy(network, specs, server, home=HOME))
        fleet.wait_ready(60)
        with disturbed(network):
            found = _fired(folder, network, fleet, meanwhile, captures, seconds)
        fleet.stop()
    found["calibration"] = calibration
    done = found.pop("captures")
    merged = collect([hosts / "c1" / "caller"])
    firing = evidence.firing(merged, merged.waiting)
    return Told(judge(Evidence(firing=firing, refused=merged.refused, **found)), merged, folder, done)


def _fired(folder: Path, network: Network, fleet: Fleet, meanwhile: Callable[[Fleet, float], object],
           captures: Sequence[tuple[str, str]], seconds: float) -> dict[str, Any]:
    topology = network.topology
    with ExitStack() as stack:
        wanted = [SimpleNamespace(link=link, node=node) for link, node in captures]
        recorded = stack.enter_context(Captures(folder, network, wanted))
        t0 = network.now() + 0.5

        def clock() -> float:
            return network.now() - t0

        def agents() -> list[Watched]:
            return [Watched(node, role, pid) for (node, role), pid in fleet.pids().items()]

        watch = Watch(folder, network, agents, clock)
        stack.callback(watch.close)
        events = stack.enter_context(EventRecorder(folder, clock))
        before = dict(network.counters())
        sampler = stack.enter_context(Sampler(folder, network, agents, clock, 0.25, more=[watch]))
        fleet.go(t0)
        deadline = time.monotonic() + seconds + 60
        while not fleet.finished():
            meanwhile(fleet, clock())
            assert time.monotonic() < deadline, "the client never finished"
            time.sleep(0.02)
        ended = clock()
        after = dict(network.counters())
    recorded.flows(t0)
    shapes = evidence.initial_shapes(topology)
    folders = [folder / "hosts" / node / role for node, role in fleet.pids()]
    return {
        "lags": evidence.lags(folders, t0, t0 + ended), "machine": evidence.during(watch.samples, ended),
        "links": evidence.link_uses(before, after, network.mechanisms, shapes), "events": events.rows,
        "exits": [], "sampling": sampler.spent(), "smallest_delay_s": evidence.smallest_delay(shapes),
        "captures": recorded,
    }
