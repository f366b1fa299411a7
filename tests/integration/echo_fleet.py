"""Agents of the echo system on emulated hosts."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from in_arena import USERS

import testbed.deploy.fleet
import testbed.deploy.ssh
import testbed.workload.client  # noqa: F401 - loaded as root: an ordinary user may not be able to
from testbed.deploy.spec import AgentSpec
from testbed.roles.api import Site
from testbed.substrate.base import Host
from testbed.substrate.netns import NetnsNetwork, NetnsSubstrate
from testbed.topology.model import Topology

HOME = Path(__file__).parents[1] / "unit" / "deploy" / "home"
READY_S = 60.0


def _hidden() -> list[Path]:
    """Folders above the interpreter and above this project that ordinary users may not enter."""
    above = {parent for each in (sys.executable, os.path.realpath(sys.executable), __file__)
             for parent in Path(each).absolute().parents}
    return [folder for folder in sorted(above) if not folder.stat().st_mode & 0o001]


each_able_user = pytest.mark.parametrize(
    "user",
    [pytest.param(user, marks=pytest.mark.skipif(user == "nobody" and bool(_hidden()),
                                                 reason=f"ordinary users may not enter {_hidden()}"))
     for user in USERS],
)


@contextmanager
def network(topology: Topology) -> Iterator[NetnsNetwork]:
    """The network, with its folders in a temporary one that its user may write to."""
    with tempfile.TemporaryDirectory() as folder, NetnsSubstrate().open(topology, Path(folder), 1, {}) as opened:
        yield opened


def specs(topology: Topology, **roles: str) -> list[AgentSpec]:
    """One agent for each ``node=role``."""
    addresses = {node: topology.address(node) for node in roles}
    servers = tuple(node for node, role in roles.items() if role == "server")
    return [AgentSpec(node, role, "echo", Site(node, role, 1, addresses, {"server": servers}, {}))
            for node, role in roles.items()]


def ask(host: Host, address: str, text: str) -> str:
    """Ask the server at ``address`` from ``host``, without any agent; its answer."""
    lines = f"echo\n{json.dumps({'text': text})}\n"
    program = (
        "import socket, sys\n"
        "with socket.create_connection((sys.argv[1], 7000), 30) as connection:\n"
        "    connection.sendall(sys.argv[2].encode())\n"
        "    print(connection.makefile().readline())\n"
    )
    return str(json.loads(host.run(["python3", "-c", program, address, lines]).stdout)["text"])
