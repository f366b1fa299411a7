"""Interactive networks: ``up`` leaves one behind as a background process, ``exec``, ``shell`` and ``down`` find it."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from testbed.cli.files import topology_of
from testbed.cli.tables import err
from testbed.errors import TestbedError, UsageError
from testbed.substrate import registry
from testbed.substrate.arena import RUNTIME
from testbed.substrate.base import Substrate
from testbed.substrate.find import named
from testbed.topology.model import Topology

ANONYMOUS = "arena-"  # networks that nobody named: of scripts and tests, which look after them themselves


def bring_up(path: Path, name: str, substrate: str) -> int:
    """Bring the network of ``path`` up in the background; returns when it is usable."""
    topology, carrier = topology_of(path), named(substrate)
    name = name or topology.name
    if name in registry.names():
        raise UsageError(f"A network called {name!r} is up already. End it with `testbed down {name}`, or use --name.")
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.close(reading)
        os._exit(_background(carrier, topology, name, writing))
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = json.loads(pipe.readline() or '{"error": "its background process died", "status": 1}')
    if "error" in said:
        err.print(said["error"], style="red", soft_wrap=True, markup=False)
        return int(said["status"])
    hosts = [node.name for node in topology.of_kind("host", "router")]
    err.print(
        f"The network {name!r} is up with {len(hosts)} hosts and routers. Next: testbed exec {hosts[0]} -- COMMAND, "
        f"testbed shell {hosts[0]}, testbed down {name}",
        soft_wrap=True,
        markup=False,
    )
    print(name)  # noqa: T201
    return 0


def _background(substrate: Substrate, topology: Topology, name: str, pipe: int) -> int:
    """Leave the terminal, hold the network until told to end, and say on ``pipe`` whether it came up."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)
    os.chdir("/")
    try:
        return substrate.enter(lambda: _hold(substrate, topology, pipe), name)
    except TestbedError as error:
        _tell(pipe, error)
        return error.exit_status


def _hold(substrate: Substrate, topology: Topology, pipe: int) -> int:
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())  # not blocked: programs on hosts would inherit that
    try:
        with substrate.open(topology, RUNTIME / "hosts", 0, {}):
            os.write(pipe, b"{}\n")
            os.close(pipe)
            ending.wait()
    except TestbedError as error:
        _tell(pipe, error)
        return error.exit_status
    return 0


def _tell(pipe: int, error: TestbedError) -> None:
    os.write(pipe, json.dumps({"error": str(error), "status": error.exit_status}).encode() + b"\n")


def only(name: str) -> str:
    """``name``, or the one network that is up if it is empty; UsageError if that is not clear."""
    if name:
        return name
    known = [each for each in registry.names() if not each.startswith(ANONYMOUS)]
    if len(known) == 1:
        return known[0]
    if not known:
        raise UsageError("No network is up. Bring one up: testbed up TOPOLOGY.")
    raise UsageError(f"{len(known)} networks are up ({', '.join(known)}): say which one.")


def take_down(name: str) -> int:
    """End a network; returns when nothing of it is left."""
    chosen = only(name)
    registry.end(chosen)
    err.print(f"The network {chosen!r} is gone.", markup=False)
    return 0


def on_host(name: str, host: str, argv: Sequence[str]) -> int:
    """Run ``argv`` on a host of a network that is up, on this terminal; the command's exit status."""
    sys.stdout.flush()
    return registry.attach(only(name), host, list(argv))
