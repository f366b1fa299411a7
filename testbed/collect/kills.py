"""Programs that the kernel killed since the memory of their host was full, as rows of ``events.csv``."""

from __future__ import annotations

from testbed.collect.events import EventRecorder
from testbed.substrate.base import Network, limit_use
from testbed.substrate.cgroups_hosts import programs
from testbed.topology.limits import memory_text


class Kills:
    """Call it as often as you like: what happened since the last time is recorded."""

    def __init__(self, network: Network, events: EventRecorder) -> None:
        self._network, self._events = network, events
        self._told = {node: use.killed for node, use in limit_use(network).items()}

    def __call__(self) -> None:
        for node, use in limit_use(self._network).items():
            new = use.killed - self._told[node]
            if new > 0:
                memory = memory_text(self._network.topology.nodes[node].limits.memory or 0)
                detail = f"the kernel killed {programs(new)}, since the host may hold {memory}"
                self._events.record("out_of_memory", node, detail)
                self._told[node] = use.killed
