"""The Mininet substrate: the same topology as a network of Mininet's nodes, switches and links, in an arena.

Nothing of it is in the machine's own namespaces and nothing is left when it ends, so ``mn -c`` has nothing to clean. An
ordinary user needs no more rights than on the namespace substrate.

Switches are Linux bridges; with the option ``ovs`` they are Open vSwitch and learn, with ``flows`` they have fixed
flows.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from testbed import linux
from testbed.errors import MachineLacks, TestbedError
from testbed.shaping.base import Mechanism, Shaper
from testbed.shaping.choose import choose
from testbed.substrate import arena, build
from testbed.substrate.base import Capabilities
from testbed.substrate.cgroups_hosts import open_groups
from testbed.substrate.host import NetnsHost
from testbed.substrate.layout import FABRIC
from testbed.substrate.names import resolve_names
from testbed.substrate.netns import NetnsNetwork, open_hosts, put_shapers
from testbed.substrate.probe import probe
from testbed.topology.model import Topology
from testbed.topology.shape import Shape

if TYPE_CHECKING:
    from testbed.substrate.mininet_nodes import Emulation

_NEEDED = ("mnexec", "mininet")


class MininetNetwork(NetnsNetwork):
    """A topology that is alive on Mininet; ``mininet`` is the ``mininet.net.Mininet``, for scripts of one's own."""

    def __init__(
        self, topology: Topology, mechanisms: Mapping[str, Mechanism], hosts: Mapping[str, NetnsHost],
        shapers: Mapping[Mechanism, Shaper], mininet: Emulation, notes: Mapping[str, str],
    ) -> None:  # fmt: skip
        super().__init__(topology, mechanisms, hosts, shapers)
        self.mininet = mininet
        self.notes = {**self.notes, **notes}
        mininet.cut = self.connect

    def command_line(self) -> None:
        """Hand the terminal to Mininet's own command line until the user leaves it."""
        from mininet.cli import CLI
        from mininet.log import setLogLevel

        setLogLevel("output")
        CLI(self.mininet)


class MininetSubstrate:
    """Brings topologies to life on this machine as Mininet networks; ``open`` has to be called in an arena."""

    name = "mininet"
    virtual = False
    options = ("ovs", "flows")

    def __init__(self, option: str = "") -> None:
        self._option = option

    def probe(self) -> Capabilities:
        """What this machine offers."""
        return probe()

    def enter(self, work: Callable[[], int], name: str) -> int:
        """Run ``work`` in an arena known as ``name``; its exit status."""
        return arena.run_inside(work, name)

    @contextmanager
    def open(
        self, topology: Topology, folder: Path, seed: int, later: Mapping[str, Sequence[Shape]]
    ) -> Iterator[MininetNetwork]:
        """Build the network; it is gone when the context ends. Each host gets a folder of its name in ``folder``."""
        if not arena.inside():
            raise TestbedError("A Mininet network can only be opened in an arena: see run_inside.")
        require(probe())
        from testbed.substrate import mininet_ovs
        from testbed.substrate.mininet_nodes import Bridge, Emulation, NamedLayout, add_links, version

        switch = mininet_ovs.OpenSwitch if self._option else Bridge
        mechanisms = choose(topology, later, self.probe())
        layout = NamedLayout(topology, mechanisms, bridged=not self._option)
        with ExitStack() as undo:
            resolve_names(topology, undo)  # first: Mininet's nodes see the mounts that there are when they are made
            spaces = build.Spaces()
            undo.callback(spaces.close)
            spaces.groups = open_groups(topology, undo)
            net = Emulation(switch)
            undo.callback(net.stop)
            _make_spaces(topology, spaces, net)
            undo.callback(build.delete, spaces)
            build.build(topology, layout, spaces)
            switches = "Linux bridges"
            if self._option:
                switches = mininet_ovs.start(topology, layout, spaces.net, self._option == "flows", probe(), undo)
            add_links(net, topology, layout)
            net.start()
            shapers = put_shapers(tuple(build.wires(topology, layout, spaces)), mechanisms, seed, undo)
            hosts = open_hosts(topology, folder.absolute(), spaces, undo)
            notes = {"mininet": version(), "switches": switches}
            network = MininetNetwork(topology, mechanisms, hosts, shapers, net, notes)
            network.find_ways()
            yield network


def require(offer: Capabilities) -> None:
    """Raise MachineLacks for the first thing that Mininet needs and that is not here."""
    for name in _NEEDED:
        feature = offer.features[name]
        if not feature.available:
            raise MachineLacks(f"{name} for the substrate mininet ({feature.detail})", f"{feature.remedy}.")


def _make_spaces(topology: Topology, spaces: build.Spaces, net: Emulation) -> None:
    """Have Mininet make its nodes, and hold their namespaces."""
    nodes = topology.of_kind("host", "router")
    with ThreadPoolExecutor(1) as thread:  # what it makes of itself must not become of this one
        thread.submit(spaces.make, FABRIC, build.FABRIC_SETTINGS).result()
        list(thread.map(spaces.christen, [node.name for node in nodes]))
    fabric = spaces.net[FABRIC]
    for at, switch in enumerate(topology.of_kind("switch")):
        with _told(switch.name):
            net.addSwitch(switch.name, dpid=f"{at + 1:x}", place=(fabric, spaces.uts[FABRIC]))
    for node in nodes:
        with _told(node.name):
            place, group = (fabric, spaces.uts[node.name]), spaces.groups.get(node.name)
            made = net.addHost(node.name, ip=None, place=place, group=group)
            spaces.net[node.name] = os.open(f"/proc/{made.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        with linux.entered(spaces.net[node.name]):
            build.put_in_force(build.settings_of(node))


@contextmanager
def _told(node: str) -> Iterator[None]:
    """Say in our words that Mininet could not make a node: its shell ends, or its terminal has nothing to say."""
    try:
        yield
    except (OSError, IndexError) as error:
        what = f"what Mininet needs for node {node}: mnexec and a shell in new namespaces ({error})"
        raise MachineLacks(what, "See `testbed doctor`; `--substrate netns` needs neither.") from error
