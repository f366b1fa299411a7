"""The machines substrate: real machines, reached by SSH, that are the hosts of the network or carry parts of it.

``--substrate machines:FILE`` names the inventory; without one it is ``inventory.yaml`` in the working folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from testbed.errors import TestbedError, UsageError
from testbed.substrate import inventory, remote
from testbed.substrate.away import Errand
from testbed.substrate.base import Capabilities, Network
from testbed.substrate.inventory import Inventory
from testbed.substrate.remote import Sessions
from testbed.substrate.remote_shaped import ShapedNetwork
from testbed.timeline.actions import Attach, Hold, Release, SetShape
from testbed.topology.model import Topology
from testbed.topology.shape import Shape

_OF_LINKS = (SetShape, Hold, Release)


class MachinesSubstrate:
    """Brings topologies to life on the machines of an inventory. Call ``expect`` first, and ``open`` inside ``enter``.
    """

    name = "machines"
    virtual = False
    option_is_file = True

    def __init__(self, option: str = "") -> None:
        self._file = Path(option) if option else inventory.DEFAULT
        self._errand: Errand | None = None
        self._sessions: Sessions | None = None

    @cached_property
    def inventory(self) -> Inventory:
        """What the file says; raises InputError."""
        return inventory.load(self._file)

    def probe(self) -> Capabilities:
        """Nothing is needed here; what the machines lack is told before anything is begun there."""
        return Capabilities()

    def expect(self, errand: Errand) -> None:
        """Learn what a run wants; raises InputError or UsageError where it does not fit the inventory."""
        self._errand = errand
        if self.inventory.is_direct:
            self.inventory.refuse_misfits(errand.topology, errand.nodes)
            _refuse(errand, self.inventory.file.links == "real")

    def enter(self, work: Callable[[], int], name: str) -> int:
        """Run ``work`` with connections to all machines, each of which has been looked at."""
        libraries = self._errand.libraries if self._errand else {}
        with remote.reached(self.inventory, libraries, self._options) as self._sessions:
            try:
                return work()
            finally:
                self._sessions = None

    def _options(self, machine: str) -> Mapping[str, Any]:
        """How the deputy on a machine is to be: for parts in an arena, with doors to the machine's own network."""
        if self.inventory.is_direct:
            return {}
        return {"arena": True, "first": [["part.prepare", {"address": self.inventory.machine(machine).inside or ""}]]}

    @contextmanager
    def open(
        self, topology: Topology, folder: Path, seed: int, later: Mapping[str, Sequence[Shape]]
    ) -> Iterator[Network]:
        """The network; its hosts' folders are copied to ``folder/<host>`` when the context ends."""
        if self._sessions is None:
            raise TestbedError("Machines can only be used inside `enter`, which connects to them.")
        self._sessions.begin()
        with ExitStack() as undo:
            if not self.inventory.is_direct:
                from testbed.substrate.remote_parts import open_parts

                yield undo.enter_context(open_parts(self._sessions, topology, folder, seed, later))
                return
            network = self._direct(self._sessions, topology, later)
            undo.callback(network.gather, folder)
            yield network

    def _direct(
        self, sessions: Sessions, topology: Topology, later: Mapping[str, Sequence[Shape]]
    ) -> remote.RemoteNetwork:
        if self.inventory.file.links == "real":
            return remote.RemoteNetwork(topology, sessions)
        return ShapedNetwork(topology, sessions, later)


def _refuse(errand: Errand, are_real: bool) -> None:
    """Raise UsageError for what cannot be done where hosts are machines."""
    if any(isinstance(action, Attach) for action in errand.actions):
        raise UsageError("The timeline moves a host to another link (attach), which would change routes of real "
                         "machines. With `parts` in the inventory it is done in namespaces.")  # fmt: skip
    if are_real and any(isinstance(action, _OF_LINKS) for action in errand.actions):
        raise UsageError("The timeline changes links, but the inventory takes those between the machines as they are. "
                         "Put `links: shaped` into it, or use `parts`.")  # fmt: skip
    if errand.background:
        raise UsageError("Background traffic is made in namespaces only: leave it out, or use `parts`.")
    limited = [node.name for node in errand.topology.nodes.values() if node.limits.kinds]
    if limited:
        raise UsageError(f"The topology limits what {limited[0]} may use, which is put in force in namespaces only. "
                         "Leave the limits out, or use `parts`.")  # fmt: skip
    if errand.captures:
        raise UsageError("Packets cannot be captured on real machines, where others' packets pass as well. With "
                         "`parts` in the inventory they can, in namespaces.")  # fmt: skip
