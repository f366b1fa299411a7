"""CPU time and memory of whole process trees, in one pass over /proc for all of them.

One pass costs about 20 µs a process of this machine (in an arena: of this arena), however many agents are asked for;
asking psutil for each agent's children would scan /proc once an agent.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from testbed.substrate.processors import Processors, processors

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process (or a tree of them) has used: CPU seconds, resident bytes, number of processes.

    ``cpu_s`` includes children that ended and were waited for. Pages shared between processes count once for each.
    """

    cpu_s: float = 0.0
    memory_bytes: int = 0
    processes: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.cpu_s + other.cpu_s, self.memory_bytes + other.memory_bytes,
                     self.processes + other.processes)


@dataclass(frozen=True, slots=True)
class Reading:
    """A machine's counters at the moment ``t`` of its own monotonic clock; ``own`` are CPU seconds by process."""

    t: float
    processors: Processors
    own: Mapping[int, float]


class Snapshot:
    """All processes that this one can see, at one moment."""

    def __init__(self) -> None:
        self.usage: dict[int, Usage] = {}
        self.children: dict[int, list[int]] = defaultdict(list)
        for name in os.listdir("/proc"):  # noqa: PTH208 - names are all that is needed, hundreds a second
            if name.isdigit():
                self._read(int(name))

    def _read(self, pid: int) -> None:
        try:
            with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:  # noqa: PTH123 - as above
                fields = file.read().rpartition(b")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return  # it ended between the listing and now
        self.usage[pid] = Usage(sum(map(int, fields[11:15])) / _TICKS, int(fields[21]) * _PAGE, 1)
        self.children[int(fields[1])].append(pid)

    def agent(self, node: str, pid: int) -> Usage:
        """What the tree of ``pid`` uses; every node is on this machine."""
        return self.tree(pid)

    def machines(self, programs: Iterable[tuple[str, int]]) -> dict[str, Reading]:
        """How busy this machine is; what is below this process, without ``programs``, is the emulation itself."""
        own = self.pids(os.getpid(), without=[pid for _, pid in programs])
        return {"": Reading(time.monotonic(), processors(), {pid: self.usage[pid].cpu_s for pid in own})}

    def tree(self, root: int, without: Iterable[int] = ()) -> Usage:
        """What ``root`` and its descendants use, less the trees of ``without``; all zero if it does not exist."""
        return sum((self.usage[pid] for pid in self.pids(root, without)), Usage())

    def pids(self, root: int, without: Iterable[int] = ()) -> list[int]:
        """The processes that :meth:`tree` adds up, each after its parent."""
        left_out, found, waiting = set(without), list[int](), [root]
        while waiting:
            pid = waiting.pop()
            if pid in self.usage and pid not in left_out:
                found.append(pid)
                waiting += self.children.get(pid, ())
        return found
