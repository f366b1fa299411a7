"""How fast the twin is, beside SimPy, simfaas and a bare heap of callbacks, and how much memory a long run takes.

    .venv/bin/python benchmarks/twin_speed.py [--full] [--others PYTHON]

Every measurement is a process of its own and counts CPU time, not wall-clock time; of three rounds, in which the
contenders take turns, the median counts. Compare ratios: absolute figures are this machine's, at this moment. SimPy and
simfaas are installed from the package index into a scratch environment at the first call, or used from ``--others``,
a Python that has them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
ROUNDS = 3
RATE = 480.0  # invocations per second on the FaaS path; twin_models.RATE
COLD = {"cold_s": 0.4, "keep_alive_s": 60.0}
Figures = dict[str, float]


@dataclass(frozen=True)
class Contender:
    """A process to run: its name in the table, its Python, its script and arguments."""

    name: str
    python: str
    script: str
    what: str
    count: int
    model: Mapping[str, float] | None = None

    def run(self) -> Figures:
        """What it measured of itself."""
        model = [] if self.model is None else [json.dumps(self.model)]
        argv = [self.python, str(HERE / self.script), self.what, str(self.count), *model]
        done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True)
        figures: Figures = json.loads(done.stdout)
        figures["speed"] = figures["count"] / figures["cpu_s"]
        return figures


def twin(name: str, count: int, **model: float) -> Contender:
    """The FaaS path through the twin."""
    return Contender(name, sys.executable, "twin_models.py", "path", count, model)


def simfaas(python: str, name: str, count: int, service_s: float) -> Contender:
    """simfaas with the same arrivals and services, all for one function."""
    return Contender(name, python, "twin_others.py", "simfaas", count, {"rate": RATE, "service_s": service_s, **COLD})


def others(given: str | None) -> str:
    """A Python that has SimPy and simfaas; makes one in a scratch environment that the next call finds again."""
    if given:
        return given
    folder = Path(tempfile.gettempdir()) / f"twin-speed-{sys.version_info.major}.{sys.version_info.minor}"
    python = folder / "bin" / "python"
    known = subprocess.run([str(python), "-c", "import simpy, simfaas"], check=False) if python.exists() else None
    if known is None or known.returncode:
        print(f"Installing SimPy and simfaas into {folder} ...\n", flush=True)
        venv.create(folder, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "simpy", "simfaas"], check=True)
    return str(python)


def measured(contenders: Sequence[Contender]) -> list[Figures]:
    """The figures of each contender's median round."""
    rounds = [[each.run() for each in contenders] for _ in range(ROUNDS)]
    found = []
    for tries in zip(*rounds, strict=True):
        middle = median(each["speed"] for each in tries)
        found.append(next(each for each in tries if each["speed"] == middle))
    return found


def table(title: str, contenders: Sequence[Contender], extra: str, note: str) -> list[Figures]:
    """Print speed and ratio of each contender; ``extra`` names one more of its figures, with the heading ``note``."""
    found = measured(contenders)
    print(f"{title}\n  {'':48}{'per CPU second':>15}{'ours / it':>11}{note:>12}")
    for each, got in zip(contenders, found, strict=True):
        print(f"  {each.name:48}{got['speed']:15,.0f}{found[0]['speed'] / got['speed']:11.2f}{got[extra]:12,.4g}")
    print(flush=True)
    return found


def queue(python: str, count: int) -> None:
    """Eight servers and one queue."""
    table(f"M/M/8 at a load of 0.8, {count:,} invocations with records kept", [
        Contender("twin's loop: a task and a place for each", sys.executable, "twin_models.py", "ours", count),
        Contender("SimPy: a process and a resource for each", python, "twin_others.py", "simpy", count),
        Contender("a heap of callbacks and nothing else", python, "twin_others.py", "heap", count),
    ], "wait", "mean wait s")  # fmt: skip


def platform(python: str, count: int) -> None:
    """A client that knows which containers are warm, and 20 nodes.

    In each invocation of the twin's first line: the client's schedule is read from its file, the client chooses a node,
    a request and an answer cross a link of 1 ms and 1 Gbit/s in TCP, with acknowledgements, encoded and decoded; the
    node waits for a slot, starts a container (0.4 s) unless one is warm, and serves (0.1 s on average); a row is
    written. The second line has a gateway 10 ms away from the client, which chooses: twice as many messages.
    """
    table(f"FaaS path, {count:,} invocations: 20 nodes x 4 slots, 50 functions, network both ways, rows on disk", [
        twin("twin: client calls nodes", count),
        twin("twin: client calls gateway, gateway calls nodes", count, gateway=True),
        simfaas(python, "simfaas: one function, no nodes, no network", count, 0.1),
    ], "warm", "warm")  # fmt: skip


def instances(python: str, count: int) -> None:
    """The same arrivals on ten instances and on a thousand."""
    few: dict[str, float] = {"nodes": 10, "functions": 1, "slots": 1, "service_s": 0.0125, **COLD}
    many = {**few, "slots": 100, "service_s": 1.25}
    found = table(f"From few to many warm instances, {count:,} invocations", [
        twin("twin, few", count, **few),
        twin("twin, many", count, **many),
        simfaas(python, "simfaas, few", count, 0.0125),
        simfaas(python, "simfaas, many", count, 1.25),
    ], "warm", "warm")  # fmt: skip
    ours_few, ours_many, few_there, many_there = (each["speed"] for each in found)
    print(f"  Slowdown: twin {ours_few / ours_many:.2f}, simfaas {few_there / many_there:.2f}\n", flush=True)


def memory(count: int) -> None:
    """Peak memory of a long run, with rows streamed to CSV."""
    short, long = twin("", count // 10).run(), twin("", count).run()
    grown = (long["peak_mb"] - short["peak_mb"]) * 1e6 / (count - count // 10)
    print(f"Peak memory on the FaaS path: {short['peak_mb']:.0f} MB at {count // 10:,} invocations, "
          f"{long['peak_mb']:.0f} MB at {count:,}: {grown:.0f} bytes for each")  # fmt: skip


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--full", action="store_true", help="the real sizes, a million invocations among them")
    parser.add_argument("--others", metavar="PYTHON", help="a Python that has SimPy and simfaas")
    options = parser.parse_args()
    full: bool = options.full
    python = others(options.others)
    print(f"Load average at the start: {Path('/proc/loadavg').read_text().split()[0]}\n", flush=True)
    queue(python, 300_000 if full else 100_000)
    platform(python, 100_000 if full else 30_000)
    instances(python, 30_000 if full else 8_000)
    memory(1_000_000 if full else 30_000)


if __name__ == "__main__":
    main()
