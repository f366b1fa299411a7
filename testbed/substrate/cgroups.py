"""Control groups: which hierarchies this machine has, and where in them this process may make groups of its own.

Version 1 has a hierarchy for each controller (or for some together), version 2 one for all; machines with both bind
each controller to one of them. A group for a host is made below the group that this process is in, so that what holds
for this process (a container's memory, a service's share) goes on to hold for all that it emulates.

Version 2 has two rules more. A group that hands controllers on to groups below it holds no processes itself: so where a
group was delegated to this user, the command steps aside into a leaf of it (:func:`step_aside`). And an ordinary user
moves processes only inside what was delegated to them.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import LimitNotInForce, MachineLacks

PREFIX = "testbed-"
ASIDE = "-driver"
PROCS, HANDED_ON, OFFERED = "cgroup.procs", "cgroup.subtree_control", "cgroup.controllers"
CONTROLLERS = ("cpu", "cpuset", "memory")
_OPTIONS = {"cpu": "CONFIG_CFS_BANDWIDTH", "cpuset": "CONFIG_CPUSETS", "memory": "CONFIG_MEMCG"}
_AS_ROOT = "Or run it as root or with sudo."
_DELEGATE = "Run the command as `systemd-run --user --scope -p Delegate=yes -- testbed ...`"


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One tree of control groups: where it is mounted, and the folder of the group that this process is in."""

    version: int
    mount: Path
    own: Path
    controllers: frozenset[str]

    @property
    def bases(self) -> Iterator[Path]:
        """The groups below which one could make more, the nearest first."""
        start = self.own.parent if self.own.name.startswith(PREFIX) else self.own
        yield start
        if self.version == 2:
            yield from (each for each in start.parents if each.is_relative_to(self.mount))


def hierarchies(mounts: str | None = None, groups: str | None = None) -> list[Hierarchy]:
    """Those that are mounted here; the texts are /proc/self/mountinfo and /proc/self/cgroup unless given."""
    mounts = Path("/proc/self/mountinfo").read_text() if mounts is None else mounts
    groups = Path("/proc/self/cgroup").read_text() if groups is None else groups
    paths = {frozenset(names.split(",")): path for _, names, path in
             (line.split(":", 2) for line in groups.splitlines())}  # fmt: skip
    found: dict[object, Hierarchy] = {}
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        root, mount = before.split()[3:5]
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup2":
            own = _inside(Path(mount), root, paths.get(frozenset([""]), "/"))
            found.setdefault(2, Hierarchy(2, Path(mount), own, _controllers(Path(mount))))
        elif kind == "cgroup":
            names = next((each for each in paths if each & set(options.split(","))), frozenset[str]())
            if names & set(CONTROLLERS):
                own = _inside(Path(mount), root, paths[names])
                found.setdefault(names, Hierarchy(1, Path(mount), own, names & set(CONTROLLERS)))
    return list(found.values())


def _controllers(group: Path) -> frozenset[str]:
    with suppress(OSError):
        return frozenset((group / OFFERED).read_text().split()) & set(CONTROLLERS)
    return frozenset()


def _inside(mount: Path, root: str, group: str) -> Path:
    """The folder of a group, as seen through a mount that may show a part of the hierarchy only."""
    if root != "/" and (group == root or group.startswith(f"{root}/")):
        group = group.removeprefix(root)
    folder = mount / group.strip().lstrip("/")
    return folder if folder.is_dir() else mount


def base(hierarchy: Hierarchy, needed: Iterable[str]) -> Path:
    """Where a run's group can be made so that groups in it have the ``needed`` controllers; raises MachineLacks."""
    wanted = set(needed)
    if hierarchy.version == 1:
        if not os.access(hierarchy.own, os.W_OK):
            raise refused(hierarchy, wanted, "no right to make a group")
        return next(hierarchy.bases)
    places = [each for each in hierarchy.bases if wanted <= _controllers(each) and _is_ours(each)]
    for place in places:
        if wanted <= set((place / HANDED_ON).read_text().split()):
            return place
    why = "no right to make a group" if not places else ""
    for place in places:
        try:
            hand_on(place, wanted)
        except OSError as error:
            why = why or _told(place, error)
        else:
            return place
    raise refused(hierarchy, wanted, why)


def hand_on(group: Path, controllers: Iterable[str]) -> None:
    """Let the groups below a group of version 2 have these controllers."""
    (group / HANDED_ON).write_text(" ".join(f"+{each}" for each in sorted(controllers)))


def _told(place: Path, error: OSError) -> str:
    if error.errno == errno.EBUSY:
        return f"processes are in the group {place} itself, so it can hand no controllers on"
    return f"{place}: {error.strerror}"


def _is_ours(group: Path) -> bool:
    """Whether this process may make groups here and move its children into them."""
    return all(os.access(each, os.W_OK) for each in (group, group / PROCS, group / HANDED_ON))


def is_root() -> bool:
    """Whether this process is the machine's root, not that of a user namespace alone."""
    with suppress(OSError):
        return os.geteuid() == 0 and Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]
    return os.geteuid() == 0


def of_controller(found: Sequence[Hierarchy], controller: str) -> Hierarchy:
    """The hierarchy that has a controller; raises MachineLacks if none has."""
    for hierarchy in found:
        if controller in hierarchy.controllers:
            return hierarchy
    remedy = (
        f"Boot a kernel built with {_OPTIONS[controller]} without `cgroup_disable={controller}`, and mount the control "
        "groups: mount -t cgroup2 none /sys/fs/cgroup."
    )
    raise MachineLacks(f"the controller {controller} of control groups", remedy)


def refused(hierarchy: Hierarchy, controllers: Iterable[str], why: str) -> MachineLacks:
    """The error that says why no group with these controllers can be made, and what helps."""
    names = " and ".join(sorted(controllers))
    what = f"the right to limit {names} of hosts (control groups version {hierarchy.version}: {why})"
    if is_root():
        return MachineLacks(what, _root_remedy(hierarchy, why))
    if hierarchy.version == 2:
        return MachineLacks(what, f"{_DELEGATE}, so that systemd hands it a group of its own. {_AS_ROOT}")
    folder = hierarchy.mount / "USER"
    remedy = (
        f"As root, make a group of your own in each hierarchy (mkdir {folder}, chown -R USER {folder}) and move your "
        f"shell into it (write its number into {folder / PROCS}). {_AS_ROOT}"
    )
    return MachineLacks(what, remedy)


def _root_remedy(hierarchy: Hierarchy, why: str) -> str:
    if "processes are in" in why:
        leaf = hierarchy.own / "all"
        return f"Move them into a group of their own first: mkdir {leaf}, and write each number to {leaf / PROCS}."
    return f"This is root already: in a container, have {hierarchy.mount} mounted so that it can be written to."


def _delegated(hierarchy: Hierarchy) -> bool:
    """Whether somebody handed the group that this process is in over to this user."""
    own = hierarchy.own
    if hierarchy.version != 2 or own == hierarchy.mount or not hierarchy.controllers & _controllers(own):
        return False
    with suppress(OSError):
        return os.getxattr(own, "trusted.delegate" if os.geteuid() == 0 else "user.delegate") == b"1"
    return os.geteuid() != 0 and _is_ours(own)


def step_aside(owner: str) -> None:
    """Where a group of version 2 was delegated to this user: leave it for a leaf of it, so that it can hand on."""
    for hierarchy in hierarchies():
        if _delegated(hierarchy) and hierarchy.own.name != f"{owner}{ASIDE}":
            leaf = hierarchy.own / f"{owner}{ASIDE}"
            with suppress(OSError):  # a network with limits says what is missing
                leaf.mkdir()
                (leaf / PROCS).write_text("0")


def step_back(owner: str) -> None:
    """Undo :func:`step_aside`; the groups below must be gone."""
    for hierarchy in hierarchies():
        if hierarchy.own.name == f"{owner}{ASIDE}":
            above = hierarchy.own.parent
            with suppress(OSError):  # if it cannot be undone, the next run sees a group of a dead process
                handed = (above / HANDED_ON).read_text().split()
                (above / HANDED_ON).write_text(" ".join(f"-{each}" for each in handed))
                (above / PROCS).write_text("0")
                hierarchy.own.rmdir()


def write(file: Path, text: str, meaning: str) -> None:
    """Put a setting of a group in force; LimitNotInForce with ``meaning`` if the kernel refuses it."""
    try:
        file.write_text(text)
    except OSError as error:
        raise LimitNotInForce(f"{meaning} cannot be put in force: the kernel refuses {text.strip()!r} in {file} "
                              f"({error.strerror}).") from error
