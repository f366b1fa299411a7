"""One run under faults, in virtual time and in a folder that vanishes: ended by its first violation."""

from __future__ import annotations

import asyncio
import csv
import io
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from testbed.conduct import GRACE_S
from testbed.experiment.model import Experiment
from testbed.explore.damage import Damage
from testbed.explore.faults import Fault
from testbed.explore.telling import Timeline
from testbed.explore.watching import WatchedClient, WatchedWorld
from testbed.plan import specs
from testbed.roles.api import Client, Observed, Site
from testbed.twin.agent import Agent
from testbed.twin.loop import Stalled
from testbed.workload.client import drive

READY_S = 60.0
LEAD_S = 0.5
PERIOD_S = 0.25  # between two looks at the invariants; they are looked at after each event besides
LATE_S = 0.5  # after its time-out, an invocation has a row

AGENTS = "agents do not fail"
ENDS = "each invocation ends exactly once"
GOES_ON = "the system goes on"
PROMISES = {
    AGENTS: "No agent ends by an error of its own, and no call is answered with an error of the program.",
    ENDS: "Each invocation that was sent has one outcome, at the latest when its time-out is over; each one that was "
    "scheduled has a row in the end.",
    GOES_ON: "Agents start, clients finish, and time passes.",
}


@dataclass(frozen=True, slots=True)
class Violation:
    """What did not hold: the name of the invariant, what it promises, what was seen, when (after the start)."""

    invariant: str
    promise: str
    sentence: str
    t: float


@dataclass(frozen=True, slots=True)
class Tale:
    """How one run went: its first violation, if any, its timeline, and how many invocations were sent."""

    violation: Violation | None
    timeline: Timeline
    invocations: int


def tell(experiment: Experiment, faults: Sequence[Fault], settle_s: float) -> Tale:
    """Run ``experiment`` under ``faults``; in the end everything has been well for ``settle_s`` seconds."""
    with TemporaryDirectory(prefix="testbed-explore-") as folder:
        return Trial(experiment, faults, settle_s, Path(folder)).run()


class Trial:
    """See :func:`tell`."""

    def __init__(self, experiment: Experiment, faults: Sequence[Fault], settle_s: float, folder: Path) -> None:
        self._experiment, self._faults, self._settle_s, self._folder = experiment, faults, settle_s, folder
        self._world = WatchedWorld(experiment, self._violated)
        self._world.failed = self._agent_failed
        self._violation: Violation | None = None
        self._over = asyncio.Event()
        self._sent: dict[int, float] = {}
        self._outcomes: list[_Outcomes] = []
        self._damage: Damage
        self._checks = True

    def run(self) -> Tale:
        """The whole of it."""
        world = self._world
        try:
            with world.logging():
                world.run(self._story())
        except Stalled as stall:
            self._violated(GOES_ON, str(stall))
        except Exception as error:  # noqa: BLE001 - it is the finding, and its traceback is in the timeline
            self._told_traceback(error)
            self._violated(AGENTS, f"{type(error).__name__}: {error}")
        finally:
            world.close()
        return Tale(self._violation, world.told, len(self._sent))

    # The story.

    async def _story(self) -> None:
        """Until the first violation, or the end."""
        telling = asyncio.ensure_future(self._whole())
        watching = asyncio.ensure_future(self._over.wait())
        await asyncio.wait((telling, watching), return_when=asyncio.FIRST_COMPLETED)
        if telling.done():
            telling.result()
        self._checks = False

    async def _whole(self) -> None:
        world = self._world
        agents = [self._made(spec.site, spec.files) for spec in specs(self._experiment, self._folder)]
        for agent, start in [(each, asyncio.ensure_future(world.start(each))) for each in agents]:
            await self._ready(agent, start)
        world.told.start = t0 = world.loop.now + LEAD_S
        world.tell("all agents are ready")
        self._damage = Damage(world, self._experiment, self._check)
        if self._experiment.timetable.before:
            self._damage.prepare(self._experiment.timetable.before)
        try:
            await self._disturbed([agent for agent in agents if isinstance(agent.role, Client)], t0)
        finally:
            self._damage.over()

    async def _disturbed(self, firing: Sequence[Agent], t0: float) -> None:
        """The workload under all that is to happen, and the time after it."""
        world = self._world
        clients = [self._fired(agent, t0) for agent in firing]
        for fault in self._faults:
            world.loop.at(t0 + fault.begin, self._damage.begin, fault)
            world.loop.at(t0 + fault.end, self._damage.end, fault)
        for event in self._experiment.timetable.events:
            world.loop.at(t0 + event.at, self._damage.apply, event)
        world.loop.at(t0, self._look_again)
        await self._finished(clients, t0)
        await world.loop.sleep(t0 + max((fault.end for fault in self._faults), default=0.0) - world.loop.now)
        while (left := max(t0, self._damage.settled_at()) + self._settle_s - world.loop.now) > 0:
            await world.loop.sleep(left)
        self._check(final=True)

    def _made(self, site: Site, files: Mapping[str, object]) -> Agent:
        folder = self._folder / site.node / site.role
        folder.mkdir(parents=True, exist_ok=True)  # a client's schedule is in it
        parameters = self._experiment.parameters[site.node, site.role]
        return self._world.agent(site, parameters, folder if files else None)

    async def _ready(self, agent: Agent, start: asyncio.Future[None]) -> None:
        try:
            await asyncio.wait_for(start, READY_S)
        except TimeoutError:
            self._violated(GOES_ON, f"{agent.role_name} on {agent.node} was not ready within {READY_S:g} s")
            await self._world.grave()

    def _fired(self, agent: Agent, t0: float) -> tuple[Agent, asyncio.Task[None]]:
        assert isinstance(agent.role, Client) and agent.folder is not None
        self._outcomes.append(_Outcomes(agent.folder, agent.node))
        watched = WatchedClient(agent.role, self._world, self._sent)
        return agent, agent.begin(drive(watched, agent.env, agent.folder, t0))

    async def _finished(self, clients: Sequence[tuple[Agent, asyncio.Task[None]]], t0: float) -> None:
        workload = self._experiment.workload
        limit = t0 + workload.ends_s + workload.timeout + GRACE_S
        for agent, task in clients:
            await asyncio.wait((task,), timeout=max(0.0, limit - self._world.loop.now))
            if not task.done() and agent.alive:
                self._violated(GOES_ON, f"the client on {agent.node} had not finished {GRACE_S:g} s after the last "
                                        "time-out")  # fmt: skip

    # What is found.

    def _agent_failed(self, agent: Agent, error: BaseException) -> None:
        self._told_traceback(error)
        what = f"{type(error).__name__}: {error}"
        self._violated(AGENTS, f"{agent.role_name} on {agent.node} ended by an error of its own, {what}")

    def _told_traceback(self, error: BaseException) -> None:
        for line in "".join(traceback.format_exception(error)).splitlines():
            self._world.tell("  ", line, weight="detail")

    def _violated(self, invariant: str, sentence: str) -> None:
        """The first one counts."""
        if self._violation is None:
            world = self._world
            promises = {each.name: each.promise for each in self._experiment.system.invariants} | PROMISES
            sentence = world.told.named(sentence)
            t = round(world.loop.now - world.told.start, 6)
            self._violation = Violation(invariant, promises[invariant], sentence, t)
            world.tell(f"VIOLATION: {invariant}: {sentence}")
            world.is_over = True
            self._over.set()

    # Looking.

    def _look_again(self) -> None:
        self._check()
        if self._checks:
            self._world.loop.at(self._world.loop.now + PERIOD_S, self._look_again)

    def _check(self, final: bool = False) -> None:
        if self._violation is not None or not self._checks:
            return
        seen = self._observed(final)
        for sentence in self._unended(seen):
            self._violated(ENDS, sentence)
        for node, role in self._damage.missing if final else ():
            self._violated(GOES_ON, f"{role} on {node} is not back, {self._settle_s:g} s after all is well")
        for invariant in self._experiment.system.invariants:
            for sentence in invariant.check(seen):
                self._violated(invariant.name, sentence)

    def _observed(self, final: bool) -> Observed:
        world, rows = self._world, Counter[int]()
        for outcomes in self._outcomes:
            rows.update(outcomes.read())
        return Observed(
            now=world.loop.now,
            agents={name: world.agents[name].role for name in self._damage.ready},
            started=dict(world.started),
            since=self._damage.since(),
            ended={number: rows[number] for number in self._sent},
            dead=dict(world.dead),
            final=final,
        )

    def _unended(self, seen: Observed) -> Iterator[str]:
        if self._damage.killed_clients:
            return
        limit = self._experiment.workload.timeout + LATE_S
        for number, times in seen.ended.items():
            if times > 1:
                yield f"invocation {number} ended {times} times"
            elif not times and (seen.final or seen.now - self._sent[number] > limit):
                yield f"invocation {number}, sent at {self._sent[number] - self._world.told.start:.3f} s, has not ended"
        if seen.final:
            for outcomes in self._outcomes:
                yield from outcomes.missing()


class _Outcomes:
    """The outcomes that one client has written, read as they grow."""

    def __init__(self, folder: Path, client: str) -> None:
        self._folder, self._client, self._offset = folder, client, 0
        self._found: list[int] = []

    def read(self) -> Sequence[int]:
        """The invocation of each row so far."""
        path = self._folder / "outcomes.csv"
        if path.exists() and path.stat().st_size > self._offset:
            with path.open("rb") as file:
                file.seek(self._offset)
                text = file.read()
            is_first, self._offset = not self._offset, self._offset + len(text)
            rows = list(csv.reader(io.StringIO(text.decode(), newline="")))
            self._found += [int(row[0]) for row in rows[1 if is_first else 0 :]]
        return self._found

    def missing(self) -> Iterator[str]:
        """A sentence for each scheduled invocation without a row."""
        with (self._folder / "schedule.csv").open(newline="", encoding="utf-8") as file:
            scheduled = [int(row["invocation_id"]) for row in csv.DictReader(file)]
        found = set(self.read())
        for number in scheduled:
            if number not in found:
                yield f"invocation {number} of the client on {self._client} has no row"
