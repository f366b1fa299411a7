"""What session offloading costs beside bare HTTP of the same library, in one run, over the same emulated network.

    python benchmarks/offloading.py [--seconds 4] [--rounds 3] [--sizes 1kB 100kB 1MB 5MB 20MB 50MB]

Two locations, p2 below p1, and a client beside p2. First, calls of p2 that stay there, driven by wrk (C) over 32
connections, beside a bare server that answers the same bytes: processor time of the agent for each request; the worker,
in which a function's own code runs, is told apart. Then moves of sessions from p2 to p1, timed as the command
force-offload, beside a bare transfer of the same bytes over the same link, and the most memory that both agents had
beyond what they had before, in multiples of the session. Told is the best of the rounds, which take turns.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import psutil

from testbed.deploy.fleet import Fleet, deploy
from testbed.deploy.forks import fork_server
from testbed.experiment.load import load
from testbed.experiment.model import Experiment
from testbed.places import home
from testbed.plan import specs
from testbed.roles.http import HttpClient, Limits
from testbed.roles.web import WEB, WebReply, WebRequest, said
from testbed.roles.web_wire import WebWire
from testbed.substrate.arena import run_inside
from testbed.substrate.netns import NetnsNetwork, NetnsSubstrate
from testbed.units import size as size_of

BARE_PORT = 31200
PORT = 31112
CONNECTIONS = 32
RATE = "200Mbit"
PIECE = 1_000_000  # bytes of one key of a large session
EXPERIMENT = f"""
name: offloading
topology:
  nodes: {{p1: {{}}, p2: {{kind: router}}, c1: {{}}}}
  links: [{{ends: [p1, p2], delay: 2ms, rate: {RATE}}}, {{ends: [p2, c1]}}]
system: session_offloading
place: {{location: [p1, p2], client: c1}}
functions:
  empty: {{service: 0ms, concurrency: 64}}
  touch: {{code: touch.py, concurrency: 1}}
  keep: {{code: keep.py, concurrency: 1}}
settings: {{session_offloading: {{location: {{tree: {{p2: p1}}}}}}}}
workload: {{duration: 1s, traffic: [{{arrivals: {{model: deterministic, rate: 1/s}}, functions: [empty]}}]}}
"""
CODE = """
from roles.session_offloading.offloadable import Offloadable

class Work(Offloadable):
    def handle_offload(self, request):
        {work}

def code(ctx, payload):
    return Work(ctx).serve(payload)
"""
CODES = {
    "touch": 'self.edge_db.set("k", (self.edge_db.get("k") or "")[:20] + "x"); return "hello"',
    "keep": 'self.edge_db.set(request.query["key"], request.body); return "kept"',
}
LUA = """
local count = 0
request = function()
  count = count + 1
  return wrk.format("POST", "/function/{function}", {{["X-Session"] = "s" .. (count % 100)}}, "some body")
end
"""


# Programs that run on the emulated hosts.


async def bare() -> None:
    """A server that answers calls as a location does, and /SIZE with so many bytes."""
    headers = (("x-location", "p2"), *((name, "0.000000") for name in ("x-init-s", "x-exec-s", "x-queue-s")))

    async def handler(request: WebRequest) -> WebReply:
        size = request.path[1:]
        if size.isdigit():
            whole, rest = divmod(int(size), PIECE)
            return WebReply(200, (), (*(b"x" * PIECE,) * whole, b"x" * rest))
        return said(200, "", *headers)

    await WebWire().serve(sys.argv[2], BARE_PORT, {WEB: handler})
    await asyncio.Event().wait()


async def fetch(address: str, size: int) -> None:
    """Get so many bytes over a connection that is open; tells the seconds."""
    client = HttpClient(limits=Limits(body_bytes=1 << 30))
    await client.request("GET", address, "/1")
    begun = time.perf_counter()
    reply = await client.request("GET", address, f"/{size}", timeout=120)
    print(time.perf_counter() - begun, len(reply.body))


async def fill(address: str, session: str, size: int) -> None:
    """Make a session of that size."""
    client = HttpClient()
    for number, begin in enumerate(range(0, size, PIECE)):
        body, target = b"x" * min(PIECE, size - begin), f"/function/keep?key=k{number}"
        reply = await client.request("POST", address, target, body, {"x-session": session}, timeout=60)
        assert reply.status == 200, reply


async def offload(address: str, session: str) -> None:
    """Move a session up; tells the seconds."""
    client = HttpClient()
    manager = "/function/session-offloading-manager?command="
    await client.request("POST", address, manager + "metrics", timeout=60)
    begun = time.perf_counter()
    reply = await client.request(
        "POST", address, manager + "force-offload", b"", {"x-forced-session": session}, timeout=120
    )
    print(time.perf_counter() - begun, reply.status)
    assert reply.status == 200, reply


# The bench.


@dataclass
class Bench:
    """What is up, and what was measured."""

    network: NetnsNetwork
    fleet: Fleet
    experiment: Experiment
    place: Path  # for the files of the bare server
    calls: dict[str, list[float]] = field(default_factory=dict)
    moves: dict[int, list[tuple[float, float, float, float]]] = field(default_factory=dict)

    def address(self, node: str, port: int = PORT) -> str:
        """``host:port``."""
        return f"{self.experiment.topology.address(node)}:{port}"

    def run(self, node: str, *argv: str) -> list[str]:
        """A program of this file on a host; the words that it says."""
        command = ["env", f"PYTHONPATH={home()}", sys.executable, __file__, *argv]
        return self.network.host(node).run(command, timeout=300).stdout.split()

    def agent(self, node: str) -> psutil.Process:
        """The agent of a location."""
        return psutil.Process(self.fleet.agents[node, "location"].process.pid)

    @contextlib.contextmanager
    def bare(self) -> Iterator[psutil.Process]:
        """The bare server, on p2."""
        ready = ["env", f"PYTHONPATH={home()}", sys.executable, __file__, "bare"]
        process = self.network.host("p2").start([*ready, str(self.experiment.topology.address("p2"))], self.place)
        try:
            for _ in range(100):
                with contextlib.suppress(Exception):
                    self.run("p2", "fetch", self.address("p2", BARE_PORT), "1")
                    break
            yield psutil.Process(process.pid)
        finally:
            process.signal(9)

    def load(self, kind: str, function: str, port: int, process: psutil.Process, seconds: float) -> None:
        """Drive a server; notes microseconds of its processor time for each request, its children's apart."""
        with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
            script.write(LUA.format(function=function))
            script.flush()
            command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}s", "-s", script.name]
            before = spent(process)
            done = self.network.host("c1").run([*command, f"http://{self.address('p2', port)}"], timeout=60).stdout
            own, children = (now - then for now, then in zip(spent(process), before, strict=True))
        if "Socket errors" in done or "Non-2xx" in done:
            raise SystemExit(f"wrk saw errors at {kind}:\n{done}")
        requests = int(re.findall(r"(\d+) requests in", done)[0])
        self.calls.setdefault(kind, []).append(1e6 * own / requests)
        self.calls.setdefault(f"{kind}, its worker", []).append(1e6 * children / requests)

    def move(self, size: int, number: int) -> None:
        """Move a session of that size; notes seconds of it and of the bare transfer, and memory at giver and taker."""
        session = f"m{size}-{number}"
        self.run("c1", "fill", self.address("p2"), session, str(size))
        transfer = float(self.run("p1", "fetch", self.address("p2", BARE_PORT), str(size))[0])
        agents = [self.agent(node) for node in ("p2", "p1")]
        before = [fresh_peak(agent.pid) for agent in agents]
        took = float(self.run("c1", "offload", self.address("p2"), session)[0])
        more = [(peak(agent.pid) - held) / size for agent, held in zip(agents, before, strict=True)]
        self.moves.setdefault(size, []).append((took, transfer, *more))  # type: ignore[arg-type]


def spent(process: psutil.Process) -> tuple[float, float]:
    """Processor seconds of a process so far, and of its children."""
    times = process.cpu_times()
    children = [each.cpu_times() for each in process.children(recursive=True)]
    return times.user + times.system, sum(each.user + each.system for each in children)


def peak(pid: int) -> int:
    """The most memory that a process has had, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024


def fresh_peak(pid: int) -> int:
    """Begin to look for the most anew; what it has now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="utf-8")
    return peak(pid)


def told(bench: Bench) -> None:
    """Print what was measured."""
    bare = min(bench.calls["bare"])
    print("\nprocessor time for each request, and times that of the bare server")
    for kind, values in bench.calls.items():
        if min(values) > 0:
            print(f"  {kind:32} {min(values):8.1f} us {min(values) / bare:6.2f}")
    print(f"\nmoves over {RATE}: seconds, those of a bare transfer, ratio; memory beyond, times the size: giver, taker")
    for size, rows in bench.moves.items():
        took, transfer = (min(row[index] for row in rows) for index in (0, 1))
        giver, taker = (median(row[index] for row in rows) for index in (2, 3))
        print(f"  {size:>11,} bytes {took:8.3f} {transfer:8.3f} {took / transfer:6.2f} {giver:8.1f} {taker:6.1f}")


def measure(sizes: Sequence[int], seconds: float, rounds: int) -> int:
    """All of it, in an arena."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for name, work in CODES.items():
            (place / f"{name}.py").write_text(CODE.format(work=work), encoding="utf-8")
        (place / "offloading.yaml").write_text(EXPERIMENT, encoding="utf-8")
        experiment = load(place / "offloading.yaml")
        with (
            NetnsSubstrate().open(experiment.topology, place / "hosts", 1, {}) as network,
            fork_server([experiment.system.name], place / "forks.log") as forks,
            deploy(network, specs(experiment, place / "schedules"), forks) as fleet,
        ):
            fleet.wait_ready(60)
            bench = Bench(network, fleet, experiment, place / "bare")
            with bench.bare() as server:
                for _ in range(rounds):
                    bench.load("bare", "empty", BARE_PORT, server, seconds)
                    bench.load("gateway, modelled function", "empty", PORT, bench.agent("p2"), seconds)
                    bench.load("gateway, get and set", "touch", PORT, bench.agent("p2"), seconds)
                for size in sizes:
                    for number in range(rounds):
                        bench.move(size, number)
            told(bench)
    return 0


PROGRAMS = {"fetch": fetch, "fill": fill, "offload": offload}


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", nargs="+", default=["1kB", "100kB", "1MB", "5MB", "20MB", "50MB"])
    options = parser.parse_args()
    sizes = [size_of(each) for each in options.sizes]
    return run_inside(lambda: measure(sizes, options.seconds, options.rounds), f"bench-{os.getpid()}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["bare", _]:
            asyncio.run(bare())
        case [("fetch" | "fill" | "offload") as name, address, *more]:
            asyncio.run(PROGRAMS[name](address, *[int(each) if each.isdigit() else each for each in more]))  # type: ignore[operator]
        case _:
            sys.exit(main())
