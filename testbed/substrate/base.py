"""Substrate, Network and Host: the only way in which the rest of the program reaches a machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from testbed.shaping.base import Counters, Lateness
from testbed.topology.model import End, Topology
from testbed.topology.shape import Shape


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ended: its exit status (negative: killed by that signal) and all it wrote."""

    status: int
    stdout: str
    stderr: str


class Process(Protocol):
    """A command that goes on running on a host, with its files in a folder of its own.

    The folder holds ``stdout``, ``stderr``, ``pid`` and, once it has ended, ``exit`` (its exit status as text).
    """

    pid: int
    folder: Path

    def poll(self) -> int | None:
        """Its exit status, or None while it runs."""

    def signal(self, number: int) -> None:
        """Send a signal; no error if it has ended."""

    def wait(self, timeout: float) -> int | None:
        """Its exit status, or None if it still runs after ``timeout`` seconds."""


class Host(Protocol):
    """The handle to one machine: a Fabric connection and four verbs, the same emulated and real.

    ``run`` raises CommandFailed for a status other than zero unless ``check`` is False, and TimeoutError after
    ``timeout`` seconds. ``folder`` is this host's own folder, an absolute path on the host.
    """

    name: str
    folder: Path
    connection: Any  # fabric.Connection: the library has no types

    def run(self, argv: Sequence[str], *, check: bool = True, timeout: float | None = 60.0) -> Completed: ...

    def start(self, argv: Sequence[str], folder: Path, *, env: Mapping[str, str] | None = None) -> Process: ...

    def put(self, text: str, path: Path) -> None: ...

    def get(self, path: Path) -> str: ...


@dataclass(frozen=True, slots=True)
class LimitUse:
    """What the limits of one host have done since the network came up.

    ``throttled_s``: the time of all periods (of 20 ms, or longer for very small shares) in which its programs had used
    up its CPU time; None where it has no such limit. ``killed``: programs that the kernel killed for want of memory.
    """

    throttled_s: float | None = None
    killed: int = 0


class Network(Protocol):
    """A topology that is alive."""

    topology: Topology
    mechanisms: Mapping[str, str]  # link -> what shapes it (none, netem, tbf, relay), recorded in run.json
    notes: Mapping[str, str]  # what else came into force and bears on the results, recorded beside the features

    def host(self, name: str) -> Host:
        """The host or router of this name; KeyError for a switch or an unknown name."""

    def shape(self, end: End, shape: Shape) -> None:
        """Change what leaves one end, while traffic flows; raises ShapeNotInForce."""

    def connect(self, link: str, up: bool) -> None:
        """Cut or mend a link."""

    def counters(self) -> Mapping[End, Counters]:
        """What each end of each link has let pass and dropped since the start."""

    def lateness(self) -> Lateness | None:
        """How late shaped packets left since the last call; None where only the kernel shapes."""

    def check(self) -> None:
        """Raise ShapeNotInForce if a mechanism that shapes links no longer runs."""

    def now(self) -> float:
        """Seconds on the run's one reference clock: CLOCK_MONOTONIC of the driving machine, virtual in the twin."""


@runtime_checkable
class Limiting(Protocol):
    """A network that holds its hosts to the limits of the topology."""

    def limit_use(self) -> Mapping[str, LimitUse]:
        """What the limits of each host that has some have done so far."""


def limit_use(network: object) -> Mapping[str, LimitUse]:
    """What hosts' limits have done on any network; nothing where it has no such limits."""
    return network.limit_use() if isinstance(network, Limiting) else {}


@runtime_checkable
class Limited(Protocol):
    """A host whose programs are held to limits."""

    @property
    def outside(self) -> Host:
        """The same host for the testbed's own measurements, which its limits must not slow down."""


def observed(host: Host) -> Host:
    """The handle with which to start the testbed's own programs on a host."""
    return host.outside if isinstance(host, Limited) else host


@dataclass(frozen=True, slots=True)
class Feature:
    """One thing that a substrate may or may not find on this machine.

    ``fallback`` says what is used instead, ``remedy`` how to get the feature; both empty where ``available``.
    """

    name: str
    available: bool
    detail: str
    fallback: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What :func:`testbed.substrate.probe.probe` found."""

    features: Mapping[str, Feature] = field(default_factory=dict)

    def has(self, name: str) -> bool:
        """Whether the feature is available here; KeyError for a name that no probe knows."""
        return self.features[name].available


class Substrate(Protocol):
    """One way to bring topologies to life: one such class in a module ``testbed/substrate/<name>.py``.

    Where time is ``virtual`` there is no network to open: runs are told by :mod:`testbed.twin` instead.
    """

    name: str
    virtual: bool

    def probe(self) -> Capabilities: ...

    def enter(self, work: Callable[[], int], name: str) -> int:
        """Run ``work`` where networks of this kind can be opened (for namespaces: in an arena known as ``name``).

        ``work`` may run in a forked process; only its exit status comes back.
        """

    def open(
        self, topology: Topology, folder: Path, seed: int, later: Mapping[str, Sequence[Shape]]
    ) -> AbstractContextManager[Network]:
        """Build the network; it is gone when the context ends.

        ``folder`` receives a folder for each host. ``later`` tells for each link which shapes the timeline will ask
        for, so that a mechanism is chosen that can express them all.
        """
