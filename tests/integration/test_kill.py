"""Nothing is left behind, whichever process of an arena is killed and whenever."""

from __future__ import annotations

import itertools
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from in_arena import USERS, become, each_substrate, forked, line, opened, star, status_of
from remains import family, parents

from testbed.netlink import Netlink
from testbed.seeds import stream
from testbed.substrate import registry
from testbed.substrate.arena import RUNTIME, run_inside

pytestmark = [pytest.mark.alone, pytest.mark.feature("netns")]  # whole machines are compared
WITHIN_S = 20.0
AT_ONCE = 5
KINDS = ("net", "mnt", "pid", "ipc", "uts", "user")
SHAPED = """
name: shaped
nodes: {h1: {}, h2: {}, s1: {kind: switch}, r1: {kind: router}}
links: [[h1, s1], {ends: [s1, r1], delay: 2ms}, {ends: [r1, h2], rate: 10Mbit}]
"""
NETWORKS = [star(20), line(), line(SHAPED)]


def live(first: int, substrate: str) -> int:
    """Build networks, run programs on their hosts, tear them down, again and again."""
    for number in itertools.count(first):
        with opened(substrate, NETWORKS[number % len(NETWORKS)]) as network:
            for name in ("h1", "h2"):
                network.host(name).start(["sh", "-c", "sleep 1000 & sleep 1000"], RUNTIME / "agents" / name)
            network.host("h1").run(["ping", "-c1", "-W1", "h2"], check=False)
    return 0


def namespaces(pids: list[int]) -> set[str]:
    """The namespaces that these processes are in or hold open, those of this test's own process excepted."""
    found: set[str] = set()
    for pid in pids:
        for folder in (f"/proc/{pid}/ns", f"/proc/{pid}/fd"):
            with suppress(OSError):
                found.update(text for text in _links(Path(folder)) if text.split(":")[0] in KINDS)
    return found - {str(Path(f"/proc/self/ns/{kind}").readlink()) for kind in KINDS}


def _links(folder: Path) -> Iterator[str]:
    for entry in folder.iterdir():
        with suppress(OSError):
            yield str(entry.readlink())


def machine() -> dict[str, object]:
    """What the machine has of all that an arena could leave."""
    with Netlink() as netlink:
        interfaces = set(netlink.statistics())
    queues = sorted(Path("/sys/class/net").glob("*/queues/*"))
    return {
        "interfaces": interfaces,
        "queues": queues,
        "mounts": Path("/proc/self/mountinfo").read_text(),
        "runtime folder": RUNTIME.exists(),
        "hosts file": Path("/etc/hosts").read_text(),
    }


def started(pid: int) -> float:
    """When a process started, in clock ticks since the machine did."""
    with suppress(OSError):
        return float(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
    return float("inf")


class Killed(NamedTuple):
    """An arena of which one process was killed: what to look for."""

    name: str
    victim: int
    members: list[int]
    spaces: set[str]
    born: set[int]  # all processes that could be its


def kill(number: int, user: str, substrate: str, dice: random.Random) -> Killed:
    """Kill one process of a new arena at a random moment."""
    name = f"kill-{os.getpid()}-{number}"

    def body() -> int:
        become(user)
        return run_inside(lambda: live(number, substrate), name, nested=True)

    others = set(parents())
    command = forked(body)
    time.sleep(dice.uniform(0.0, 0.3))  # the random moment, not a wait for something
    members = family(command)
    spaces = namespaces(members)
    victim = dice.choice(members)
    with suppress(ProcessLookupError):  # a program that ended by itself in the meantime
        os.kill(victim, signal.SIGKILL)
    if victim not in members[:4]:  # one program less does not end an arena; its own first processes do
        os.kill(command, signal.SIGKILL)
    status_of(command)
    end = time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK")  # numbers of namespaces are used again
    return Killed(name, victim, members, spaces, {pid for pid in set(parents()) - others if started(pid) <= end})


def gone(killed: Killed) -> str:
    """What is still there of it; empty when nothing is."""
    processes = [pid for pid in killed.members if Path(f"/proc/{pid}").exists()]
    held = namespaces([pid for pid in killed.born if pid not in killed.members]) & killed.spaces
    registered = killed.name in registry.names()
    return f"processes {processes}" * bool(processes) + f" namespaces {held}" * bool(held) + " its name" * registered


def look(killed: Killed) -> None:
    """Nothing of it is there, as soon as the kernel has done its work."""
    deadline = time.monotonic() + WITHIN_S
    while left := gone(killed):
        assert time.monotonic() < deadline, f"after killing process {killed.victim} of {killed.members}: {left}"
        time.sleep(0.005)


@pytest.mark.ability("clean-up", "whichever process is killed, and whenever, nothing is left")
@each_substrate
def test_nothing_is_left_after_killing_any_process_at_any_moment(substrate: str, long: bool) -> None:
    before = machine()
    for first in range(0, 100 if long else 25, AT_ONCE):
        users = [USERS[number % len(USERS)] for number in range(first, first + AT_ONCE)]
        batch = [kill(number, user, substrate, stream(1, "kill", substrate, str(number)))
                 for number, user in enumerate(users, first)]  # fmt: skip
        for killed in batch:
            look(killed)
        assert machine() == before
