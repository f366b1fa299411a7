"""One control group for each host that has limits, below one group for the network; see ``cgroups.py`` for where."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from testbed.errors import LimitNotInForce, MachineLacks
from testbed.linux import join_groups
from testbed.substrate import cgroups, cgroups_owner
from testbed.substrate.base import LimitUse
from testbed.substrate.cgroups import PROCS, Hierarchy
from testbed.topology.limits import Limits, memory_text, processors, processors_text
from testbed.topology.model import Topology

PERIOD_US = 20_000
"""Short, so that a slow host is slow all the time and not fast and then still; with still shorter ones the kernel loses
some per cent of the CPU time on its way between processors."""
LEAST_QUOTA_US = 1_000  # the kernel's
_SHARED = "cpuset.cpus", "cpuset.mems"


class HostGroup:
    """The control groups of one host: by controller the version and the folder. ``files`` are their lists of members.

    ``joins`` are descriptors: a process that writes "0" to each is inside, and so is all that it starts.
    """

    def __init__(self, host: str, limits: Limits, places: Mapping[str, tuple[int, Path]]) -> None:
        self.host, self.limits = host, limits
        self._places = places
        self._period_s = _bandwidth(limits.cpu)[1] / 1e6 if limits.cpu is not None else 0.0
        self.files = tuple(dict.fromkeys(folder / PROCS for _, folder in places.values()))
        self.joins: tuple[int, ...] = ()

    def open(self, undo: ExitStack) -> None:
        """Put the limits in force and be ready for processes."""
        for key, (version, folder) in self._places.items():
            for name, text in settings(key, version, self.limits):
                if not name.endswith("?") or (folder / name.removesuffix("?")).exists():
                    meaning = f"The limit {key} of host {self.host}"
                    cgroups.write(folder / name.removesuffix("?"), text, meaning)
        for file in self.files:
            fd = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
            undo.callback(os.close, fd)
            self.joins = (*self.joins, fd)

    @property
    def versions(self) -> Mapping[str, int]:
        """The version of control groups that each limit is in force by."""
        return {key: version for key, (version, _) in self._places.items()}

    def join(self) -> None:
        """Put the calling process inside; between fork and exec, so that no program of the host ever was outside."""
        join_groups(self.joins)

    def use(self) -> LimitUse:
        """What the limits have done so far."""
        throttled = killed = None
        if "cpu" in self._places:
            throttled = _count(self._places["cpu"][1] / "cpu.stat", "nr_throttled") * self._period_s
        if "memory" in self._places:
            version, folder = self._places["memory"]
            killed = _count(folder / ("memory.events" if version == 2 else "memory.oom_control"), "oom_kill")
        return LimitUse(throttled, killed or 0)

    def blame(self) -> str:
        """Why the kernel killed programs of this host, as a clause; empty if it killed none."""
        killed = self.use().killed
        if not killed:
            return ""
        memory = memory_text(self.limits.memory or 0)
        return f"host {self.host} was out of memory (its limit is {memory}), and the kernel killed {programs(killed)}"


def programs(count: int) -> str:
    """``1 program``, ``2 programs``."""
    return f"{count} program{'' if count == 1 else 's'}"


def _count(file: Path, name: str) -> int:
    with suppress(OSError):  # the network is being taken down
        for line in file.read_text().splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    return 0


def settings(key: str, version: int, limits: Limits) -> list[tuple[str, str]]:
    """The files of a group and what is written to them for one limit; a file with ``?`` may be missing."""
    if key == "cpu" and limits.cpu is not None:
        quota, period = _bandwidth(limits.cpu)
        if version == 2:
            return [("cpu.max", f"{quota} {period}")]
        return [("cpu.cfs_period_us", str(period)), ("cpu.cfs_quota_us", str(quota))]
    if key == "cpuset":
        return [("cpuset.cpus", str(processors_text(limits.cpuset)))]
    if version == 2:
        return [("memory.max", str(limits.memory)), ("memory.swap.max?", "0")]
    return [("memory.limit_in_bytes", str(limits.memory)), ("memory.memsw.limit_in_bytes?", str(limits.memory))]


def _bandwidth(cores: float) -> tuple[int, int]:
    """Microseconds of CPU time in each period of so many microseconds."""
    period = max(PERIOD_US, math.ceil(LEAST_QUOTA_US / cores))
    return max(LEAST_QUOTA_US, round(cores * period)), period


def told(groups: Iterable[HostGroup]) -> dict[str, str]:
    """What is in force, by kind of limit, for the record of a run."""
    found: dict[str, list[str]] = {}
    for group in groups:
        for key, version in group.versions.items():
            found.setdefault(f"limit-{key}", []).append(f"{group.host} {group.limits.data()[key]} (v{version})")
    return {key: ", ".join(each) for key, each in sorted(found.items())}


def open_groups(topology: Topology, undo: ExitStack) -> dict[str, HostGroup]:
    """The groups of all hosts and routers that have limits, with these in force; ``undo`` removes them.

    Raises MachineLacks where this user can make no such groups, LimitNotInForce for a limit that cannot be.
    """
    limited = {node.name: node.limits for node in topology.of_kind("host", "router") if node.limits.kinds}
    if not limited:
        return {}
    found = cgroups.hierarchies()
    of_key = {key: cgroups.of_controller(found, key) for each in limited.values() for key in each.kinds}
    runs = {each: _run_group(each, [key for key in of_key if of_key[key] is each], undo)
            for each in dict.fromkeys(of_key.values())}  # fmt: skip
    groups = {}
    for host, limits in limited.items():
        if limits.cpuset is not None:
            _check_processors(host, limits.cpuset, of_key["cpuset"], runs[of_key["cpuset"]])
        places = {key: (of_key[key].version, runs[of_key[key]] / host) for key in limits.kinds}
        for version, folder in dict.fromkeys(places.values()):
            folder.mkdir()
            if version == 1 and "cpuset" in of_key and folder.parent == runs[of_key["cpuset"]]:
                _share_processors(folder)
        groups[host] = HostGroup(host, limits, places)
        groups[host].open(undo)
    return groups


def _run_group(hierarchy: Hierarchy, controllers: list[str], undo: ExitStack) -> Path:
    """A new group for the network in one hierarchy, below which groups have these controllers."""
    base = cgroups.base(hierarchy, controllers)
    folder = _new(base, hierarchy, controllers)
    undo.callback(cgroups_owner.remove, folder, 0.5)
    if hierarchy.version == 2:
        cgroups.hand_on(folder, controllers)
    elif "cpuset" in controllers:
        _share_processors(folder)
    return folder


def _new(base: Path, hierarchy: Hierarchy, controllers: list[str]) -> Path:
    number = 0
    while True:
        number += 1
        folder = base / f"{cgroups_owner.ours()}-{number}"
        try:
            folder.mkdir()
        except FileExistsError:  # another network of this run has it
            continue
        except OSError as error:
            raise cgroups.refused(hierarchy, controllers, f"{base}: {error.strerror}") from error
        return folder


def _share_processors(group: Path) -> None:
    """In version 1 a new group has no processors and no memory nodes: give it those of the group above."""
    for name in _SHARED:
        cgroups.write(group / name, (group.parent / name).read_text(), f"The group {group}")


def _check_processors(host: str, wanted: tuple[int, ...], hierarchy: Hierarchy, run: Path) -> None:
    """Version 2 would take a processor that is not there without a word."""
    here = _offered(hierarchy.version, run)
    missing = tuple(each for each in wanted if each not in here)
    if missing:
        raise LimitNotInForce(
            f"Host {host} may run on the processors {processors_text(wanted)} alone, but this machine offers "
            f"{processors_text(here)}. Change its cpuset."
        )


def _offered(version: int, run: Path) -> tuple[int, ...]:
    """The processors that groups of a network can have."""
    file = "cpuset.cpus.effective" if version == 2 else "cpuset.effective_cpus"
    return processors((run / file).read_text().strip())


def modest(key: str, version: int, run: Path) -> Limits:
    """A limit of this kind that any machine can put in force below the group ``run``."""
    if key == "cpuset":
        return Limits.model_construct(cpuset=_offered(version, run))
    return Limits(cpu=0.5) if key == "cpu" else Limits.model_construct(memory=64_000_000)


def attempt(key: str) -> str:
    """Put a limit in force in a group that is thrown away; says where. Raises MachineLacks and LimitNotInForce."""
    hierarchy = cgroups.of_controller(cgroups.hierarchies(), key)
    with ExitStack() as undo:
        try:
            run = _run_group(hierarchy, [key], undo)
            folder = run / "probe"
            folder.mkdir()
            if hierarchy.version == 1 and key == "cpuset":
                _share_processors(folder)
            limits = modest(key, hierarchy.version, run)
            group = HostGroup("probe", limits, {key: (hierarchy.version, folder)})
            group.open(undo)
        except OSError as error:
            what = f"the right to limit {key} of hosts ({errno.errorcode.get(error.errno or 0, '')}: {error})"
            raise MachineLacks(what, "Run as root, or with sudo.") from error
    return f"version {hierarchy.version}, below {run.parent}"
