"""What a scheduling policy is shown, and what it answers.

A user's own policy is a function ``schedule(pending, view) -> list[Decision]``: ``pending`` are the calls that could
run, in the order of their submission, ``view`` is the cluster now (``views.ClusterView``). Decisions are intents: those
that cannot be carried out are left out with a line in the log, and the call stays pending.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from roles.serverless_compute.cluster import Cluster
from roles.serverless_compute.state import Call, Node


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Run a pending invocation on a node: in ``container``, or else in its last used idle one, or in a new one."""

    invocation: int
    node: str
    container: int | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """Load an image from a node's disk into its memory."""

    image: str
    node: str


@dataclass(frozen=True, slots=True)
class Copy:
    """Copy an image from the head to a node's disk."""

    image: str
    node: str


@dataclass(frozen=True, slots=True)
class Terminate:
    """End an idle container."""

    container: int


Decision = Dispatch | Load | Copy | Terminate


@dataclass(slots=True)
class Pending:
    """The calls that could run, in the order in which they could, as a whole and by registration.

    ``fresh`` are those that have come since the policy was asked last.
    """

    calls: dict[int, Call] = field(default_factory=dict)
    by_registration: dict[str, dict[int, Call]] = field(default_factory=dict)
    fresh: list[Call] = field(default_factory=list)

    def add(self, call: Call) -> None:
        """A call has become schedulable."""
        self.calls[call.id] = call
        self.by_registration.setdefault(call.registration.name, {})[call.id] = call
        self.fresh.append(call)

    def remove(self, call: Call) -> None:
        """A call was dispatched, or has gone."""
        del self.calls[call.id]
        same = self.by_registration[call.registration.name]
        del same[call.id]
        if not same:
            del self.by_registration[call.registration.name]


@dataclass(slots=True)
class Round:
    """What a policy is asked with: the pending calls, the cluster, the nodes changed since, and a place for remarks."""

    pending: Pending
    cluster: Cluster
    changed: dict[int, Node]
    now: float
    notes: list[str] = field(default_factory=list)


class Policy(Protocol):
    """Decides what is done for pending calls. It may keep a memory of its own from round to round."""

    def schedule(self, round_: Round) -> Iterable[Decision]:
        """What to do now; called after each event that leaves calls pending."""
