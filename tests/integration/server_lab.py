"""Emulation servers for tests: hosts of one emulated network that stand for machines, each with its own SSH server.

    driver ──┐
    m1 ──────┤ lan        the links of the LAN take what ``way`` says
    m2 ──────┘

They have networks of their own and nothing else: one kernel, one processor, one clock and one file system carry them
all. Use it inside an arena; a thread is on the driver where it is in its network namespace.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from in_arena import line

from testbed import linux
from testbed.deploy.ssh import over_ssh
from testbed.linux import entered
from testbed.substrate.arena import RUNTIME
from testbed.substrate.away import Errand
from testbed.substrate.find import named
from testbed.substrate.host import NetnsHost
from testbed.substrate.machines import MachinesSubstrate
from testbed.substrate.netns import NetnsNetwork
from testbed.topology.model import Topology
from testbed.topology.shape import Shape

WIDE = 1600  # an MTU between the machines that leaves room for VXLAN


@dataclass(frozen=True)
class Lab:
    """The LAN with its machines, the folder with keys, and a folder of this test's own."""

    network: NetnsNetwork
    keys: Path
    place: Path
    user: str

    @property
    def machines(self) -> list[str]:
        """The machines by name, without the driver."""
        return [node.name for node in self.network.topology.of_kind("host") if node.name != "driver"]

    @property
    def driver(self) -> NetnsHost:
        """The machine on which the driver is."""
        return self.network.host("driver")

    def inventory(self, parts: Mapping[str, Sequence[str]], **more: str) -> Path:
        """An inventory file over the machines in ``parts``, with ``more`` keys of its own."""
        import json

        machines = {
            name: {"address": self.network.topology.address(name), "user": self.user, "key": str(self.keys / "user_key"),
                   "known_hosts": str(self.keys / "known_hosts"), "python": sys.executable, "folder": str(self.place)}
            for name in parts
        }  # fmt: skip
        path = self.place / "inventory.yaml"
        path.write_text(json.dumps({"machines": machines, "parts": {key: list(each) for key, each in parts.items()},
                                    **more}))  # fmt: skip
        return path


@contextmanager
def lab(machines: int = 2, way: str = "{}", mtu: int = 1500) -> Iterator[Lab]:
    """Machines m1, m2, ... and a driver on one LAN; ``way`` is what each link to the LAN says (YAML)."""
    names = ["driver", *(f"m{number + 1}" for number in range(machines))]
    links = "\n".join(f"  - {{<<: {way}, ends: [{name}, lan], mtu: {mtu}}}" for name in names).replace("<<: {}, ", "")
    links = links.replace("<<: {", "").replace("}, ends", ", ends")
    nodes = ", ".join(f"{name}: {{}}" for name in names)
    topology = line(f"name: lab\nnodes: {{{nodes}, lan: {{kind: switch}}}}\nlinks:\n{links}\n")
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
    nodes = [node.name for node in topology.of_kind("host", "router")]
    substrate.expect(Errand(topology, nodes))
    found: list[Any] = []
    with entered(made.driver.net), entering(substrate):
        with substrate.open(topology, made.place / "hosts", 1, later or {}) as network:
            found.append(network)
            yield network


@contextmanager
def entering(substrate: MachinesSubstrate) -> Iterator[None]:
    """``substrate.enter`` as a context."""
    from testbed.substrate import remote

    with remote.reached(substrate.inventory, {}, substrate._options) as substrate._sessions:
        try:
            yield
        finally:
            substrate._sessions = None
