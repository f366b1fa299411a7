"""While the workload runs: the timetable's events at their time, agents watched, progress shown, the end noticed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

from testbed.collect.events import EventRecorder
from testbed.collect.kills import Kills
from testbed.deploy.fleet import Fleet
from testbed.deploy.hands import LiveHands
from testbed.errors import AgentFailed, TestbedError
from testbed.experiment.model import Experiment
from testbed.fidelity.evidence import initial_shapes
from testbed.substrate.base import Network
from testbed.timeline.actions import (
    Action,
    Agent,
    Attach,
    Hold,
    KillAgents,
    PauseHost,
    Planned,
    Press,
    Release,
    ResumeHost,
    SetCalendar,
    SetShape,
    StartAgents,
)
from testbed.timeline.force import InForce

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


class Hands(Protocol):
    """What can be done to agents and hosts, in emulation and in the twin."""

    def kill(self, node: str, role: str) -> None: ...

    def restart(self, node: str, role: str) -> None: ...

    def pause(self, node: str) -> None: ...

    def resume(self, node: str) -> None: ...

    def skew(self, calendar: SetCalendar) -> None: ...

    def attach(self, node: str, link: str) -> None: ...

    def press(self, load: Press) -> None: ...


class Script:
    """The timetable of an experiment and what came of it: the shapes in force, agents that ended.

    ``excused`` are the clients that an event kept from sending in time, ``disturbed`` the nodes whose agents stood
    still or were under load: neither is told of against the run.
    """

    def __init__(self, experiment: Experiment, network: Network, hands: Hands, events: EventRecorder) -> None:
        self._experiment, self._network, self._hands, self._events = experiment, network, hands, events
        self.pending = list(experiment.timetable.events)
        self.shapes = initial_shapes(experiment.topology)
        self.exits: list[str] = []
        self.excused: set[str] = set()
        self.disturbed: set[str] = set()
        self._force = InForce(experiment.topology)
        self._client = experiment.system.duties["client"]

    def prepare(self) -> None:
        """Put in force what holds before the first event."""
        for action in self._experiment.timetable.before:
            self._do(action)

    def fire(self, event: Planned) -> None:
        """Put one event in force, and record it."""
        for action in event.actions:
            self._do(action)
        self._events.record(event.kind, event.subject, event.detail, event.at)

    def ready(self, node: str, role: str) -> None:
        """An agent that was started anew is ready."""
        self._events.record("agent_ready", f"{role} on {node}", "ready")

    def ended_unasked(self, subject: str, detail: str) -> None:
        """An agent ended though nobody asked for it."""
        self._events.record("agent_exit", subject, detail)
        self.exits.append(f"{subject}: {detail}")

    def _do(self, action: Action) -> None:
        match action:
            case SetShape():
                for end, shape in self._force.shape(action):
                    self._network.shape(end, shape)
                    if shape not in self.shapes[end]:
                        self.shapes[end].append(shape)
            case Hold() | Release():
                for link, up in self._force.connect(action):
                    self._network.connect(link, up)
            case KillAgents() | StartAgents():
                for name in action.agents:
                    self._end_or_start(name, isinstance(action, KillAgents))
            case PauseHost() | ResumeHost():
                self._pause(action.node, isinstance(action, PauseHost))
            case SetCalendar():
                self._hands.skew(action)
            case Attach():
                self._hands.attach(action.node, action.link)
            case Press():
                self._disturb(action.node)
                self._hands.press(action)

    def _end_or_start(self, name: Agent, is_end: bool) -> None:
        node, role = name
        if role == self._client:
            self.excused.add(node)
        if is_end:
            self._hands.kill(node, role)
        else:
            self._hands.restart(node, role)

    def _pause(self, node: str, is_begin: bool) -> None:
        if is_begin:
            self._disturb(node)
            self._hands.pause(node)
        else:
            self._hands.resume(node)

    def _disturb(self, node: str) -> None:
        self.disturbed.add(node)
        if node in self._experiment.clients:
            self.excused.add(node)


class Clockwork:
    """Fires the events of a script at their times, in a thread of its own, so that nothing else makes them late."""

    def __init__(self, script: Script, clock: Callable[[], float]) -> None:
        self._script, self._clock = script, clock
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="timetable", daemon=True)

    def __enter__(self) -> Clockwork:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def check(self) -> None:
        """Raise what an event raised; none is fired after that."""
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            while self._script.pending:
                if self._stop.wait(max(0.0, self._script.pending[0].at - self._clock())):
                    return
                self._script.fire(self._script.pending.pop(0))
        except BaseException as error:  # noqa: BLE001 - raised where the run is followed
            self._error = error


class Conductor(Script):
    """Follows one live workload from its start to its end. ``clock`` is seconds after the start."""

    def __init__(
        self,
        experiment: Experiment,
        network: Network,
        fleet: Fleet,
        hands: LiveHands,
        events: EventRecorder,
        view: View,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(experiment, network, hands, events)
        self._fleet, self._live, self._view, self._clock = fleet, hands, view, clock
        self._shown = 0.0
        self._kills = Kills(network, events)

    def follow(self) -> None:
        """Return when all clients have finished; raises AgentFailed for an agent that ends unasked."""
        workload = self._experiment.workload
        limit = workload.ends_s + workload.timeout + GRACE_S
        self._view.phase("workload")
        with Clockwork(self, self._clock) as clockwork:
            self._follow(clockwork, limit)
        self._watch()
        self._kills()

    def _follow(self, clockwork: Clockwork, limit: float) -> None:
        while not self._fleet.finished():
            clockwork.check()
            self._watch()
            now = self._clock()
            if now > limit:
                raise TestbedError(f"The clients had not finished {GRACE_S:g} s after the last invocation's time-out.")
            if now >= self._shown:
                self._shown = now + SHOWN_S
                self._kills()
                self._view.progress(self.progress())
            time.sleep(PERIOD_S)

    def _watch(self) -> None:
        self._network.check()
        for node, role in self._live.became_ready():
            self.ready(node, role)
        for failure in self._fleet.failures():
            self._network.check()  # an agent whose machine is lost did not end by itself
            self._kills()
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
