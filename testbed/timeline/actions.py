"""What a timeline comes to: actions on named links, agents and hosts, each at its time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from testbed.topology.model import End

Agent = tuple[str, str]  # node, role


@dataclass(frozen=True, slots=True)
class SetShape:
    """Change keys of the shapes of ``ends``, values written as in a file."""

    ends: tuple[End, ...]
    change: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Hold:
    """Keep links down for a ``cause``; they are up when no cause holds them any more."""

    links: tuple[str, ...]
    cause: str


@dataclass(frozen=True, slots=True)
class Release:
    """A ``cause`` keeps these links down no longer."""

    links: tuple[str, ...]
    cause: str


@dataclass(frozen=True, slots=True)
class KillAgents:
    """End agents with SIGKILL."""

    agents: tuple[Agent, ...]


@dataclass(frozen=True, slots=True)
class StartAgents:
    """Start agents anew; those that run are killed first."""

    agents: tuple[Agent, ...]


@dataclass(frozen=True, slots=True)
class PauseHost:
    """Stop the agents of a host where they are."""

    node: str


@dataclass(frozen=True, slots=True)
class ResumeHost:
    """Let them go on."""

    node: str


@dataclass(frozen=True, slots=True)
class SetCalendar:
    """A host's calendar is ``by`` seconds ahead from now on, and gains ``drift`` seconds in each (0 and 0: right)."""

    node: str
    by: float = 0.0
    drift: float = 0.0


@dataclass(frozen=True, slots=True)
class Attach:
    """All traffic of a host, there and back, goes over ``link`` from now on."""

    node: str
    link: str


@dataclass(frozen=True, slots=True)
class Press:
    """``cpu`` processes busy for ``share`` of the time and ``memory`` bytes held, for ``lasting`` seconds."""

    node: str
    cpu: int
    share: float
    memory: int
    lasting: float


Action = (
    SetShape | Hold | Release | KillAgents | StartAgents | PauseHost | ResumeHost | SetCalendar | Attach | Press
)


@dataclass(frozen=True, slots=True)
class Planned:
    """One event at its time: what ``events.csv`` says of it, and what is done, in this order."""

    at: float
    kind: str
    subject: str
    detail: str
    actions: tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class Timetable:
    """Every event of a run, in order of time, and what holds ``before`` the first of them."""

    events: tuple[Planned, ...] = ()
    before: tuple[Action, ...] = ()

    @property
    def skewed(self) -> frozenset[str]:
        """The nodes whose calendars it sets."""
        return frozenset(each.node for event in self.events for each in event.actions if isinstance(each, SetCalendar))

    @property
    def doubtful(self) -> tuple[str, ...]:
        """What means nothing in a world without processors."""
        nodes = [each.node for event in self.events for each in event.actions if isinstance(each, Press)]
        return tuple(f"the load on {node}" for node in dict.fromkeys(nodes))


NOTHING = Timetable()
"""The timetable of a run in which nothing is done."""
