"""The few Linux system calls that Python 3.11 does not offer, as plain functions that raise OSError.

``entered`` is how one process works in many network namespaces: a namespace belongs to a thread, so a thread can step
into one, open a socket or start a process there, and step back, while all other threads stay where they are.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MNT_DETACH = 2
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Give the calling thread new namespaces of the kinds in ``flags`` (unshare(2))."""
    _checked(_libc.unshare(flags), "unshare")


def setns(fd: int, flags: int = 0) -> None:
    """Move the calling thread into the namespace behind ``fd`` (setns(2)); ``flags`` 0 takes any kind."""
    _checked(_libc.setns(fd, flags), "setns")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    arguments = [text.encode() or None for text in (source, target, kind)]
    done = _libc.mount(*arguments, ctypes.c_ulong(flags), data.encode() or None)
    _checked(done, f"mount {kind or source} on {target}")


def unmount(target: str) -> None:
    """Detach what is mounted on ``target``, also while it is in use (umount2(2))."""
    _checked(_libc.umount2(target.encode(), MNT_DETACH), f"unmount {target}")


def die_with_parent(number: int) -> None:
    """Have the kernel send this process signal ``number`` when the thread that forked it ends.

    A parent that died before this call is not noticed: the caller has to look afterwards.
    """
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(number), 0, 0, 0), "prctl PR_SET_PDEATHSIG")


def adopt_orphans() -> None:
    """Make this process the parent of every descendant whose own parent dies, so that none of them gets away."""
    _checked(_libc.prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1), 0, 0, 0), "prctl PR_SET_CHILD_SUBREAPER")


def join_groups(members: Iterable[int]) -> None:
    """Put this process into the control groups whose lists of members are behind these descriptors."""
    for fd in members:
        os.write(fd, b"0")


def namespace(kind: str) -> int:
    """A descriptor of the calling thread's own namespace of this kind (``net``, ``uts``, ...). The caller closes it."""
    return os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)


@contextmanager
def entered(net: int, uts: int | None = None) -> Iterator[None]:
    """The calling thread is in these namespaces inside the ``with``, and back in its own after it.

    Safe in any thread, since namespaces of this kind belong to threads; a process started in the block stays in them.
    """
    homes = [namespace("net")]
    try:
        if uts is not None:
            homes.append(namespace("uts"))
            setns(uts, CLONE_NEWUTS)
        setns(net, CLONE_NEWNET)
        yield
    finally:
        for home in homes:
            setns(home)
            os.close(home)


def raise_descriptor_limit() -> None:
    """Allow this process as many open files as its hard limit lets it; a large network holds some for each host."""
    import resource

    with suppress(ValueError, OSError):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
