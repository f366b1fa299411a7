"""How long it takes to bring networks up and down, and what memory that takes: ours beside others', in one run.

    python benchmarks/instantiate.py [--sizes 1000,300,100,10] [--rounds 3] [--only netns,munet] [--up-to munet=300 ...]

Ours are the substrates of this machine, by name; `vm` counts from the command on, with the VM's own start, and its
memory is its own affair. Beside them are `floor` (netlink in C and nothing else), `mn` (Mininet of Debian with Linux
bridges, and TCLink where links are shaped) and `munet` (installed from the package index into a scratch environment at
the first call, or used from --munet PYTHON; stars without shapes, since its networks cannot be linked to each other).
All runs are interleaved, each in an arena of its own, so nothing is left and no root is needed, but for mn and munet.

Only the builders' own work is timed: no interpreter start, no parsing. Ratios are of medians. Memory of the machine is
what it has less of, the most of all rounds: the kernel keeps what it took once, so only the first builder of the
largest network pays in full, and small networks drown in what else goes on. Memory of processes is their proportional
set size.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import vm_network  # noqa: E402
from memory import Memory  # noqa: E402

from testbed.substrate.arena import RUNTIME, run_inside  # noqa: E402
from testbed.substrate.base import Capabilities  # noqa: E402
from testbed.substrate.find import named  # noqa: E402
from testbed.substrate.vm import VmSubstrate  # noqa: E402
from testbed.topology.load import parse  # noqa: E402

SYSTEM_PYTHON = "/usr/bin/python3"  # where Debian's mininet is
SHAPE = "rate: 10Mbit"
OURS: Mapping[str, tuple[str, ...]] = {
    "netns": ("netns",),
    "mininet": ("mnexec", "mininet"),
    "mininet:ovs": ("mnexec", "mininet", "ovs-vswitchd"),
    "mininet:flows": ("mnexec", "mininet", "ovs-vswitchd"),
}
"""Our substrates of one machine, and what each needs of it beside namespaces."""
UP_TO = {"mininet:ovs": 300, "mininet:flows": 300, "vm": 100, "mn": 300, "munet": 100}


class Times(NamedTuple):
    """Seconds to build and to remove; memory in kB for each host, as the machine and as processes have it."""

    build_s: float
    remove_s: float
    machine_kb: float = 0.0
    processes_kb: float = 0.0


class Case(NamedTuple):
    """One network: its form, its size, the hosts on each switch, and whether its links are shaped."""

    form: str
    hosts: int
    per_switch: int
    shaped: bool

    def __str__(self) -> str:
        return f"{self.form} of {self.hosts:,}{', ' + SHAPE if self.shaped else ''}"


Builder = Callable[[Case], Times]


def cases(sizes: Sequence[int]) -> Iterator[Case]:
    """All networks of these sizes."""
    for size in sizes:
        for shaped in (False, True):
            yield Case("star", size, size, shaped)
            yield Case("tree", size, 10 if size > 10 else 5, shaped)


def topology(case: Case) -> str:
    """The network of a case, as a file for the product."""
    switches = -(-case.hosts // case.per_switch)
    lines = ["name: bench", f"defaults: {{link: {{{SHAPE if case.shaped else ''}}}}}", "nodes:"]
    lines += [f"  s{number}: {{kind: switch}}" for number in range(switches + (switches > 1))]
    lines += [f"  h{number}: {{}}" for number in range(case.hosts)]
    lines += ["links:", *(f"  - [s{number}, s{switches}]" for number in range(switches) if switches > 1)]
    lines += [f"  - [h{number}, s{number // case.per_switch}]" for number in range(case.hosts)]
    return "\n".join(lines) + "\n"


def in_arena(body: Callable[[], Times]) -> Times:
    """What ``body`` measures in a fresh arena."""
    reading, writing = os.pipe()

    def work() -> int:
        os.write(writing, json.dumps(body()).encode())
        return 0

    status = run_inside(work, f"bench-{os.getpid()}", nested=True)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    if status:
        raise SystemExit(f"a benchmarked builder failed with status {status}")
    return Times(*json.loads(said))


def ours(name: str) -> Builder:
    """The product's builder on this substrate."""
    substrate = named(name)
    substrate.probe()  # a question that is asked once per process

    def run(case: Case) -> Times:
        built_from = parse(topology(case), "bench.yaml")

        def body() -> Times:
            memory, begun = Memory(), time.perf_counter()
            with substrate.open(built_from, RUNTIME / "hosts", 1, {}):
                built = time.perf_counter()
                figures = [each / case.hosts for each in memory.taken()]
                ending = time.perf_counter()
            return Times(built - begun, time.perf_counter() - ending, *figures)

        return in_arena(body)

    return run


def vm(case: Case) -> Times:
    """The product's builder in the VM; up is from the command on, with the VM's own start."""
    with tempfile.TemporaryDirectory() as folder:
        said, begun = Path(folder, "said.json"), time.time()
        status = VmSubstrate().enter(partial(vm_network.build, topology(case), said), f"bench-{os.getpid()}")
        if status:
            raise SystemExit(f"the VM ended with status {status}")
        up, _, remove_s = json.loads(said.read_text())
    return Times(up - begun, remove_s)


def printed(*argv: str) -> Times:
    """The figures that a builder in another process printed."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{argv[0]} failed:\n{done.stderr}")
    return Times(*(float(word) for word in done.stdout.split()))


def mininet(case: Case) -> Times:
    """Mininet's builder with Linux bridges, in a process of Debian's Python."""
    argv = [str(HERE / "mininet_network.py"), str(case.hosts), str(case.per_switch), str(int(case.shaped))]
    return in_arena(lambda: printed(SYSTEM_PYTHON, *argv))


def munet(python: str) -> Builder:
    """munet's builder, in a process of this Python."""
    script = str(HERE / "munet_network.py")
    return lambda case: in_arena(lambda: printed(python, script, str(case.hosts), str(RUNTIME / "munet")))


def floor(program: Path) -> Builder:
    """The bare netlink floor in C."""
    return lambda case: in_arena(lambda: printed(str(program), str(case.hosts), str(case.per_switch)))


def compiled(folder: str) -> Path | None:
    """The floor as a program, where there is a C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        print("no C compiler: without the floor (apt-get install gcc libc6-dev)", file=sys.stderr)
        return None
    program = Path(folder, "floor")
    subprocess.run([compiler, "-O2", "-o", str(program), str(HERE / "floor.c")], check=True)
    return program


def with_munet(given: str | None) -> str:
    """A Python that has munet; makes one in a scratch environment that the next call finds again."""
    if given:
        return given
    folder = Path(tempfile.gettempdir()) / f"instantiate-{sys.version_info.major}.{sys.version_info.minor}"
    python = folder / "bin" / "python"
    known = subprocess.run([str(python), "-c", "import munet"], check=False) if python.exists() else None
    if known is None or known.returncode:
        print(f"Installing munet into {folder} ...", file=sys.stderr, flush=True)
        venv.create(folder, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "munet"], check=True)
    return str(python)


def contenders(chosen: argparse.Namespace, folder: str) -> dict[str, Builder]:
    """All builders that were asked for and that this machine has, by name."""
    features: Capabilities = named("netns").probe()
    wanted = set(chosen.only.split(",")) if chosen.only else None
    found: dict[str, Builder] = {}
    for name, needs in OURS.items():
        if all(map(features.has, needs)) and (wanted is None or name in wanted):
            found[name] = ours(name)
    if (wanted is None or "vm" in wanted) and features.has("uml"):
        found["vm"] = vm
    if (wanted is None or "floor" in wanted) and (program := compiled(folder)):
        found["floor"] = floor(program)
    if os.geteuid() == 0 and (wanted is None or "mn" in wanted) and Path("/usr/bin/mnexec").exists():
        found["mn"] = mininet
    if os.geteuid() == 0 and (wanted is None or "munet" in wanted):
        found["munet"] = munet(with_munet(chosen.munet))
    return found


def able(name: str, case: Case) -> bool:
    """Whether a builder can make this network at all."""
    return not (case.shaped and name in ("floor", "munet")) and not (case.form == "tree" and name == "munet")


def report(case: Case, found: Mapping[str, Sequence[Times]]) -> None:
    """Print the medians of a case and their ratios, as rows of a Markdown table."""
    middle = {name: Times(*(median(column) for column in zip(*rows, strict=True))) for name, rows in found.items()}
    us = middle.get("netns")
    for name, times in middle.items():
        ratio = f"{times.build_s / us.build_s:.1f} | {times.remove_s / us.remove_s:.1f}" if us else "|"
        most = max(row.machine_kb for row in found[name])
        memory = f"{most:.0f} | {times.processes_kb:.0f}" if any(times[2:]) else "|"
        print(f"| {case} | {name} | {times.build_s:.3f} | {times.remove_s:.3f} | {ratio} | {memory} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="1000,300,100,10", help="hosts, separated by commas; largest first")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each builder, interleaved")
    parser.add_argument("--only", help="these builders, separated by commas")
    parser.add_argument("--up-to", action="append", default=[], metavar="NAME=HOSTS", help="the largest for a builder")
    parser.add_argument("--munet", metavar="PYTHON", help="a Python that has munet")
    parser.add_argument("--form", choices=("star", "tree"), help="only networks of this form")
    chosen = parser.parse_args()
    most = {**UP_TO, **{name: int(size) for name, _, size in (each.partition("=") for each in chosen.up_to)}}
    with tempfile.TemporaryDirectory() as folder:
        builders = contenders(chosen, folder)
        print(f"Load average at the start: {Path('/proc/loadavg').read_text().split()[0]}\n")
        print("| Network | Builder | up, s | down, s | up / netns | down / netns | kB a host, machine | processes |")
        print("|---|---|---|---|---|---|---|---|", flush=True)
        for case in cases([int(size) for size in chosen.sizes.split(",")]):
            todo = {name: build for name, build in builders.items() if able(name, case)
                    and case.hosts <= most.get(name, case.hosts) and chosen.form in (None, case.form)}  # fmt: skip
            rounds = [{name: build(case) for name, build in todo.items()} for _ in range(chosen.rounds)]
            report(case, {name: [each[name] for each in rounds] for name in todo})


main()
