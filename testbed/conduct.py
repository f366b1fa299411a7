"""While the workload runs: the timeline's events at their time, agents watched, progress shown, the end noticed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from testbed.collect.events import EventRecorder
from testbed.deploy.fleet import Fleet as LiveFleet
from testbed.errors import AgentFailed, TestbedError
from testbed.experiment.load import ends_of
from testbed.experiment.model import Experiment
from testbed.fidelity.evidence import initial_shapes
from testbed.substrate.base import Network
from testbed.timeline import Cut, Event, Kill, Mend, Reshape, reshaped

GRACE_S = 15.0  # after the last time-out, for clients to write their last rows
PERIOD_S = 0.05
SHOWN_S = 0.5


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the workload has come, over all clients; ``t`` and ``duration_s`` in seconds."""

    t: float
    duration_s: float
    scheduled: int = 0
    sent: int = 0
    done: int = 0
    failed: int = 0
    p50_s: float | None = None
    fidelity: str = ""


class View(Protocol):
    """Who is told how a run goes on."""

    def phase(self, name: str) -> None: ...

    def progress(self, now: Progress) -> None: ...

    def close(self) -> None: ...


class Quiet:
    """A view that shows nothing."""

    def phase(self, name: str) -> None:
        """Nobody is told."""

    def progress(self, now: Progress) -> None:
        """Nobody is told."""

    def close(self) -> None:
        """Nothing was open."""


class Fleet(Protocol):
    """The agents, as far as a timeline concerns them."""

    def kill(self, node: str, role: str) -> None: ...


class Script:
    """The timeline of an experiment and what came of it: the shapes in force, agents that ended, clients killed."""

    def __init__(self, experiment: Experiment, network: Network, fleet: Fleet, events: EventRecorder) -> None:
        self._experiment, self._network, self._agents, self._events = experiment, network, fleet, events
        self.pending = sorted(experiment.file.timeline, key=lambda event: event.at)
        self.shapes = initial_shapes(experiment.topology)
        self.exits: list[str] = []
        self.killed_clients: set[str] = set()

    def fire(self, event: Event) -> None:
        """Put one event in force, and record it."""
        subject, detail = self._apply(event)
        self._events.record(event.do, subject, detail, event.at)

    def ended_unasked(self, subject: str, detail: str) -> None:
        """An agent ended though nobody asked for it."""
        self._events.record("agent_exit", subject, detail)
        self.exits.append(f"{subject}: {detail}")

    def _apply(self, event: Event) -> tuple[str, str]:
        """Put one event in force; what it concerned and what was done, in words."""
        match event:
            case Reshape():
                for end in ends_of(self._experiment.topology, event.link, event.leaving):
                    shape = reshaped(self.shapes[end][-1], event.change)
                    self._network.shape(end, shape)
                    self.shapes[end].append(shape)
                written = ", ".join(f"{key} {value}" for key, value in event.change.items())
                return event.link, written + (f" (leaving {event.leaving})" if event.leaving else "")
            case Cut() | Mend():
                self._network.connect(event.link, isinstance(event, Mend))
                return event.link, "the link is up" if isinstance(event, Mend) else "the link is down"
            case Kill():
                return self._kill(event)

    def _kill(self, event: Kill) -> tuple[str, str]:
        role = event.role or next(role for node, role in self._experiment.placement if node == event.node)
        if role == self._experiment.system.duties["client"]:
            self.killed_clients.add(event.node)
        self._agents.kill(event.node, role)
        return f"{role} on {event.node}", "killed"


class Conductor(Script):
    """Follows one live workload from its start to its end. ``clock`` is seconds after the start."""

    def __init__(
        self,
        experiment: Experiment,
        network: Network,
        fleet: LiveFleet,
        events: EventRecorder,
        view: View,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(experiment, network, fleet, events)
        self._fleet, self._view, self._clock = fleet, view, clock
        self._shown = 0.0

    def follow(self) -> None:
        """Return when all clients have finished; raises AgentFailed for an agent that ends unasked."""
        workload = self._experiment.workload
        limit = workload.ends_s + workload.timeout + GRACE_S
        self._view.phase("workload")
        while not self._fleet.finished():
            self._fire_due()
            self._watch()
            now = self._clock()
            if now > limit:
                raise TestbedError(f"The clients had not finished {GRACE_S:g} s after the last invocation's time-out.")
            if now >= self._shown:
                self._shown = now + SHOWN_S
                self._view.progress(self.progress())
            next_at = self.pending[0].at if self.pending else float("inf")
            time.sleep(max(0.0, min(PERIOD_S, next_at - self._clock())))
        self._watch()

    def _fire_due(self) -> None:
        while self.pending and self.pending[0].at <= self._clock():
            self.fire(self.pending.pop(0))

    def _watch(self) -> None:
        self._network.check()
        for failure in self._fleet.failures():
            subject = f"{failure.role} on {failure.node}"
            self.ended_unasked(subject, failure.detail)
            what = f"ended unasked ({failure.detail})"
            raise AgentFailed(failure.node, failure.role, what, failure.log)

    def progress(self) -> Progress:
        """Sums over the clients' own counts."""
        counts = []
        for (node, role), agent in self._fleet.agents.items():
            if role == self._experiment.system.duties["client"]:
                with suppress(OSError, ValueError):  # not written yet, or on a host that is cut off
                    counts.append(json.loads(self._network.host(node).get(agent.folder / "progress.json")))
        return summed(counts, self._clock(), self._experiment.workload.ends_s)


def summed(counts: Sequence[Mapping[str, Any]], t: float, duration_s: float) -> Progress:
    """How far all clients together have come, from the ``progress.json`` of each."""
    medians = [each["response_time_p50_s"] for each in counts if each["response_time_p50_s"] is not None]
    late = [each["send_delay_p99_s"] for each in counts if each["send_delay_p99_s"] is not None]
    return Progress(
        t=t,
        duration_s=duration_s,
        scheduled=sum(each["scheduled"] for each in counts),
        sent=sum(each["sent"] for each in counts),
        done=sum(each["done"] for each in counts),
        failed=sum(each["failed"] for each in counts),
        p50_s=sum(medians) / len(medians) if medians else None,
        fidelity=f"invocations sent up to {max(late) * 1e3:.1f} ms late (p99)" if late else "nothing sent yet",
    )
