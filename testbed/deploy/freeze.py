"""Stops a process and all that descends from it, or lets them go on; stands alone, for machines reached by SSH.

    python3 freeze.py stop|go PID...

Workers of functions lead process groups and sessions of their own, so a signal to a group would not reach them.
"""

import os
import signal
import sys
from contextlib import suppress


def stop(roots: list[int]) -> None:
    """SIGSTOP, from the ancestors down, until no new descendant is found."""
    stopped: set[int] = set()
    while new := [pid for pid in descendants(roots) if pid not in stopped]:
        for pid in new:
            send(pid, signal.SIGSTOP)
        stopped.update(new)


def go(roots: list[int]) -> None:
    """SIGCONT for all of them."""
    for pid in descendants(roots):
        send(pid, signal.SIGCONT)


def send(pid: int, number: int) -> None:
    """A signal; no error if the process has ended."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def descendants(roots: list[int]) -> list[int]:
    """The processes ``roots``, their children, the children of those, and so on."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - names are all that is needed
        if name.isdigit():
            with suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                children.setdefault(int(file.read().rpartition(b")")[2].split()[1]), []).append(int(name))
    found, todo = list[int](), list(roots)
    while todo:
        pid = todo.pop(0)
        found.append(pid)
        todo += children.get(pid, [])
    return found


if __name__ == "__main__":
    {"stop": stop, "go": go}[sys.argv[1]]([int(each) for each in sys.argv[2:]])
