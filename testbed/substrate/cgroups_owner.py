"""Whose control groups are whose: the one thing of a run that the kernel does not take away with its processes.

A group carries the command that it was made for in its name: the PID namespace, the process number there, and when that
process started. So anybody can tell whether its owner is dead. The command removes its own groups when its arena has
ended; groups of commands that were killed are removed by the next one, by ``testbed doctor`` and ``testbed down``.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from testbed.substrate import cgroups
from testbed.substrate.cgroups import PREFIX

OWNER = "TESTBED_OWNER"
PATIENCE_S = 3.0  # for the kernel to bury what was killed
_NAME = re.compile(rf"{PREFIX}(\d+)-(\d+)-(\d+)")


def name_of(pid: int) -> str:
    """What the groups of this process are called, to begin with; ProcessLookupError if there is none."""
    started = _started(pid)
    if started is None:
        raise ProcessLookupError(errno.ESRCH, f"no process {pid}")
    return f"{PREFIX}{_namespace()}-{pid}-{started}"


def begin() -> str:
    """Before an arena: remove what dead commands left, and be ready to hand groups on; the name for groups of ours."""
    owner = name_of(os.getpid())
    clear()
    cgroups.step_aside(owner)
    return owner


def ours() -> str:
    """The name of the command that this process works for."""
    return os.environ.get(OWNER) or name_of(os.getpid())


def _namespace() -> int:
    return Path("/proc/self/ns/pid").stat().st_ino


def _started(pid: int) -> str | None:
    """When a living process started, in the kernel's ticks."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]


def parent(pid: int) -> int:
    """The process that started this one; 0 if nobody can tell."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def is_dead(name: str) -> bool:
    """Whether the owner of a group called so has ended; False if this process cannot know."""
    match = _NAME.match(name)
    return match is not None and int(match[1]) == _namespace() and _started(int(match[2])) != match[3]


def clear(ended: str = "", *, everywhere: bool = False) -> int:
    """Remove the groups of the owner ``ended``, waiting for its processes, and those of dead ones; how many.

    They are looked for around the group of this process or, which takes longer, ``everywhere``.
    """
    count = 0
    for group in list(_found(everywhere)):
        is_ended = bool(ended) and group.name.startswith(f"{ended}-")
        if group.name == f"{ended}{cgroups.ASIDE}" and group in {each.own for each in cgroups.hierarchies()}:
            continue  # where this process itself is
        if is_ended or is_dead(group.name):
            count += remove(group, PATIENCE_S if is_ended else 0.0)
    if ended:
        cgroups.step_back(ended)
    return count


def _found(everywhere: bool) -> Iterator[Path]:
    for hierarchy in cgroups.hierarchies():
        places = _all(hierarchy.mount) if everywhere else hierarchy.bases
        for place in places:
            with suppress(OSError):
                yield from [each for each in place.iterdir() if each.name.startswith(PREFIX) and each.is_dir()]


def _all(mount: Path) -> Iterator[Path]:
    for folder, inner, _ in os.walk(mount):
        inner[:] = [each for each in inner if not each.startswith(PREFIX)]
        yield Path(folder)


def remove(group: Path, patience_s: float = 0.0) -> bool:
    """Remove a group and those in it; waits so long for their last processes to be gone. Whether it is gone."""
    end = time.monotonic() + patience_s
    while True:
        try:
            for each in [each for each in group.iterdir() if each.is_dir()]:
                each.rmdir()
            group.rmdir()
        except FileNotFoundError:
            return True
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() >= end:
                return False
            time.sleep(0.005)
        else:
            return True
