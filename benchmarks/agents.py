"""What the fork server saves: the same agents started as fresh interpreters and from the fork server, in one run.

    python benchmarks/agents.py [--agents 20 100] [--system serverless_on_edge] [--role computer] [--rounds 3]

Each agent has an emulated host of its own and serves when it counts as ready. Times are from the first file that is put
until the last agent is ready; the fork server's own imports, which a run does once while it builds its network, are
told apart. CPU is that of the agents' processes, memory their proportional share (PSS). Rounds alternate, so that a
noisy neighbour meets both; medians are printed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil

from testbed.deploy.fleet import Fleet, deploy
from testbed.deploy.forks import fork_server
from testbed.deploy.spec import AgentSpec
from testbed.roles import discover
from testbed.roles.api import Function, Site
from testbed.substrate import arena
from testbed.substrate.netns import NetnsSubstrate
from testbed.topology.load import parse
from testbed.topology.model import Topology

READY_S = 300.0


@dataclass(frozen=True)
class Result:
    """One start of a fleet: seconds, CPU seconds an agent, bytes an agent."""

    load_s: float
    ready_s: float
    cpu_s: float
    memory_bytes: float


def star(hosts: int) -> Topology:
    """A switch with this many hosts."""
    return parse(f"name: star\ngenerate: [{{family: star, hosts: {hosts}}}]\n", "star.yaml")


def specs(topology: Topology, system: str, role: str) -> list[AgentSpec]:
    """One agent of ``role`` on each host, alone in the world: nobody to announce itself to."""
    names = tuple(node.name for node in topology.of_kind("host"))
    addresses = {name: topology.address(name) for name in names}
    functions = {"f": Function(name="f", service_s=0.01)}
    return [AgentSpec(name, role, system, Site(name, role, 1, addresses, {role: names}, functions)) for name in names]


def measure(agents: int, system: str, role: str, forked: bool) -> Result:
    """Start ``agents`` agents once; everything is gone afterwards."""
    topology = star(agents)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        network = stack.enter_context(NetnsSubstrate().open(topology, folder, 1, {}))
        begun = time.perf_counter()
        forks = None
        if forked:
            forks = stack.enter_context(fork_server([system], folder / "forks.log"))
            forks.wait_loaded()
        loaded = time.perf_counter()
        fleet = stack.enter_context(deploy(network, specs(topology, system, role), forks))
        fleet.wait_ready(READY_S)
        ready = time.perf_counter()
        return Result(loaded - begun, ready - loaded, *_used(fleet))


def _used(fleet: Fleet) -> tuple[float, float]:
    """CPU seconds and bytes of memory, each of the mean agent."""
    processes = [psutil.Process(pid) for pid in fleet.pids().values()]
    cpu = statistics.mean(sum(each.cpu_times()[:2]) for each in processes)
    return cpu, statistics.mean(each.memory_full_info().pss for each in processes)


def median(results: Sequence[Result], name: str) -> float:
    """The median of one figure over the rounds."""
    return statistics.median(getattr(each, name) for each in results)


def compare(agents: int, system: str, role: str, rounds: int) -> None:
    """Print both ways and their ratios."""
    ways: dict[str, list[Result]] = {"fresh": [], "forked": []}
    for _ in range(rounds):
        ways["fresh"].append(measure(agents, system, role, forked=False))
        ways["forked"].append(measure(agents, system, role, forked=True))
    for name, results in ways.items():
        load, ready, cpu = (median(results, each) for each in ("load_s", "ready_s", "cpu_s"))
        memory = median(results, "memory_bytes")
        extra = f" after {load:.2f} s of imports" if load > 0.01 else ""
        print(f"{agents:4} agents {name:6}  ready in {ready:6.2f} s{extra}, {ready / agents * 1e3:6.1f} ms an agent, "
              f"CPU {cpu * 1e3:6.1f} ms and {memory / 1e6:5.1f} MB an agent", flush=True)
    ratios = {name: median(ways["fresh"], name) / median(ways["forked"], name)
              for name in ("ready_s", "cpu_s", "memory_bytes")}  # fmt: skip
    print(f"{agents:4} agents  fresh / forked: time {ratios['ready_s']:.1f} times, CPU {ratios['cpu_s']:.1f} times, "
          f"memory {ratios['memory_bytes']:.1f} times", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--agents", type=int, nargs="+", default=[20, 100])
    parser.add_argument("--system", default="serverless_on_edge")
    parser.add_argument("--role", default="computer")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    discover.system(options.system)  # a wrong name is told before anything is built
    measure(1, options.system, options.role, forked=True)  # the driver's own imports count for nobody
    for agents in options.agents:
        compare(agents, options.system, options.role, options.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(arena.run_inside(main))
