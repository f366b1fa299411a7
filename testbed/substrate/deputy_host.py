"""Operations of the deputy on the hosts of its machine: programs, files, clocks, and what the machine is busy with.

Hosts are known by name in ``desk.kept["hosts"]``. ``host.open`` makes one that *is* the machine; whoever builds a part
of a network there puts its own hosts in.
"""

from __future__ import annotations

import base64
import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from testbed.substrate import programs
from testbed.substrate.deputy import Desk, Operation
from testbed.substrate.deputy_wire import PIECE
from testbed.substrate.host import NetnsHost, NetnsProcess
from testbed.substrate.processes import Snapshot
from testbed.substrate.processors import processors


class PlainHost(NetnsHost):
    """The machine itself as a host: what it runs is in no namespace of ours."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name, folder, -1, -1)

    def spawn(
        self, argv: Sequence[str], stdout: int | IO[bytes], stderr: int | IO[bytes], **more: Any
    ) -> subprocess.Popen[str]:
        """Start a program in a session of its own; FileNotFoundError if there is none of that name."""
        return subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True,
            encoding="utf-8", errors="replace", **more,
        )  # fmt: skip


def hosts(desk: Desk) -> dict[str, NetnsHost]:
    """The hosts of this machine by name."""
    found: dict[str, NetnsHost] = desk.kept.setdefault("hosts", {})
    return found


def _processes(desk: Desk) -> dict[int, NetnsProcess]:
    found: dict[int, NetnsProcess] = desk.kept.setdefault("processes", {})
    return found


def facts(desk: Desk) -> Mapping[str, object]:
    """What this machine is."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {"kernel": platform.release(), "machine": platform.machine(), "python": platform.python_version(),
            "processors": len(os.sched_getaffinity(0)), "memory_bytes": memory, "root": os.geteuid() == 0,
            "addresses": _addresses(), "folder": str(desk.folder)}


def _addresses() -> dict[str, list[str]]:
    """The IPv4 addresses of each interface."""
    argv = [programs.find("ip") or "ip", "-4", "-oneline", "address", "show"]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        _, interface, _, address, *_ = line.split()
        found.setdefault(interface.partition("@")[0], []).append(address.partition("/")[0])
    return found


def clock(desk: Desk) -> Mapping[str, object]:
    """This machine's clocks, read one right after the other: nanoseconds."""
    return {"monotonic_ns": time.monotonic_ns(), "wall_ns": time.time_ns()}


def open_host(desk: Desk, *, name: str) -> Mapping[str, object]:
    """Make this machine the host ``name``; gives its folder."""
    folder = desk.folder / "hosts" / name
    folder.mkdir(parents=True, exist_ok=True)
    hosts(desk)[name] = PlainHost(name, folder)
    return {"folder": str(folder)}


def run(desk: Desk, *, host: str, argv: list[str], within: float | None) -> Mapping[str, object]:
    """Run a program to its end; TimeoutError if it takes longer."""
    done = hosts(desk)[host].run(argv, check=False, timeout=within)
    return {"status": done.status, "stdout": done.stdout, "stderr": done.stderr}


def start(desk: Desk, *, host: str, argv: list[str], folder: str, env: dict[str, str] | None) -> Mapping[str, object]:
    """Start a program that goes on running; gives its process number."""
    machine = hosts(desk)[host]
    process = machine.start(argv, machine.folder / folder, env=env)
    _processes(desk)[process.pid] = process
    return {"pid": process.pid}


def poll(desk: Desk, *, pids: list[int], within: float = 0.0) -> Mapping[str, object]:
    """The exit status of each of these programs, null while it runs; the first is waited for."""
    known = _processes(desk)
    if within and pids:
        known[pids[0]].wait(within)
    return {"statuses": [known[pid].poll() for pid in pids]}


def send_signal(desk: Desk, *, pid: int, number: int) -> Mapping[str, object]:
    """Send a signal to a program and to what it started."""
    _processes(desk)[pid].signal(number)
    return {}


def put(desk: Desk, *, path: str, data: str, append: bool = False) -> Mapping[str, object]:
    """Write base64 ``data`` into a file, or to its end; the folders above it are made."""
    target = desk.folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("ab" if append else "wb") as file:
        file.write(base64.b64decode(data, validate=True))
    return {}


def read(desk: Desk, *, path: str, offset: int = 0) -> Mapping[str, object]:
    """A piece of a file from ``offset`` as base64, and whether more follows; FileNotFoundError if there is none."""
    with (desk.folder / path).open("rb") as file:
        file.seek(offset)
        data = file.read(PIECE)
        more = bool(file.read(1))
    return {"data": base64.b64encode(data).decode(), "more": more}


def files(desk: Desk, *, path: str) -> Mapping[str, object]:
    """Every plain file below a folder, by its path below it, with its size in bytes."""
    root = desk.folder / path
    found = (each for each in sorted(root.rglob("*")) if each.is_file() and not each.is_symlink())
    return {"files": {str(each.relative_to(root)): each.stat().st_size for each in found}}


def sample(desk: Desk, *, pids: list[int]) -> Mapping[str, object]:
    """What the trees of these programs use, what the deputy itself uses, and the machine's counters."""
    snapshot, now = Snapshot(), processors()
    own = snapshot.pids(os.getppid(), without=pids)
    trees = [snapshot.tree(pid) for pid in pids]
    return {
        "t": time.monotonic(),
        "trees": [[each.cpu_s, each.memory_bytes, each.processes] for each in trees],
        "own": {pid: snapshot.usage[pid].cpu_s for pid in own},
        "processors": [now.total_s, now.idle_s, now.steal_s, now.waiting_s, now.throttled_s],
    }


OPERATIONS: Mapping[str, Operation] = {
    "facts": facts, "clock": clock, "open": open_host, "run": run, "start": start, "poll": poll,
    "signal": send_signal, "put": put, "read": read, "files": files, "sample": sample,
}
