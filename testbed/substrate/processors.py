"""What Linux tells about the processors: use, steal, pressure and throttling, as counters that only grow."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Processors:
    """Counters since the machine's start: all of them seconds, ``total_s`` and its parts summed over all processors.

    ``waiting_s`` is the time in which some task waited for a processor (pressure stall information); it is None where
    the kernel does not tell. ``throttled_s`` is the time a control group's CPU limit held this process back.
    """

    total_s: float
    idle_s: float
    steal_s: float
    waiting_s: float | None
    throttled_s: float


def processors() -> Processors:
    """The counters now."""
    fields = [int(text) / _TICKS for text in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    fields += [0.0] * (8 - len(fields))
    idle = fields[3] + fields[4]  # idle and waiting for a disk: both leave the processor free
    return Processors(sum(fields[:8]), idle, fields[7], _waiting(), _throttled())


def _waiting() -> float | None:
    with suppress(OSError):  # no such file, or it cannot be read where pressure is switched off
        for line in Path("/proc/pressure/cpu").read_text().splitlines():
            if line.startswith("some "):
                return int(line.rpartition("total=")[2]) / 1e6
    return None


def _throttled() -> float:
    for path, name, unit in _throttle_files():
        with suppress(OSError):
            for line in path.read_text().splitlines():
                if line.startswith(name):
                    return int(line.split()[1]) * unit
    return 0.0


def _throttle_files() -> list[tuple[Path, str, float]]:
    """Where this process's control group tells of throttling: version 2, then version 1."""
    found = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            found.append((Path(f"/sys/fs/cgroup{group}/cpu.stat"), "throttled_usec", 1e-6))
        elif "cpu" in controllers.split(","):
            found.append((Path(f"/sys/fs/cgroup/cpu{group}/cpu.stat"), "throttled_time", 1e-9))
    return found
