"""The same experiments on every substrate of this machine, one after the other: a table of ratios and one picture.

    python benchmarks/substrates.py [--only "netns;vm"] [--rounds 1] [--out FOLDER] [--figure docs/figures/side-by-side]

Run it as root on an idle machine; it takes about fifteen minutes. Real machines and emulation servers are SSH servers
in namespaces of this machine, as in the tests. As machines cannot shape delays without the kernel's netem, the links
between those that are hosts themselves ("machines") have the topology's delays by themselves (``links: real``), and
this program, not the run, changes them at the timeline's times. The twin is calibrated from the run on netns.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import psutil
from pyroute2 import IPRoute

HERE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(HERE), str(HERE / "tests" / "integration"), str(HERE / "tests")]

from in_arena import run_as  # noqa: E402
from machine_yard import Yard, world  # noqa: E402
from server_lab import WIDE, lab  # noqa: E402

from analysis import side_by_side, style  # noqa: E402
from testbed import linux, store  # noqa: E402
from testbed.calibrate import calibrated  # noqa: E402
from testbed.conduct import Progress, Quiet  # noqa: E402
from testbed.deploy.ssh import over_ssh  # noqa: E402
from testbed.experiment.load import load, planned_shapes  # noqa: E402
from testbed.experiment.model import Experiment  # noqa: E402
from testbed.plan import agents_nodes  # noqa: E402
from testbed.run import perform  # noqa: E402
from testbed.substrate.arena import RUNTIME  # noqa: E402
from testbed.substrate.base import Network  # noqa: E402
from testbed.substrate.find import named  # noqa: E402
from testbed.substrate.netns import NetnsNetwork, NetnsSubstrate  # noqa: E402
from testbed.timeline.actions import Action, SetShape  # noqa: E402
from testbed.timeline.force import InForce  # noqa: E402

SUBSTRATES = ("netns", "mininet", "mininet:ovs", "mininet:flows", "machines", "servers, VXLAN", "servers, UDP", "vm",
              "vm:ovs", "twin")  # fmt: skip


class Compared(NamedTuple):
    """An experiment, what is changed in it, its parts on two servers, and on which substrates it is compared."""

    file: str
    sets: Sequence[str]
    parts: Mapping[str, Sequence[str]]
    on: Sequence[str] = SUBSTRATES


_QUICKSTART = Compared("experiments/quickstart.yaml", (),
                       {"m1": ["c1", "a1", "e1", "ctl"], "m2": ["w1", "b1", "w2"]})  # fmt: skip
EXPERIMENTS: Mapping[str, Compared] = {
    "quickstart": _QUICKSTART,
    "303": Compared("experiments/papers/isms2021/303-slow.yaml", ("workload.warmup=5s", "workload.duration=30s"),
                    {"m1": ["h1", "s1", "h2", "s2"], "m2": ["s3", "h3", "s4", "h4"]}),
    # a load that the VM's one slow processor can carry
    "quickstart, 4/s": _QUICKSTART._replace(sets=("workload.traffic[0].arrivals.rate=4/s",),
                                            on=("netns", "vm", "vm:ovs", "twin")),
}  # fmt: skip
DRIVER = "192.0.2.1"  # of the tests' own addresses (RFC 5737), outside all topologies
LIMIT_S = 900.0


class ByOurselves(Quiet):
    """A view that changes links by itself at the times of an experiment's timeline, as soon as the workload runs."""

    def __init__(self, experiment: Experiment, network: Network) -> None:
        self._events, self._network = experiment.timetable.events, network
        self._force, self._timers = InForce(experiment.topology), list[threading.Timer]()

    def progress(self, now: Progress) -> None:
        """The first time, it learns when the workload began."""
        if not self._timers:
            self._timers = [threading.Timer(each.at - now.t, self._fire, each.actions) for each in self._events]
            for timer in self._timers:
                timer.start()

    def _fire(self, *actions: Action) -> None:
        for action in actions:
            assert isinstance(action, SetShape), "only changes of shape can be made from outside"
            for end, shape in self._force.shape(action):
                self._network.shape(end, shape)


@contextmanager
def yard(experiment: Experiment, out: Path) -> Iterator[Yard]:
    """Machines that stand in the experiment's own network, each with a way of its own to the driver, in an arena."""
    names = agents_nodes(experiment)
    with NetnsSubstrate().open(experiment.topology, RUNTIME / "hosts", 1, planned_shapes(experiment)) as network:
        for name in names:
            _join(network, name)
        with over_ssh(network, names, through=lambda name: world(0.0)) as hosts:
            yield Yard(network, hosts.access, out)


def _join(network: NetnsNetwork, name: str) -> None:
    """A cable from the driver to a machine, beside the network: SSH takes it, agents do not."""
    host, address = network.host(name), network.topology.address(name)
    with IPRoute() as netlink:
        netlink.link("add", ifname=f"to-{name}", kind="veth", peer={"ifname": "driver", "net_ns_fd": host.net})
        index = netlink.link_lookup(ifname=f"to-{name}")[0]
        netlink.link("set", index=index, state="up")
        netlink.addr("add", index=index, address=DRIVER, prefixlen=32)
        netlink.route("add", dst=f"{address}/32", oif=index, scope=253, prefsrc=DRIVER)
    host.run(["ip", "link", "set", "driver", "up"])
    host.run(["ip", "route", "add", f"{DRIVER}/32", "dev", "driver", "src", address])


def on_machines(experiment: Experiment, plain: Experiment, out: Path) -> Path:
    """The run on machines that are hosts; ``plain`` is the experiment without its timeline."""
    with yard(experiment, out) as made:
        inventory = made.inventory({name: name for name in agents_nodes(experiment)})
        return perform(plain, named(f"machines:{inventory}"), out, ByOurselves(experiment, made.network))


def on_servers(experiment: Experiment, parts: Mapping[str, Sequence[str]], tunnel: str, out: Path) -> Path:
    """The run on two emulation servers."""
    with lab(mtu=WIDE if tunnel == "vxlan" else 1500) as made, linux.entered(made.driver.net):
        return perform(experiment, named(f"machines:{made.inventory(parts, tunnel=tunnel)}"), out, Quiet())


def carry_out(name: str, substrate: str, out: Path, seed: int) -> Path:
    """One run; its folder."""
    compared = EXPERIMENTS[name]
    assignments = [*compared.sets, f"seed={seed}"]
    if substrate == "twin":
        assignments.append(f"twin.calibration={json.dumps(str(_calibration(out, name)))}")
    experiment = load(HERE / compared.file, assignments)
    if substrate == "machines":
        plain = load(HERE / compared.file, [*assignments, "timeline=[]"])
        return _in_arena(partial(on_machines, experiment, plain), out)
    if substrate.startswith("servers"):
        tunnel = substrate.rpartition(" ")[2].lower()
        return _in_arena(partial(on_servers, experiment, compared.parts, tunnel), out)
    return perform(experiment, named(substrate), out, Quiet())


def _in_arena(work: Callable[[Path], Path], out: Path) -> Path:
    """The folder that ``work`` gives, which has to be done in an arena."""
    answer = out / "folder"

    def body() -> int:
        answer.write_text(str(work(out)), encoding="utf-8")
        return 0

    if run_as("root", body):
        raise RuntimeError("the run ended in the arena; its error stands above")
    return Path(answer.read_text(encoding="utf-8"))


def _calibration(out: Path, name: str) -> Path:
    """The twin's, from the first run on netns."""
    runs = json.loads((out.parent / "runs.json").read_text(encoding="utf-8"))
    folder = Path(runs[name]["netns"][0])
    known, _ = calibrated(folder, load(HERE / EXPERIMENTS[name].file, EXPERIMENTS[name].sets))
    store.write_atomically(out / "calibration.json", known.model_dump_json())
    return out / "calibration.json"


def all_runs(chosen: Sequence[str], rounds: int, out: Path) -> None:
    """Carry out what ``runs.json`` has not got yet, each run in a process of its own."""
    runs: dict[str, dict[str, list[str]]] = {name: {} for name in EXPERIMENTS}
    if (out / "runs.json").exists():
        runs = json.loads((out / "runs.json").read_text(encoding="utf-8"))
    for number in range(rounds):
        for name, compared in EXPERIMENTS.items():
            for substrate in (each for each in compared.on if each in chosen):
                done_before = runs.setdefault(name, {}).setdefault(substrate, [])
                if len(done_before) > number:
                    continue
                folder = out / re.sub(r"[^A-Za-z0-9]+", "-", f"{name} {substrate} {number + 1}")
                folder.mkdir(parents=True, exist_ok=True)
                print(f"{name} on {substrate}: load {psutil.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
                program = [sys.executable, str(Path(__file__).resolve()), "--out", str(folder)]
                argv = [*program, "--one", name, substrate, str(number + 1)]
                done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, timeout=LIMIT_S, check=True)
                done_before.append(done.stdout.splitlines()[-1])
                store.write_atomically(out / "runs.json", json.dumps(runs, indent=1))


def main() -> None:
    """Run, and print the tables."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--only", default=";".join(SUBSTRATES), help="substrates, with semicolons between them")
    options.add_argument("--rounds", type=int, default=1, help="how often each is run; with seeds 1, 2, ...")
    options.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "testbed-substrates")
    options.add_argument("--figure", type=Path, help="where to draw, without the ending")
    options.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.one:
        name, substrate, seed = chosen.one
        print(carry_out(name, substrate, chosen.out, int(seed)))
        return
    if os.geteuid():
        sys.exit("Run it as root: the SSH servers that stand for machines ask for it.")
    chosen.out.mkdir(parents=True, exist_ok=True)
    all_runs(chosen.only.split(";"), chosen.rounds, chosen.out.absolute())
    told = json.loads((chosen.out / "runs.json").read_text(encoding="utf-8"))
    runs = {name: {each: [Path(path) for path in paths] for each, paths in by.items()} for name, by in told.items()}
    print(side_by_side.markdown(runs))
    if chosen.figure:
        style.save(side_by_side.figure(runs), chosen.figure, ["svg"])


if __name__ == "__main__":
    main()
