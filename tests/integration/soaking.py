"""Runs in a row on random substrates, most of them killed at a random moment: is anything left, is every record whole?

    python tests/integration/soaking.py [--runs 200] [--seed 1] [--only netns,twin] [--one NUMBER]

It goes on in namespaces of its own, so that whatever is there after a run is that run's. Prints a line for each run,
and at the end what was done and found; exit status 1 if anything was found.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

HOME = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(HOME), str(HOME / "tests"), str(HOME / "tests" / "integration")]

import remains  # noqa: E402
from abilities import SUBSTRATES  # noqa: E402

from testbed import store  # noqa: E402
from testbed.collect.invocations import collect  # noqa: E402
from testbed.errors import RunNotFound  # noqa: E402
from testbed.seeds import stream  # noqa: E402
from testbed.substrate.probe import probe  # noqa: E402

ENDS_S, GONE_S = 120.0, 20.0
FOLDER = Path("/tmp/soak")
KEPT = (FOLDER, HOME, *{Path(sys.prefix), Path(sys.base_prefix)})
EXPERIMENT = """\
name: soak
topology:
  name: soak
  nodes: {{h1: {{}}, h2: {{}}, h3: {{}}, s1: {{kind: switch}}, r1: {{kind: router}}}}
  links: [[h1, s1], {{ends: [s1, r1], {near}}}, {{ends: [r1, h2], name: far, {far}}}, [h3, s1]]
system: {system}
seed: {seed}
place: {{control: h1, gateway: h3, worker: h2, client: h1}}
functions: {{work: {{service: {service}ms}}}}
workload:
  duration: {duration}ms
  timeout: 1s
  traffic: [{{arrivals: {{model: {model}, rate: {rate}/s}}}}]
timeline: [{event}]
"""
SHAPES = ("delay: 2ms", "rate: 20Mbit", "delay: 1ms, loss: 1%", "jitter: 1ms, delay: 3ms")
EVENTS = ("", "{at: 100ms, do: shape, link: far, change: {delay: 8ms}}", "{at: 50ms, do: cut, link: far, for: 100ms}",
          "{at: 100ms, do: crash, node: h2, for: 100ms}", "{at: 80ms, do: pause, node: h2, for: 80ms}")  # fmt: skip


class Plan(NamedTuple):
    """One run: what is run where; who gets which signal, so long after which stage has been reached."""

    number: int
    substrate: str
    text: str
    victim: str  # nobody, driver (the command), inner (any process below it)
    signal: int
    stage: str  # started, recorded (there is a run.json), running
    later_s: float

    def __str__(self) -> str:
        if self.victim == "nobody":
            return f"run {self.number} on {self.substrate}, left alone"
        name = signal.Signals(self.signal).name
        return f"run {self.number} on {self.substrate}, {name} to {self.victim} {self.later_s:.2f} s after {self.stage}"


def plan(seed: int, number: int, substrates: Sequence[str]) -> Plan:
    """The run of this number: equal arguments, equal plans."""
    dice = stream(seed, "soak", str(number))
    text = EXPERIMENT.format(
        system=dice.choice(("serverless_on_edge", "serverless_compute")), seed=number, event=dice.choice(EVENTS),
        near=dice.choice(SHAPES), far=dice.choice(SHAPES[:3]), service=dice.randint(1, 20),
        duration=dice.randint(200, 1200), model=dice.choice(("deterministic", "poisson")), rate=dice.randint(5, 80),
    )  # fmt: skip
    number_of, kinds = dice.random(), (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
    victim = "nobody" if number_of < 0.2 else "driver" if number_of < 0.65 else "inner"
    return Plan(number, dice.choice(substrates), text, victim, dice.choice(kinds if victim == "driver" else kinds[:2]),
                dice.choice(("started", "recorded", "running")), dice.uniform(0.0, 1.0))  # fmt: skip


class Driver:
    """The command of one run: a process of its own in a session of its own, its words in files."""

    def __init__(self, each: Plan) -> None:
        self.folder = FOLDER / str(each.number)
        self.folder.mkdir(parents=True)
        file = self.folder / "experiment.yaml"
        file.write_text(each.text)
        argv = [sys.executable, "-m", "testbed", "run", str(file), "--substrate", each.substrate,
                "--out", str(self.folder / "runs"), "--no-figures", "--quiet"]  # fmt: skip
        self.status: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            for number, name in ((1, "stdout"), (2, "stderr")):
                os.dup2(os.open(self.folder / name, os.O_WRONLY | os.O_CREAT, 0o600), number)
            os.chdir(HOME)
            os.execv(argv[0], argv)

    def ended(self) -> bool:
        """Whether the command has ended; ``status`` is set then."""
        found = remains.bury(self.pid)
        self.status = self.status if found is None else os.waitstatus_to_exitcode(found)
        return self.status is not None

    def at(self, stage: str) -> bool:
        """Whether this stage of the run has been reached."""
        if stage == "started":
            return True
        states = [record["state"] for record in self.records()]
        return any(state != "preparing" or stage == "recorded" for state in states)

    def records(self) -> Iterator[dict[str, str]]:
        """Each ``run.json`` that is there."""
        for path in (self.folder / "runs").glob("*/run.json"):
            yield json.loads(path.read_text())

    def said(self) -> str:
        """The last of what it wrote to stderr."""
        return (self.folder / "stderr").read_text()[-1500:]


def until(true: Callable[[], bool], seconds: float) -> bool:
    """Ask until it is so, or the time is over."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def strike(each: Plan, driver: Driver) -> str:
    """Wait for the moment, and send the signal; to which command."""
    until(lambda: driver.ended() or driver.at(each.stage), ENDS_S)
    until(driver.ended, each.later_s)
    if driver.status is None:
        family = remains.family(driver.pid)
        victim = driver.pid if each.victim == "driver" else random.Random(each.later_s).choice(family[1:] or family)
        with suppress(OSError):  # it ended by itself in the meantime
            command = Path(f"/proc/{victim}/cmdline").read_text().replace("\0", " ")
            os.kill(victim, each.signal)
            return f"number {family.index(victim)} of {len(family)}, {command}"
    return "nobody, since all had ended"


def perform(each: Plan) -> list[str]:
    """Do one run and look at what it leaves; gives what is wrong, in sentences."""
    before = remains.seen(*KEPT)
    driver = Driver(each)
    struck = strike(each, driver) if each.victim != "nobody" else ""
    if not until(driver.ended, ENDS_S):
        there = "\n".join(sorted(remains.processes()))
        os.kill(driver.pid, signal.SIGKILL)
        return [f"it did not end within {ENDS_S:g} s, {struck} being struck: {driver.said()}\n{there}"]
    wrong = []
    if not until(lambda: not left(before), GONE_S):
        wrong += [f"left behind: {left(before)}"]
    folders = [path.parent for path in (driver.folder / "runs").glob("*/run.json")]
    wrong += [trouble for folder in folders for trouble in unreadable(folder, driver.status == -signal.SIGKILL)]
    if each.victim == "nobody" and (len(folders), driver.status) not in ((1, 0), (1, 1)):
        wrong.append(f"left alone, it ended with status {driver.status}: {driver.said()}")
    if "Traceback" in driver.said() and "KeyboardInterrupt" not in driver.said():
        wrong.append(f"it told a mistake of its own: {driver.said()}")
    return wrong


def left(before: Mapping[str, set[str]]) -> dict[str, list[str]]:
    """What is there now and was not before, by kind. Control groups of the killed are the next command's to remove."""
    return {kind: sorted(found - before[kind]) for kind, found in remains.seen(*KEPT).items()
            if found - before[kind] and kind != "control groups"}  # fmt: skip


def unreadable(folder: Path, killed: bool) -> Iterator[str]:
    """What is wrong with a run's folder; ``killed`` tells that nobody was there to end its record."""
    try:
        record = store.read_record(folder)
    except RunNotFound as error:
        yield str(error)
        return
    clients = sorted(path.parent for path in folder.glob("hosts/*/client/schedule.csv"))
    scheduled = sum(len(path.read_text().splitlines()) - 1 for path in folder.glob("hosts/*/client/schedule.csv"))
    if len(collect(clients)) != scheduled:
        yield f"{len(collect(clients))} invocations can be told of {scheduled}"
    if killed:
        return
    if record.state not in ("done", "failed", "interrupted"):
        yield f"its state is {record.state}"
    table = folder / "invocations.csv"
    rows = len(table.read_text().splitlines()) - 1 if table.exists() else -1
    if rows != scheduled or not scheduled:
        yield f"{rows} rows of {scheduled} scheduled, state {record.state}: {record.error}"
    if "mistake in the program" in record.error:
        yield record.error


def soak(seed: int, numbers: Sequence[int], substrates: Sequence[str]) -> list[str]:
    """All runs; what was wrong, in sentences."""
    found, kinds, begun = [], Counter[str](), time.monotonic()
    groups = set(remains.groups())
    for number in numbers:
        each, start = plan(seed, number, substrates), time.monotonic()
        wrong = [f"{each}: {what}" for what in perform(each)]
        kinds.update([f"{each.substrate}", f"signal to {each.victim}" if each.victim != "nobody" else "left alone"])
        print(f"{each}: {time.monotonic() - start:.1f} s, {'; '.join(wrong) or 'nothing left'}", flush=True)
        found += wrong
    subprocess.run([sys.executable, "-m", "testbed", "doctor"], cwd=HOME, capture_output=True, check=False)
    if more := set(remains.groups()) - groups:
        found.append(f"control groups that the next command did not remove: {sorted(more)}")
    told = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    print(f"{len(numbers)} runs in {time.monotonic() - begun:.0f} s ({told}): {len(found)} findings", flush=True)
    return found


def able() -> list[str]:
    """The substrates of this machine on which runs are quick enough for this: not a VM."""
    features = probe()
    return [*(name for name, needs in SUBSTRATES.items() if all(map(features.has, needs))), "twin"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--one", type=int, help="this run alone")
    parser.add_argument("--only", help="these substrates, separated by commas; by default all of this machine")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if not chosen.inside:
        return subprocess.run(remains.alone(__file__, *sys.argv[1:], "--inside"), check=False).returncode
    remains.furnish(*KEPT[1:])
    os.environ["PYTHONPATH"] = str(HOME)
    FOLDER.mkdir()
    substrates = chosen.only.split(",") if chosen.only else able()
    numbers = range(chosen.runs) if chosen.one is None else [chosen.one]
    return 1 if soak(chosen.seed, numbers, substrates) else 0


if __name__ == "__main__":
    sys.exit(main())
