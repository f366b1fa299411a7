"""While the workload runs: the timeline's events at their time, agents watched, progress shown, the end noticed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from testbed.collect.events import EventRecorder
from testbed.deploy.fleet import Fleet
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


class Conductor:
    """Follows one workload from its start to its end. ``clock`` is seconds after the start."""

    def __init__(
        self,
        experiment: Experiment,
        network: Network,
        fleet: Fleet,
        events: EventRecorder,
        view: View,
        clock: Callable[[], float],
    ) -> None:
        self._experiment, self._network, self._fleet = experiment, network, fleet
        self._events, self._view, self._clock = events, view, clock
        self._pending = sorted(experiment.file.timeline, key=lambda event: event.at)
        self._shown = 0.0
        self.shapes = initial_shapes(experiment.topology)
        self.exits: list[str] = []
        self.killed_clients: set[str] = set()

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
            next_at = self._pending[0].at if self._pending else float("inf")
            time.sleep(max(0.0, min(PERIOD_S, next_at - self._clock())))
        self._watch()

    def _fire_due(self) -> None:
        while self._pending and self._pending[0].at <= self._clock():
            event = self._pending.pop(0)
            subject, detail = self._apply(event)
            self._events.record(event.do, subject, detail, event.at)

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
        self._fleet.kill(event.node, role)
        return f"{role} on {event.node}", "killed"

    def _watch(self) -> None:
        self._network.check()
        for failure in self._fleet.failures():
            subject = f"{failure.role} on {failure.node}"
            self._events.record("agent_exit", subject, failure.detail)
            self.exits.append(f"{subject}: {failure.detail}")
            what = f"ended unasked ({failure.detail})"
            raise AgentFailed(failure.node, failure.role, what, failure.log)

    def progress(self) -> Progress:
        """Sums over the clients' own counts."""
        counts = []
        for (node, role), agent in self._fleet.agents.items():
            if role == self._experiment.system.duties["client"]:
                with suppress(OSError, ValueError):  # not written yet, or on a host that is cut off
                    counts.append(json.loads(self._network.host(node).get(agent.folder / "progress.json")))
        medians = [each["response_time_p50_s"] for each in counts if each["response_time_p50_s"] is not None]
        late = [each["send_delay_p99_s"] for each in counts if each["send_delay_p99_s"] is not None]
        return Progress(
            t=self._clock(),
            duration_s=self._experiment.workload.ends_s,
            scheduled=sum(each["scheduled"] for each in counts),
            sent=sum(each["sent"] for each in counts),
            done=sum(each["done"] for each in counts),
            failed=sum(each["failed"] for each in counts),
            p50_s=sum(medians) / len(medians) if medians else None,
            fidelity=f"invocations sent up to {max(late) * 1e3:.1f} ms late (p99)" if late else "nothing sent yet",
        )
