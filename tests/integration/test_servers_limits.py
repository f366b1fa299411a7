"""Limits of hosts on several emulation servers: in force where the host is, and told of by the driver."""

from __future__ import annotations

import os
import signal
import sys

import pytest
from in_arena import passes
from server_lab import lab, stretched

from testbed.errors import LimitNotInForce, MachineLacks
from testbed.topology.load import parse

pytestmark = [pytest.mark.feature("netns"), pytest.mark.feature("sshd")]
PAIR = "name: pair\nnodes: {h1: {}, h2: {memory: 48MB}}\nlinks: [[h1, h2]]\n"
PARTS = {"m1": ["h1"], "m2": ["h2"]}
HUNGRY = [sys.executable, "-c", "print(len(bytearray(b'x') * (96 << 20)))"]


@pytest.mark.ability("hosts", "a host that is full loses the program that filled it, and nothing else", on="servers")
@pytest.mark.feature("limit-memory")
def test_limits_are_in_force_on_the_server_that_has_the_host() -> None:
    def work() -> None:
        with lab() as made, stretched(made, parse(PAIR, "pair.yaml"), made.inventory(PARTS)) as net:
            assert net.notes["m2: limit-memory"].startswith("h2 ")
            assert net.host("h1").run(HUNGRY).status == 0
            assert net.host("h2").run(HUNGRY, check=False).status == -signal.SIGKILL
            assert {name: use.killed for name, use in net.limit_use().items()} == {"h2": 1}

    passes(work)


@pytest.mark.feature("limit-cpuset")
def test_a_server_that_cannot_put_a_limit_in_force_says_which() -> None:
    def work() -> None:
        pair = parse(PAIR.replace("memory: 48MB", "cpuset: 999"), "pair.yaml")
        wanted = "On machine 'm2': Host h2 may run on the processors 999 alone"
        with lab() as made:
            inventory = made.inventory(PARTS)
            with pytest.raises(LimitNotInForce, match=wanted), stretched(made, pair, inventory):
                pass

    passes(work)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_a_server_where_the_user_may_limit_nothing_is_told_to_lack_that() -> None:
    wanted = r"^Machine 'm2' lacks the right to limit memory of hosts.* (As root, make|Run the command as)"

    def work() -> None:
        with lab() as made:
            inventory = made.inventory(PARTS)
            with pytest.raises(MachineLacks, match=wanted), stretched(made, parse(PAIR, "pair.yaml"), inventory):
                pass

    passes(work, "nobody")
