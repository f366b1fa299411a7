"""A small simulation around the core: a calendar, and flows that share links and disks max-min fairly.

Just enough to check the core's decisions against figures that are exact; the roles have their own drivers.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

from roles.serverless_compute import events
from roles.serverless_compute.causes import FailureCause, FunctionError, ImageFetchFailed, InvocationTimeout
from roles.serverless_compute.core import Core
from roles.serverless_compute.events import Effect, Event
from roles.serverless_compute.model import FunctionSpec, Image, InvocationRecord, NodeSpec, ServiceConfig
from roles.serverless_compute.policies import policy

MB, GB = 10**6, 10**9
TRANSFER_ENDS = 1  # priority of a tick at which flows may end


@dataclass(eq=False)
class Flow:
    """A transfer over some resources; ``left`` bytes are to go at ``rate``."""

    name: str
    resources: tuple[str, ...]
    left: float
    done: Callable[[FailureCause | None], Event]
    rate: float = 0.0
    moved: float = 0.0


@dataclass
class Flows:
    """All transfers under way; rates in bytes per second, resources without one have no limit."""

    rates: dict[str, float]
    active: list[Flow] = field(default_factory=list)
    since: float = 0.0

    def advance(self, now: float) -> list[Flow]:
        """Let them flow until now; returns those that have ended."""
        for flow in self.active:
            moved = flow.rate * (now - self.since)
            flow.left -= moved
            flow.moved += moved
        self.since = now
        ended = [flow for flow in self.active if flow.left <= 1e-3]
        self.active = [flow for flow in self.active if flow.left > 1e-3]
        return ended

    def share(self) -> None:
        """Give each its max-min fair rate."""
        free = dict(self.rates)
        todo = list(self.active)
        while todo:
            shares = {name: free[name] / count for name in free
                      if (count := sum(name in flow.resources for flow in todo))}  # fmt: skip
            narrow = min(shares, key=lambda name: shares[name])
            for flow in [each for each in todo if narrow in each.resources]:
                flow.rate = shares[narrow]
                todo.remove(flow)
                for name in flow.resources:
                    if name in free:
                        free[name] -= flow.rate

    def next(self) -> float | None:
        """When the first of them will end, if the rates stay."""
        return min((self.since + flow.left / flow.rate for flow in self.active if flow.rate > 0), default=None)


@dataclass(frozen=True)
class Code:
    """What a simulated function does: work for ``seconds``, then fail with ``cause`` if there is one."""

    seconds: float = 1.0
    cause: FailureCause | None = None


@dataclass
class World:
    """The core with its calendar. ``codes`` tells by function, ``payload`` overrides the seconds."""

    config: ServiceConfig
    scheduler: Any = "fcfs"
    seed: int = 1
    wan: float = 12.5 * MB
    lan: float = 125.0 * MB
    disk: float = 100.0 * MB
    codes: dict[str, Code] = field(default_factory=dict)
    look: Callable[[World], None] | None = None

    def __post_init__(self) -> None:
        self.core = Core(self.config, policy(self.scheduler, random.Random(self.seed)))
        names = [node.name for node in self.config.nodes]
        self.flows = Flows({"wan": self.wan, "lan:H": self.lan, "read:H": self.disk, "write:H": self.disk,
                            **{f"{what}:{name}": self.disk for what in ("read", "write") for name in names},
                            **{f"lan:{name}": self.lan for name in names}})  # fmt: skip
        self.now = 0.0
        self.effects: list[tuple[float, Effect]] = []
        self.records: dict[int, InvocationRecord] = {}
        self.answers: dict[int, events.Answer] = {}
        self.notes: list[str] = []
        self.wan_bytes = 0.0
        self.downloads: list[str] = []
        self._calendar: list[tuple[float, int, int, Any]] = []
        self._sequence = 0
        self._requests = 0
        self._head_free_at = 0.0
        self._tick: float | None = None

    # ---- what a test does

    def at(self, when: float, event: Event | Callable[[], None]) -> None:
        """Put an event, or something to do, on the calendar."""
        self._sequence += 1
        heappush(self._calendar, (when, getattr(event, "PRIORITY", 3), self._sequence, event))

    def register(self, function: FunctionSpec) -> str:
        """Register at once; raises what the service refuses with."""
        self._requests += 1
        self.handle(events.Register(self._requests, function))
        answer = self.answers[self._requests]
        if answer.cause:
            raise answer.cause
        return answer.registration

    def preload(self, image: Image, node: str | None = None, in_ram: bool = False) -> None:
        """An image is there from the start."""
        self.handle(events.Preload(image, node, in_ram))

    def call(self, when: float, registration: str, payload: str = "") -> int:
        """Plan a call; returns its request, by which ``answers`` and ``of`` know it."""
        self._requests += 1
        event = events.Invoke(self._requests, registration, payload)
        if self.config.processing_s:
            self.at(when, lambda: self._processed(event))
        else:
            self.at(when, event)
        return self._requests

    def _processed(self, event: events.Invoke) -> None:
        self._head_free_at = max(self.now, self._head_free_at) + self.config.processing_s
        self.at(self._head_free_at, event)

    def of(self, request: int) -> InvocationRecord:
        """The record of a planned call that has ended."""
        return self.records[self.answers[request].invocation]

    def calls(self, when: Sequence[float], registration: str) -> list[InvocationRecord]:
        """Plan calls, run until all is quiet, and return their records."""
        requests = [self.call(each, registration) for each in when]
        self.run()
        return [self.of(each) for each in requests]

    def run(self, until: float = float("inf")) -> None:
        """Go on until nothing is left to happen before ``until``."""
        while self._calendar and self._calendar[0][0] <= until:
            when, priority, _, event = heappop(self._calendar)
            self.now = when
            if priority == TRANSFER_ENDS and event is None:
                self._transfers()
            elif callable(event) and not hasattr(event, "PRIORITY"):
                event()
            else:
                self.handle(event)

    # ---- how effects are carried out

    def handle(self, event: Event) -> None:
        """Tell the core, and do as it says."""
        for effect in self.core.handle(event, self.now):
            self.effects.append((self.now, effect))
            self._do(effect)
        if self.look:
            self.look(self)

    def _do(self, effect: Effect) -> None:
        match effect:
            case events.Answer():
                self.answers[effect.request] = effect
            case events.Notify(record):
                assert record.invocation not in self.records, f"{record} ended twice"
                self.records[record.invocation] = record
            case events.Note(text):
                self.notes.append(text)
            case events.StartFetch(image):
                assert image.name not in [flow.name for flow in self.flows.active], "two downloads of one image"
                self.downloads.append(image.name)
                self._flow(image.name, ("wan", "write:H"), image.size_bytes, lambda c: events.FetchDone(image.name, c))
            case events.StartCopy(transfer, image, node):
                self._flow(f"copy {image.name} {node}", ("read:H", "lan:H", f"lan:{node}", f"write:{node}"),
                           image.size_bytes, lambda c: events.CopyDone(transfer, c))  # fmt: skip
            case events.StartLoad(transfer, image, node):
                self._flow(f"load {image.name} {node}", (f"read:{node}",), image.ram_bytes,
                           lambda c: events.LoadDone(transfer, c))  # fmt: skip
            case events.ArmTimer(container, at):
                self.at(at, events.IdleTimer(container))
            case events.Run():
                self._execute(effect)

    def _execute(self, run: events.Run) -> None:
        function = self.core.registrations[run.registration].function
        code = self.codes.get(function.name, Code())
        seconds = float(run.payload) if run.payload else code.seconds
        cause: FailureCause | None = code.cause
        if run.limit_s is not None and seconds > run.limit_s:
            seconds, cause = run.limit_s, InvocationTimeout("The time limit ran out.")
        start = self.now + run.overhead_s
        done = events.ExecDone(run.invocation, start, start + seconds, None if cause else "done", cause)
        self.at(start, events.ExecStarted(run.invocation, start))
        self.at(start + seconds, done)

    def _flow(self, name: str, through: tuple[str, ...], size: int, done: Callable[[Any], Event]) -> None:
        ended = self.flows.advance(self.now)
        assert not ended or all(flow.left <= 1e-3 for flow in ended)
        self.flows.active += [*ended, Flow(name, through, size, done)]
        self._replan()

    def _replan(self) -> None:
        self.flows.share()
        when = self.flows.next()
        if when is not None:
            self._sequence += 1
            heappush(self._calendar, (max(when, self.now), TRANSFER_ENDS, self._sequence, None))

    def _transfers(self) -> None:
        ended = self.flows.advance(self.now)
        if ended:
            self._replan()
        for flow in ended:
            self.wan_bytes += flow.moved if "wan" in flow.resources else 0
            self.handle(flow.done(None))

    def cut_wan(self) -> None:
        """The link to the registry fails: all downloads under way are lost."""
        ended = self.flows.advance(self.now)
        lost = [flow for flow in self.flows.active if "wan" in flow.resources]
        self.flows.active = ended + [flow for flow in self.flows.active if flow not in lost]
        self._replan()
        for flow in lost:
            self.wan_bytes += flow.moved
            self.handle(flow.done(ImageFetchFailed("the link is down")))


def platform(*nodes: NodeSpec, **changes: Any) -> ServiceConfig:
    """The platform of the checks: two nodes of two slots, 0.5 s to start cold, 60 s idle, and ``changes`` to it."""
    settings = {"cold_start_s": 0.5, "idle_timeout_s": 60.0, **changes}
    return ServiceConfig(nodes or (NodeSpec("N1", 2), NodeSpec("N2", 2)), **settings)


def image(name: str = "A", size: int = 100 * MB, ram: int | None = None) -> Image:
    """An image of the checks: 100 MB on disk and in memory."""
    return Image(name, size, size if ram is None else ram)


def function(name: str = "f", of: Image | None = None, **settings: Any) -> FunctionSpec:
    """A function of the checks."""
    return FunctionSpec(name, of or image(), **settings)


def times(record: InvocationRecord) -> tuple[float, float, float]:
    """Dispatch, start and end, to a nanosecond."""
    assert record.t_dispatch is not None and record.t_start is not None
    return round(record.t_dispatch, 9), round(record.t_start, 9), round(record.t_end, 9)


def failing(detail: str) -> FailureCause:
    """What a function's own error looks like."""
    return FunctionError(detail)
