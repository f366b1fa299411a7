"""Running a test's body in an arena: as whoever runs the tests and, where that is root, as an ordinary user as well."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from abilities import SUBSTRATES

# Loaded before privileges are dropped: an ordinary user may not be able to read the interpreter's own files.
import testbed.substrate.mininet_ovs
import testbed.substrate.netns  # noqa: F401
from testbed.substrate.arena import RUNTIME, run_inside
from testbed.substrate.find import named
from testbed.topology.load import parse
from testbed.topology.model import Topology
from testbed.topology.shape import Shape

NOBODY = 65534
USERS = ["root", "nobody"] if os.geteuid() == 0 else ["self"]
each_user = pytest.mark.parametrize("user", USERS)
each_substrate = pytest.mark.substrates("netns", "mininet")
each_switching = pytest.mark.substrates(*SUBSTRATES)  # where switches have a say
each_carrier = pytest.mark.substrates("netns", "mininet", argument="carrier")
any_carrier = pytest.mark.substrates("netns", argument="carrier")  # all of them alike, so one will do but for the table

LINE = """
name: line
nodes: {h1: {}, h2: {}, h3: {}, s1: {kind: switch}, r1: {kind: router}}
links:
  - [h1, s1]
  - [h3, s1]
  - [s1, r1]
  - [r1, h2]
"""


def line(text: str = LINE) -> Topology:
    """Two hosts on a switch, a router, and one host behind it."""
    return parse(text, "line.yaml")


def opened(substrate: str, topology: Topology, later: Mapping[str, Sequence[Shape]] | None = None) -> Any:
    """The network on this substrate of the machine: a context."""
    return named(substrate).open(topology, RUNTIME / "hosts", 1, later or {})


def star(hosts: int) -> Topology:
    """A switch with this many hosts."""
    return parse(f"name: star\ngenerate: [{{family: star, hosts: {hosts}}}]\n", "star.yaml")


def become(user: str) -> None:
    """Give up root's rights for good, in a process of which nothing else is wanted."""
    if user != "nobody":
        return
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE, which setuid cleared and a fresh login would have


def forked(body: Callable[[], int]) -> int:
    """Start ``body`` in a process of its own; its process number."""
    child = os.fork()
    if child == 0:
        status = 99
        try:
            status = body()
        finally:
            os._exit(status)
    return child


def status_of(child: int) -> int:
    """The exit status of a forked process, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run_as(user: str, work: Callable[[], int], name: str = "") -> int:
    """Run ``work`` in an arena that this user makes; its exit status."""

    def body() -> int:
        become(user)
        return run_inside(work, name, nested=True)

    return status_of(forked(body))


def passes(work: Callable[[], None], user: str = "root") -> None:
    """Assert that ``work``, with its own asserts, comes to its end in an arena; its traceback is on stderr."""

    def counted() -> int:
        work()
        return 0

    assert run_as(user, counted) == 0
