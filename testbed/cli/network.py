"""Interactive networks: ``up`` leaves one behind as a background process, ``exec``, ``shell`` and ``down`` find it."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from testbed.cli import options
from testbed.cli.files import topology_of
from testbed.cli.tables import err
from testbed.errors import TestbedError, UsageError
from testbed.substrate import registry
from testbed.substrate.arena import RUNTIME
from testbed.substrate.away import Abroad
from testbed.substrate.base import Substrate
from testbed.topology.model import Topology

ANONYMOUS = "arena-"  # networks that nobody named: of scripts and tests, which look after them themselves


def bring_up(path: Path, name: str, substrate: str, nat: str = "") -> int:
    """Bring the network of ``path`` up in the background; returns when it is usable."""
    topology = topology_of(path)
    carrier = options.carrier(substrate, nat, topology)
    if isinstance(carrier, Abroad):
        raise UsageError("Networks on other machines cannot be left up: use `testbed run`, and plain ssh to them.")
    name = _free(name or topology.name)
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


def _free(name: str) -> str:
    if name in registry.names():
        raise UsageError(f"A network called {name!r} is up already. End it with `testbed down {name}`, or use --name.")
    return name


@runtime_checkable
class Talkative(Protocol):
    """A network with a command line of its own."""

    def command_line(self) -> None: ...


def talk(path: Path, name: str, substrate: str, nat: str = "") -> int:
    """Bring the network of ``path`` up and hand this terminal to its own command line; it ends with that."""
    topology = topology_of(path)
    carrier = options.carrier(substrate, nat, topology)

    def work() -> int:
        with carrier.open(topology, RUNTIME / "hosts", 0, {}) as network:
            if not isinstance(network, Talkative):
                raise UsageError(f"Networks of the substrate {substrate} have no command line: leave out --cli.")
            network.command_line()
        return 0

    return carrier.enter(lambda: _told(work), _free(name or topology.name))


def _told(work: Callable[[], int]) -> int:
    """Run ``work`` and tell its error here: only an exit status leaves the arena."""
    try:
        return work()
    except TestbedError as error:
        err.print(str(error), style="red", soft_wrap=True, markup=False)
        return error.exit_status


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
