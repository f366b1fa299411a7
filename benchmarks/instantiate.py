"""How long it takes to bring networks up and down: ours beside Mininet and beside a bare netlink floor in C.

    python benchmarks/instantiate.py [--sizes 1000,300,100,10] [--rounds 3] [--mininet-up-to 300]

All runs are interleaved, each in an arena of its own, so nothing is left and no root is needed (Mininet wants it).
Only the builders' own work is timed: no interpreter start, no parsing. Ratios are of medians. Memory is what the
machine has less of, the most of all rounds: the kernel keeps what it took once, so only the first builder of the
largest network pays in full.
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
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from testbed.substrate.arena import RUNTIME, run_inside  # noqa: E402
from testbed.substrate.netns import NetnsSubstrate  # noqa: E402
from testbed.topology.load import parse  # noqa: E402
from testbed.topology.model import Topology  # noqa: E402

SYSTEM_PYTHON = "/usr/bin/python3"  # where Debian's mininet is
SHAPE = "rate: 10Mbit"


class Times(NamedTuple):
    """Seconds to build and to remove, and memory in kB for each host."""

    build_s: float
    remove_s: float
    host_kb: float


class Case(NamedTuple):
    """One network: its form, its size, the hosts on each switch, and whether its links are shaped."""

    form: str
    hosts: int
    per_switch: int
    shaped: bool

    def __str__(self) -> str:
        return f"{self.form} of {self.hosts}{', ' + SHAPE if self.shaped else ''}"


def cases(sizes: list[int]) -> Iterator[Case]:
    """All networks of these sizes."""
    for size in sizes:
        for shaped in (False, True):
            yield Case("star", size, size, shaped)
            yield Case("tree", size, 10 if size > 10 else 5, shaped)


def topology(case: Case) -> Topology:
    """The network of a case, as the product sees it."""
    switches = -(-case.hosts // case.per_switch)
    lines = ["name: bench", f"defaults: {{link: {{{SHAPE if case.shaped else ''}}}}}", "nodes:"]
    lines += [f"  s{number}: {{kind: switch}}" for number in range(switches + (switches > 1))]
    lines += [f"  h{number}: {{}}" for number in range(case.hosts)]
    lines += ["links:", *(f"  - [s{number}, s{switches}]" for number in range(switches) if switches > 1)]
    lines += [f"  - [h{number}, s{number // case.per_switch}]" for number in range(case.hosts)]
    return parse("\n".join(lines) + "\n", "bench.yaml")


def available_kb() -> int:
    """Memory that programs could still get, in kB."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))


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


def ours(case: Case) -> Times:
    """The product's builder."""
    built_from = topology(case)
    NetnsSubstrate().probe().has("tbf")  # a question that is asked once per process

    def body() -> Times:
        before, begun = available_kb(), time.perf_counter()
        with NetnsSubstrate().open(built_from, RUNTIME / "hosts", 1, {}):
            built, used = time.perf_counter(), before - available_kb()
        return Times(built - begun, time.perf_counter() - built, used / case.hosts)

    return in_arena(body)


def printed(*argv: str) -> list[float]:
    """The times that a builder in another process printed."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{argv[0]} failed:\n{done.stderr}")
    return [float(word) for word in done.stdout.split()]


def mininet(case: Case) -> Times:
    """Mininet's builder with Linux bridges, in a process of Debian's Python."""
    argv = [str(HERE / "mininet_network.py"), str(case.hosts), str(case.per_switch), str(int(case.shaped))]
    return in_arena(lambda: Times(*printed(SYSTEM_PYTHON, *argv)))


def floor(program: Path) -> Callable[[Case], Times]:
    """The bare netlink floor in C."""
    def run(case: Case) -> Times:
        return in_arena(lambda: Times(*printed(str(program), str(case.hosts), str(case.per_switch)), 0.0))

    return run


def builders(case: Case, mininet_up_to: int, program: Path) -> dict[str, Callable[[Case], Times]]:
    """Which builders run for a case."""
    found: dict[str, Callable[[Case], Times]] = {"ours": ours}
    if program.exists() and not case.shaped:
        found["floor"] = floor(program)
    if case.hosts <= mininet_up_to and Path("/usr/bin/mnexec").exists() and os.geteuid() == 0:
        found["mininet"] = mininet
    return found


def report(case: Case, found: dict[str, list[Times]]) -> None:
    """Print the medians of a case and their ratios."""
    middle = {name: Times(*(median(column) for column in zip(*rows, strict=True))) for name, rows in found.items()}
    middle = {name: times._replace(host_kb=max(row.host_kb for row in found[name])) for name, times in middle.items()}
    us = middle["ours"]
    print(f"\n{case}   (rounds: {len(found['ours'])})")
    for name, times in middle.items():
        memory = f"  {times.host_kb:7.0f} kB a host" if times.host_kb else ""
        print(f"  {name:8} up {times.build_s:8.3f} s   down {times.remove_s:8.3f} s{memory}")
    if "floor" in middle:
        print(f"  ours / floor: {us.build_s / middle['floor'].build_s:.2f} times up, "
              f"{us.remove_s / middle['floor'].remove_s:.2f} times down")  # fmt: skip
    if "mininet" in middle:
        print(f"  mininet / ours: {middle['mininet'].build_s / us.build_s:.1f} times up, "
              f"{middle['mininet'].remove_s / us.remove_s:.1f} times down")  # fmt: skip


def compiled(folder: str) -> Path:
    """The floor as a program; the path does not exist where there is no C compiler."""
    program = Path(folder, "floor")
    compiler = shutil.which("cc")
    if compiler is None:
        print("no C compiler: without the floor (apt-get install gcc libc6-dev)", file=sys.stderr)
    else:
        subprocess.run([compiler, "-O2", "-o", str(program), str(HERE / "floor.c")], check=True)
    return program


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="1000,300,100,10", help="hosts, separated by commas; largest first")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each builder, interleaved")
    parser.add_argument("--mininet-up-to", type=int, default=300, help="do not run Mininet beyond this size")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        program = compiled(folder)
        for case in cases([int(size) for size in chosen.sizes.split(",")]):
            todo = builders(case, chosen.mininet_up_to, program)
            found: dict[str, list[Times]] = {name: [] for name in todo}
            for _ in range(chosen.rounds):
                for name, build in todo.items():
                    found[name].append(build(case))
            report(case, found)


main()
