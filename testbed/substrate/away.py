"""What holds beside the contracts of ``base.py`` where hosts are on other machines than the driver.

Code that works with any host asks the functions here (:func:`python_of`, :func:`clock_of`, ...): for a host of this
machine they tell what holds here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from testbed import places
from testbed.substrate.processes import Reading, Snapshot, Usage
from testbed.timeline.actions import Action
from testbed.topology.model import Topology

Program = tuple[str, int]  # node and process number there


@dataclass(frozen=True, slots=True)
class Clock:
    """What is to be added to a machine's own clocks to get the driver's, and how far off each may be: seconds."""

    monotonic_s: float = 0.0
    wall_s: float = 0.0
    error_s: float = 0.0


SAME = Clock()


@runtime_checkable
class Away(Protocol):
    """A host on another machine. ``python`` is the interpreter there, ``program`` the folder with this program."""

    python: str
    program: Path

    @property
    def clock(self) -> Clock:
        """The machine's clocks against the driver's."""


def python_of(host: object, here: str = sys.executable) -> str:
    """The interpreter with which this program's parts are started on a host."""
    return host.python if isinstance(host, Away) else here


def program_of(host: object) -> Path:
    """The folder on a host that holds the package ``testbed``."""
    return host.program if isinstance(host, Away) else places.PACKAGE.parent


def script_of(host: object, file: str) -> str:
    """Where on a host the module is whose file here is ``file``."""
    return str(program_of(host) / Path(file).resolve().relative_to(places.PACKAGE.parent))


def clock_of(host: object) -> Clock:
    """A host's clocks against the driver's."""
    return host.clock if isinstance(host, Away) else SAME


class Look(Protocol):
    """One look at all programs and machines of a run."""

    def agent(self, node: str, pid: int) -> Usage:
        """What a program on ``node`` and its descendants use; all zero if it does not run."""

    def machines(self, programs: Iterable[Program]) -> Mapping[str, Reading]:
        """How busy each machine is, and what the emulation itself uses there, without these programs."""


@runtime_checkable
class Observing(Protocol):
    """A network whose machines tell by themselves what runs on them."""

    def look(self, programs: Sequence[Program]) -> Look:
        """A look at these programs and the machines they are on."""


def look(network: object, programs: Sequence[Program]) -> Look:
    """A look at the programs of any network."""
    return network.look(programs) if isinstance(network, Observing) else Snapshot()


@runtime_checkable
class Direct(Protocol):
    """A network whose hosts are machines themselves, with the addresses that these have.

    ``shaped`` says whether the paths between them have the shapes of the topology put in force.
    """

    topology: Topology
    addresses: Mapping[str, str]
    shaped: bool


@runtime_checkable
class Recorded(Protocol):
    """A network that knows of several machines what belongs into ``run.json``."""

    def machines(self) -> Mapping[str, Mapping[str, Any]]:
        """For each machine by name what it is, and its ``clock``: offset_s, error_s and drift_s."""


def machines_of(network: object) -> dict[str, dict[str, Any]]:
    """What is known of the machines of a network; nothing where there is this one only."""
    return {name: dict(each) for name, each in network.machines().items()} if isinstance(network, Recorded) else {}


@dataclass(frozen=True)
class Errand:
    """What a run will want of machines elsewhere, for them to be checked before anything is begun.

    ``libraries`` are the distributions that agents need, with the versions here.
    """

    topology: Topology
    nodes: Sequence[str]
    actions: Sequence[Action] = ()
    libraries: Mapping[str, str] = field(default_factory=dict)
    captures: bool = False
    background: bool = False


@runtime_checkable
class Abroad(Protocol):
    """A substrate whose hosts are on other machines."""

    def expect(self, errand: Errand) -> None:
        """Learn what is wanted; raises InputError or UsageError where that does not fit."""
