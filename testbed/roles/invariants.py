"""Invariants: what always holds of a system under test, whatever faults it meets. Checked in the twin."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from testbed.roles.api import Role


@dataclass(frozen=True)
class Observed:
    """The whole system at one moment of a twin: what an invariant may look at, and must not change.

    ``agents`` are the roles by (node, role) that live and have started, ``started`` tells when each began, ``dead``
    when each that is gone went: moments in seconds on the twin's clock. ``since`` is the moment from which on nothing
    has changed and nothing was amiss on the way between two living agents; it is ``now`` while something is, and for
    as long afterwards as the disturbance took, since connections retry ever more rarely. So whatever the system puts
    right within a time may be asked for when ``now - since`` is longer, also while somebody is dead. ``ended`` counts
    for each invocation that a client has sent how often it ended. ``final`` marks the last look, after all faults were
    healed and time was given.
    """

    now: float
    agents: Mapping[tuple[str, str], Role]
    started: Mapping[tuple[str, str], float]
    since: float
    ended: Mapping[int, int]
    dead: Mapping[tuple[str, str], float]
    final: bool = False


@dataclass(frozen=True)
class Invariant:
    """What always holds: ``check`` yields a sentence for each violation. ``promise`` says it in words."""

    name: str
    promise: str
    check: Callable[[Observed], Iterable[str]]
