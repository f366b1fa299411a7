"""Machines for tests: real SSH servers in network namespaces, each with files and, if asked for, a clock of its own.

Each machine has an own empty ``/tmp`` and sees neither this checkout nor the run folders, so that nothing gets across
by a shared file system. Its Python is the tests' own, found under another path. What they share with real machines is
SSH, deputies, sockets and clocks; what they do not: processors, a kernel, a network card.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from command import command, environment, record
from in_arena import passes

from testbed import linux
from testbed.deploy.ssh import Access, over_ssh
from testbed.places import home
from testbed.substrate.arena import RUNTIME
from testbed.substrate.deputy import descendants
from testbed.substrate.netns import NetnsNetwork, NetnsSubstrate
from testbed.topology.load import parse

PYTHON_PLACE = Path("/mnt")  # where a machine finds the Python of the tests
SOON_S = 60.0


@dataclass(frozen=True)
class Yard:
    """Machines m1, m2, ... and the driver's own place ``d`` in one LAN; ``out`` is where the driver's runs are."""

    network: NetnsNetwork
    access: Access
    out: Path

    def address(self, name: str) -> str:
        """The address of a machine."""
        return self.network.topology.address(name)

    def entry(self, name: str, **more: object) -> dict[str, Any]:
        """What an inventory says of a machine; ``more`` goes first."""
        return {"address": self.address(name), "user": self.access.user, "key": str(self.access.key),
                "known_hosts": str(self.access.folder / "known_hosts"), "python": python(), **more}

    def inventory(self, hosts: Mapping[str, str], changes: Mapping[str, Mapping[str, object]] | None = None,
                  **keys: object) -> Path:
        """An inventory file that makes machines of ``hosts``, with changes to some of their entries."""
        machines = {name: self.entry(name, **dict((changes or {}).get(name, {}))) for name in hosts.values()}
        return self.written({"machines": machines, "hosts": dict(hosts), **keys})

    def written(self, data: object) -> Path:
        """An inventory file with this in it."""
        import json

        path = self.out / f"inventory-{len(list(self.out.glob('inventory-*')))}.yaml"
        path.write_text(json.dumps(data))  # which is YAML as well
        return path

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start ``testbed WORDS`` at the driver's place."""
        with linux.entered(self.network.host("d").net):
            return subprocess.Popen(
                command(*words), cwd=self.out, env={**environment(), "HOME": str(self.out)}, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def cli(self, *words: str, timeout: float = 200) -> subprocess.CompletedProcess[str]:
        """Run ``testbed WORDS`` at the driver's place to its end."""
        process = self.start(*words)
        stdout, stderr = process.communicate(timeout=timeout)
        return subprocess.CompletedProcess(words, process.returncode, stdout, stderr)

    def run(self, experiment: Path | str, inventory: Path, *words: str) -> subprocess.CompletedProcess[str]:
        """Run an experiment on the machines of an inventory."""
        return self.cli("run", str(experiment), "--substrate", f"machines:{inventory}", "-q", "--no-figures",
                        "--out", str(self.out), *words)  # fmt: skip

    def server(self, name: str) -> int:
        """The process of a machine's SSH server."""
        return int((self.network.host(name).folder / "sshd" / "pid").read_text())

    def said(self, name: str) -> str:
        """The log of a machine's SSH server."""
        return (self.network.host(name).folder / "sshd" / "stderr").read_text()

    def crash(self, name: str) -> None:
        """Kill all that runs on a machine at once."""
        from testbed.deploy import freeze

        everything = [self.server(name), *descendants(self.server(name))]
        freeze.stop(everything)
        for pid in reversed([*everything, *descendants(self.server(name))]):
            freeze.send(pid, 9)

    def until_written(self, name: str, path: str, size: int) -> None:
        """Return when a file of a run on this machine, below the run's folder there, has so many bytes."""
        end = time.monotonic() + SOON_S
        tmp = Path(f"/proc/{self._inside(name)}/root/tmp")
        while sum(each.stat().st_size for each in tmp.glob(f"testbed-*/{path}")) < size:
            assert time.monotonic() < end, f"{path} does not grow on {name}"
            time.sleep(0.05)

    def left_on(self, name: str) -> list[str]:
        """What of a run is still on a machine: its folders in /tmp, and its processes besides the SSH server."""
        tmp = Path(f"/proc/{self._inside(name)}/root/tmp")
        folders = [each.name for each in tmp.iterdir()] if tmp.exists() else []
        return [*folders, *(_words(pid) for pid in descendants(self.server(name)) if "deputy" in _words(pid))]

    def _inside(self, name: str) -> int:
        """A process that sees the machine's files."""
        return next((pid for pid in descendants(self.server(name)) if "sshd" in _words(pid)), self.server(name))

    def until_clean(self, *names: str) -> None:
        """Return when nothing of any run is left on these machines."""
        end = time.monotonic() + SOON_S
        while left := {name: found for name in names if (found := self.left_on(name))}:
            assert time.monotonic() < end, left
            time.sleep(0.05)


def _words(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def python() -> str:
    """The Python of the tests as machines see it."""
    return str(PYTHON_PLACE / "bin" / Path(sys.executable).name) if _is_hidden() else sys.executable


def _is_hidden() -> bool:
    return Path(sys.prefix).is_relative_to(home())


def world(skew_s: float) -> list[str]:
    """A command that makes a machine's own world of files and clock, and then becomes what follows it."""
    hide = [home(), Path("/tmp"), RUNTIME]
    mounts = [["mount", "-t", "tmpfs", "-o", "mode=1777", "none", str(place)] for place in hide]
    if _is_hidden():
        mounts.insert(0, ["mount", "--bind", sys.prefix, str(PYTHON_PLACE)])
    script = " && ".join([*map(shlex.join, mounts), "cd /", 'exec "$@"'])
    clock = ["--time", "--monotonic", str(int(skew_s)), "--fork", "--kill-child"] if skew_s else []
    return ["unshare", "--mount", *clock, "--", "sh", "-c", script, "machine"]


@contextmanager
def yard(machines: int, skews: Mapping[str, float] | None = None) -> Iterator[Yard]:
    """A yard with so many machines; ``skews`` are seconds by which monotonic clocks are ahead. Call it in an arena."""
    names = [f"m{number}" for number in range(1, machines + 1)]
    links = ", ".join(f"[{name}, lan]" for name in ("d", *names))
    nodes = ", ".join(f"{name}: {{}}" for name in ("d", *names))
    text = f"name: yard\nnodes: {{lan: {{kind: switch}}, {nodes}}}\nlinks: [{links}]\naddressing: {{ipv6: none}}\n"
    out = RUNTIME / "driver"
    out.mkdir()
    with (
        NetnsSubstrate().open(parse(text, "yard.yaml"), RUNTIME / "hosts", 1, {}) as network,
        over_ssh(network, names, through=lambda name: world((skews or {}).get(name, 0.0))) as hosts,
    ):
        yield Yard(network, hosts.access, out)


def in_yard(
    body: Callable[[Yard], None], machines: int = 2, user: str = "root", skews: Mapping[str, float] | None = None
) -> None:
    """Assert that ``body`` comes to its end in a yard."""

    def work() -> None:
        with yard(machines, skews) as made:
            body(made)

    passes(work, user)


def only_run(out: Path) -> dict[str, Any]:
    """The record of the one run below ``out``."""
    (folder,) = (path.parent for path in out.glob("*/run.json"))
    return {"folder": folder, **record(folder)}


def judged_run(out: Path, done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The record of the one run, which came to its end and whose calls were answered: all, if the verdict is valid.

    The status of the command is the verdict's: machines that run tests are busy ones, and then nearly all will do.
    """
    run = only_run(out)
    assert run["state"] == "done", done.stderr
    assert done.returncode == (1 if run["verdict"]["level"] == "invalid" else 0), done.stderr
    found = [row["status"] for row in rows(run["folder"] / "invocations.csv")]
    least = len(found) if run["verdict"]["level"] == "valid" else 0.9 * len(found)
    assert found.count("ok") >= least, found
    return run


def rows(path: Path) -> Sequence[dict[str, str]]:
    """The rows of a CSV file."""
    import csv

    with path.open() as file:
        return list(csv.DictReader(file))
