"""Emulation servers for tests: hosts of one emulated network that stand for machines, each with its own SSH server.

    driver ──┐
    m1 ──────┤ lan
    m2 ──────┘

They have networks of their own and nothing else: one kernel, one processor, one clock and one file system carry them
all. Use it inside an arena; a thread is on the driver while it is in its network namespace.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from in_arena import line

from testbed import linux
from testbed.deploy.ssh import over_ssh
from testbed.substrate import remote
from testbed.substrate.arena import RUNTIME
from testbed.substrate.away import Errand
from testbed.substrate.find import named
from testbed.substrate.host import NetnsHost
from testbed.substrate.machines import MachinesSubstrate
from testbed.substrate.netns import NetnsNetwork
from testbed.topology.model import Topology
from testbed.topology.shape import Shape

WIDE = 1600  # an MTU between the machines that leaves room for VXLAN
Parts = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Lab:
    """The LAN with its machines, the folder with keys, and a folder of this lab's own."""

    network: NetnsNetwork
    keys: Path
    place: Path
    user: str

    @property
    def driver(self) -> NetnsHost:
        """The machine on which the driver is."""
        return self.network.host("driver")

    def inventory(self, parts: Parts, **more: str) -> Path:
        """An inventory file over the machines in ``parts``, with ``more`` keys of its own."""
        common = {"user": self.user, "key": str(self.keys / "user_key"), "python": sys.executable,
                  "known_hosts": str(self.keys / "known_hosts"), "folder": str(self.place)}  # fmt: skip
        machines = {name: {"address": self.network.topology.address(name), **common} for name in parts}
        path = self.place / "inventory.yaml"
        path.write_text(json.dumps({"machines": machines, "parts": {each: [*parts[each]] for each in parts}, **more}))
        return path

    def processes(self, machine: str) -> list[int]:
        """What runs in the network of a machine itself, not in that of an arena there."""
        here = os.fstat(self.network.host(machine).net).st_ino
        found = []
        for path in Path("/proc").iterdir():
            with suppress(OSError):
                if path.name.isdigit() and (path / "ns" / "net").stat().st_ino == here:
                    found.append(int(path.name))
        return found

    def commands(self, machine: str) -> list[str]:
        """The command lines of these processes."""
        found = []
        for pid in self.processes(machine):
            with suppress(OSError):
                found.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode())
        return [each for each in found if each]

    def kill(self, machine: str) -> None:
        """Kill all that runs on a machine at once, its SSH server first of all."""
        for pid in self.processes(machine):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextmanager
def lab(machines: int = 2, mtu: int = 1500, delay: str = "0s") -> Iterator[Lab]:
    """Machines m1, m2, ... and a driver on one LAN, whose links have this MTU and one-way delay."""
    names = ["driver", *(f"m{number + 1}" for number in range(machines))]
    links = [{"ends": [name, "lan"], "mtu": mtu, "delay": delay} for name in names]
    nodes = {**{name: {} for name in names}, "lan": {"kind": "switch"}}
    topology = line(json.dumps({"name": "lab", "nodes": nodes, "links": links}))
    place = Path("/mnt")  # of the arena alone, and not covered in the arenas of its machines, as /run is
    linux.mount("tmpfs", str(place), "tmpfs", data="mode=755")
    with named("netns").open(topology, RUNTIME / "machines", 1, {}) as network:
        assert isinstance(network, NetnsNetwork)
        with over_ssh(network, names[1:]) as hosts:
            yield Lab(network, hosts.access.folder, place, hosts.access.user)


@contextmanager
def stretched(
    made: Lab, topology: Topology, inventory: Path, later: Mapping[str, Sequence[Shape]] | None = None
) -> Iterator[Any]:
    """The network over the machines of an inventory; the calling thread is on the driver meanwhile."""
    substrate = MachinesSubstrate(str(inventory))
    substrate.expect(Errand(topology, [node.name for node in topology.of_kind("host", "router")]))
    with (
        linux.entered(made.driver.net),
        remote.reached(substrate.inventory, {}, substrate._options) as substrate._sessions,
        substrate.open(topology, made.place / "hosts", 1, later or {}) as network,
    ):
        yield network
