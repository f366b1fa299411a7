"""A run in the twin: agents start, the workload is fired, rows are collected, all in virtual time."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.collect.events import EventRecorder
from testbed.collect.routes import KIND, in_words
from testbed.collect.sampler import Cost, LinkSampler, NodeSampler, Watched
from testbed.collect.schema import MACHINE
from testbed.conclude import Traces
from testbed.conduct import GRACE_S, Script, View, summed
from testbed.deploy.spec import AgentSpec
from testbed.errors import AgentFailed, TestbedError
from testbed.experiment.model import Experiment
from testbed.plan import specs
from testbed.roles.api import Client
from testbed.store import Run
from testbed.substrate.processes import Usage
from testbed.twin import calibration
from testbed.twin.agent import Agent
from testbed.twin.background import TwinBackground
from testbed.twin.hands import TwinHands
from testbed.twin.world import World
from testbed.workload.client import drive
from testbed.workload.progress import Progress

READY_S = 60.0
LEAD_S = 0.5  # from the moment when all agents are ready to the start of the workload, as in emulation
STOP_S = 2.0
SHOWN = 50  # how many times the view is told of progress


class Virtual:
    """One run; :meth:`go` raises what ended it early. ``traces`` is set from the start of the workload on."""

    def __init__(self, run: Run, experiment: Experiment, view: View) -> None:
        self._run, self._experiment, self._view = run, experiment, view
        self._failures: list[AgentFailed] = []
        self.traces: Traces | None = None
        self.world = world_of(experiment)
        self.world.failed = self._agent_failed
        self._clients: list[tuple[Agent, asyncio.Task[None], Progress]] = []

    def go(self) -> None:
        """Tell the whole story."""
        run = self._run
        run.record.mechanisms = dict(self.world.network.mechanisms)
        run.record.features = {**self.world.network.notes, "calibration": self.world.calibration.source or "none"}
        run.rows(MACHINE, ())
        try:
            self.world.run(self._tell())
        finally:
            self.world.close()

    async def _tell(self) -> None:
        self._view.phase("starting the agents")
        agents = [self._made(spec) for spec in specs(self._experiment, self._run.folder / "hosts")]
        await self._started(agents)
        self._run.record.state = "running"
        self._run.save()
        await self._workload(agents)
        for agent in list(self.world.agents.values()):
            await self._stopped(agent)

    def _made(self, spec: AgentSpec) -> Agent:
        folder = self._run.folder / "hosts" / spec.node / spec.role
        folder.mkdir(parents=True, exist_ok=True)  # a client's schedule is in it
        return self.world.agent(spec.site, self._experiment.parameters[spec.node, spec.role], folder)

    async def _started(self, agents: Iterable[Agent]) -> None:
        """All agents start at the same moment; raises AgentFailed for the first that cannot."""
        for agent, start in [(agent, asyncio.ensure_future(self.world.start(agent))) for agent in agents]:
            try:
                await asyncio.wait_for(start, READY_S)
            except TimeoutError:
                raise AgentFailed(agent.node, agent.role_name, f"was not ready within {READY_S:g} s", "") from None
            except Exception as error:
                raise _failure(agent, error) from error
        self._raise_failures()

    async def _stopped(self, agent: Agent) -> None:
        if agent.alive:
            with suppress(TimeoutError):
                await asyncio.wait_for(agent.role.stop(agent.env), STOP_S)

    async def _workload(self, agents: Iterable[Agent]) -> None:
        world, experiment = self.world, self._experiment
        t0 = world.loop.now + LEAD_S

        def clock() -> float:
            return round(world.loop.now - t0, 9)

        with ExitStack() as stack:
            events = stack.enter_context(EventRecorder(self._run.folder, clock))
            hands = TwinHands(world)
            stack.callback(hands.close)
            script = Script(experiment, world.network, hands, events)
            hands.ready = script.ready
            world.network.rerouting.told = lambda router, ways: events.record(KIND, router, in_words(ways))
            script.prepare()
            sampler = _Sampler(self._run.folder, world, clock, experiment.file.collect.period)
            before = dict(world.network.counters())
            traces = self.traces = Traces(t0, script, sampler.cost, None, events.rows, (), before, before)
            beside = TwinBackground(world.network, world.loop, experiment.background, experiment.seed, events.record)
            traces.doubts = [*doubts(experiment, world.calibration), *experiment.timetable.doubtful, *beside.doubts()]
            try:
                self._fire(agents, script, t0)
                beside.begin(t0)
                world.loop.at(t0, sampler.begin)
                await self._finished(t0, clock)
            finally:
                sampler.close()
                traces.ended, traces.after = clock(), dict(world.network.counters())
                traces.background = beside.end()

    def _fire(self, agents: Iterable[Agent], script: Script, t0: float) -> None:
        for agent in agents:
            if isinstance(agent.role, Client):
                assert agent.folder is not None
                progress = Progress()
                work = drive(agent.role, agent.env, agent.folder, t0, progress)
                self._clients.append((agent, agent.begin(work), progress))
        for event in script.pending:
            self.world.loop.at(t0 + event.at, script.fire, event)

    async def _finished(self, t0: float, clock: Callable[[], float]) -> None:
        """Return when every client that lives has finished; raises AgentFailed for an agent that ended unasked."""
        workload = self._experiment.workload
        self._view.phase("workload")
        limit, step = workload.ends_s + workload.timeout + GRACE_S, max(0.05, workload.ends_s / SHOWN)
        while waiting := [task for agent, task, _ in self._clients if agent.alive and not task.done()]:
            await asyncio.wait(waiting, timeout=step)
            self._raise_failures()
            if clock() > limit:
                raise TestbedError(f"The clients had not finished {GRACE_S:g} s after the last invocation's time-out.")
            counts = [progress.told(clock()) for _, _, progress in self._clients]
            self._view.progress(summed(counts, clock(), workload.ends_s))

    def _agent_failed(self, agent: Agent, error: BaseException) -> None:
        failure = _failure(agent, error)
        self._failures.append(failure)
        if self.traces is not None:
            detail = f"{type(error).__name__}: {error}".splitlines()[0]
            self.traces.script.ended_unasked(f"{agent.role_name} on {agent.node}", detail)

    def _raise_failures(self) -> None:
        if self._failures:
            raise self._failures[0]


def world_of(experiment: Experiment) -> World:
    """The world of an experiment, without agents yet; raises UsageError for a calibration that cannot be read."""
    options = experiment.file.twin
    known = calibration.read(experiment.folder / options.calibration) if options.calibration else None
    return World(experiment.topology, experiment.system, experiment.seed, options, known)


def doubts(experiment: Experiment, known: calibration.Calibration) -> list[str]:
    """What takes time in emulation and none in this twin, as nobody measured it."""
    return [
        f"the Python of the function {name}"
        for name, function in experiment.functions.items()
        if function.code and name not in known.exec_s
    ]


def _failure(agent: Agent, error: BaseException) -> AgentFailed:
    log = "".join(traceback.format_exception(error))
    return AgentFailed(agent.node, agent.role_name, f"ended by an error ({type(error).__name__})", log)


@dataclass(frozen=True)
class _Book:
    """What the node sampler asks of a snapshot of processes, from the agents' own books."""

    agents: Mapping[int, Agent]

    def agent(self, node: str, pid: int) -> Usage:
        return Usage(round(self.agents[pid].busy_s, 9), 0, 1)


class _Sampler:
    """Rows in ``links.csv`` and ``nodes.csv`` at exact multiples of the period."""

    def __init__(self, folder: Path, world: World, clock: Callable[[], float], period_s: float) -> None:
        self._world, self._period, self._taken, self._open = world, period_s, 0, True
        self._agents: dict[int, Agent] = {}
        self._links = LinkSampler(folder, world.network, clock)
        self._nodes = NodeSampler(folder, self._watched, clock)
        self._start = 0.0

    def _watched(self) -> list[Watched]:
        self._agents.clear()
        self._agents.update(enumerate(self._world.agents.values()))
        return [Watched(agent.node, agent.role_name, pid) for pid, agent in self._agents.items()]

    def begin(self) -> None:
        """Take the first sample now, the others as time passes."""
        self._start = self._world.loop.now
        self._beat()

    def _beat(self) -> None:
        if self._open:
            self._take()
            self._world.loop.at(self._start + self._taken * self._period, self._beat)

    def _take(self) -> None:
        book: Any = _Book(self._agents)  # of those that live when the nodes are sampled
        self._links(book)
        self._nodes(book)
        self._taken += 1

    def close(self) -> None:
        """Take the last sample and end the files."""
        self._take()
        self._open = False
        self._links.close()
        self._nodes.close()

    def cost(self) -> Cost:
        """Sampling costs nothing here."""
        elapsed = self._taken * self._period
        return Cost(self._taken, 0, self._period, self._period, 0.0, elapsed)
