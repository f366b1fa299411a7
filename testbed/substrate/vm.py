"""A VM in a box: the network, and the run in it, inside User-Mode Linux, whose kernel has netem and Open vSwitch.

The VM is an ordinary program: no root, no hardware, no image; its files are this machine's. The network inside is one
of namespaces; the options have Mininet build it: with Linux bridges, or with Open vSwitch that learns or has fixed
flows. Work that enters has to be picklable, since it goes on in another kernel.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from testbed.errors import TestbedError
from testbed.substrate.base import Capabilities
from testbed.substrate.mininet import MininetSubstrate
from testbed.substrate.netns import NetnsNetwork, NetnsSubstrate
from testbed.substrate.probe import probe
from testbed.substrate.vm_errand import MARKER
from testbed.substrate.vm_host import run_in_vm
from testbed.topology.model import Topology
from testbed.topology.shape import Shape

_INNER: Mapping[str, Callable[[], NetnsSubstrate | MininetSubstrate]] = {
    "": NetnsSubstrate,
    "mininet": MininetSubstrate,
    "ovs": partial(MininetSubstrate, "ovs"),
    "flows": partial(MininetSubstrate, "flows"),
}


class VmSubstrate:
    """Brings topologies to life inside a VM; ``open`` has to be called there, in an arena."""

    name = "vm"
    virtual = False
    options = ("mininet", "ovs", "flows")

    def __init__(self, option: str = "") -> None:
        self._inner = _INNER[option]()

    def probe(self) -> Capabilities:
        """What the machine offers on which this is asked: this one, or the VM."""
        return probe()

    def enter(self, work: Callable[[], int], name: str) -> int:
        """Run ``work`` in a VM, in an arena; its exit status. UsageError for work that cannot be pickled."""
        if MARKER in os.environ:
            return self._inner.enter(work, name)
        return run_in_vm(partial(self._inner.enter, work, name), name)

    @contextmanager
    def open(
        self, topology: Topology, folder: Path, seed: int, later: Mapping[str, Sequence[Shape]]
    ) -> Iterator[NetnsNetwork]:
        """Build the network; it is gone when the context ends."""
        if MARKER not in os.environ:
            raise TestbedError("A network in the VM can only be opened in an arena there: see VmSubstrate.enter.")
        with self._inner.open(topology, folder, seed, later) as network:
            network.notes = {**network.notes, "vm": f"User-Mode Linux {os.environ[MARKER]}, {_memory()}, one processor"}
            yield network


def _memory() -> str:
    total = Path("/proc/meminfo").read_text(encoding="utf-8").split(maxsplit=2)[1]
    return f"{int(total) >> 10} MiB"
