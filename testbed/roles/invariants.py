"""Invariants: what always holds of a system under test, whatever faults it meets. Checked in the twin."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from testbed.roles.api import Role


@dataclass(frozen=True)
class Observed:
    """The whole system at one moment of a twin: what an invariant may look at.

    ``agents`` are the living roles by (node, role), ``started`` tells when each of them began, ``dead`` when each that
    is gone went, ``since`` when the last fault began or ended; moments in seconds on the twin's clock. ``ended`` counts
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
