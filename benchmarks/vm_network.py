"""Build and remove a network inside the VM: what instantiate.py sends there, where it is found by its name here."""

from __future__ import annotations

import json
import time
from pathlib import Path

from testbed.substrate.arena import RUNTIME
from testbed.substrate.vm import VmSubstrate
from testbed.topology.load import parse


def build(text: str, said: Path) -> int:
    """Bring up the network of this topology file and take it down.

    Writes to the file ``said``: the time of day when it was up, the seconds to build it, the seconds to remove it.
    """
    topology = parse(text, "bench.yaml")
    VmSubstrate().probe()
    begun = time.perf_counter()
    with VmSubstrate().open(topology, RUNTIME / "hosts", 1, {}):
        built, now = time.perf_counter(), time.time()
    said.write_text(json.dumps([now, built - begun, time.perf_counter() - built]))
    return 0
