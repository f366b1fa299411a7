"""Puts faults in force: what is up, how links are shaped and who is alive follows from the faults of the moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Any, Literal

from testbed import seeds
from testbed.errors import TestbedError
from testbed.experiment.model import Experiment
from testbed.explore.faults import Agent, Fault
from testbed.explore.watching import WatchedWorld
from testbed.roles.api import CallFailed, Method
from testbed.timeline.actions import (
    Action,
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
from testbed.topology.shape import Shape
from testbed.twin import agent as twin
from testbed.twin.pausing import Pauses

MOST_LOSS = 0.9  # of all faults on one link together
AGAIN_S = 1.0  # from an agent that could not start to the next attempt, as a supervisor makes it


class Damage:
    """The faults in force, over what the experiment's own timeline asks for. ``changed`` is told after each change.

    ``killed_clients`` are those that the timeline killed; no fault does.
    """

    def __init__(self, world: WatchedWorld, experiment: Experiment, changed: Callable[[], None]) -> None:
        self._world, self._experiment, self._changed = world, experiment, changed
        self._active: dict[int, Fault] = {}
        self._rngs: dict[int, Random] = {}
        self._state: dict[Agent, Literal["up", "starting", "down"]] = dict.fromkeys(experiment.placement, "up")
        self._last: dict[Agent, twin.Agent] = dict(world.agents)
        self._killed: dict[Agent, None] = {}
        self._asked = InForce(experiment.topology)
        self._pauses = Pauses(world.loop)
        self._paused: dict[str, None] = {}
        self._shapes = dict(self._asked.shapes)
        self._links_down: set[str] = set()
        self._machines_down: set[str] = set()
        self._ways = _ways(experiment, world)
        self._last_change = self._episode = self._recovered = world.loop.now
        self.killed_clients: set[str] = set()

    # What happens.

    def begin(self, fault: Fault) -> None:
        """A fault strikes."""
        self._world.tell(f"FAULT [{fault.number}] {fault.kind} {fault.subject}")
        self._active[fault.number] = fault
        self._rngs[fault.number] = seeds.stream(self._experiment.seed, "fault", str(fault.number), "messages")
        self._settle()

    def end(self, fault: Fault) -> None:
        """It is over."""
        self._world.tell(f"HEALED [{fault.number}] {fault.kind} {fault.subject}")
        self._note_recovery(fault)
        del self._active[fault.number]
        self._settle()

    def apply(self, event: Planned) -> None:
        """An event of the experiment's own timetable."""
        self._world.tell(f"EVENT {event.kind} {event.subject}: {event.detail}")
        self.prepare(event.actions)

    def prepare(self, actions: Sequence[Action]) -> None:
        """Put in force what an event does, or what holds before the first of them."""
        for action in actions:
            self._ask(action)
        self._settle()

    def _ask(self, action: Action) -> None:
        match action:
            case SetShape():
                list(self._asked.shape(action))
            case Hold() | Release():
                list(self._asked.connect(action))
            case KillAgents() | StartAgents():
                for name in action.agents:
                    self._ask_of(name, isinstance(action, KillAgents))
            case PauseHost():
                self._paused[action.node] = None
                self._pauses.pause(action.node)
            case ResumeHost():
                self._paused.pop(action.node, None)
                self._pauses.resume(action.node)
            case SetCalendar():
                self._world.skew(action)
            case Attach():
                self._world.network.attach(action.node, action.link)
                self._ways = _ways(self._experiment, self._world)
            case Press():
                pass  # there are no processors here

    def _ask_of(self, name: Agent, is_end: bool) -> None:
        if is_end:
            self._killed[name] = None
            if name[1] == self._experiment.system.duties["client"]:
                self.killed_clients.add(name[0])
            return
        self._killed.pop(name, None)
        if self._state[name] != "down":
            self._kill(name)

    def over(self) -> None:
        """The run ends: all that stand still go on."""
        self._pauses.end()

    # What follows from it.

    def _settle(self) -> None:
        self._connect()
        self._reshape()
        self._world.meddler = self._meddled if any(each.spread for each in self._active.values()) else None
        down = {*self._killed, *(agent for fault in self._active.values() for agent in fault.agents)}
        for name, state in self._state.items():
            if name in down and state != "down":
                self._kill(name)
            elif name not in down and state == "down":
                self._state[name] = "starting"
                self._world.loop.create_task(self._revive(name))
        self._last_change = self._world.loop.now
        self._changed()

    def _connect(self) -> None:
        network, active = self._world.network, self._active.values()
        asked = [link for link, causes in self._asked.down.items() if causes]
        cut = {*asked, *(link for fault in active for link in fault.cut)}
        off = {fault.machine for fault in active if fault.machine}
        for link in self._experiment.topology.links:
            if (link in cut) != (link in self._links_down):
                network.connect(link, link not in cut)
        for node in self._experiment.topology.nodes:
            if (node in off) != (node in self._machines_down):
                network.down(node, node in off)
        self._links_down, self._machines_down = cut, off

    def _reshape(self) -> None:
        for end, wanted in self._asked.shapes.items():
            shape = self._worsened(wanted, [fault for fault in self._active.values() if end.link in fault.links])
            if shape != self._shapes[end]:
                self._world.network.shape(end, shape)
                self._shapes[end] = shape

    def _worsened(self, shape: Shape, faults: list[Fault]) -> Shape:
        if not faults:
            return shape
        delay = shape.delay + sum(fault.delay for fault in faults)
        loss = min(max(MOST_LOSS, shape.loss), shape.loss + sum(fault.loss for fault in faults))
        return shape.model_copy(update={"delay": delay, "loss": loss})

    def _meddled(self, method: Method[Any, Any], caller: str, server: str) -> Iterable[float]:
        """How much later each copy of a request is taken in."""
        extras, what = [0.0], f"{method.name} from {caller} to {server}"
        for number, fault in self._active.items():
            rng = self._rngs[number]
            if fault.late and rng.random() < fault.late:
                extras[0] += rng.uniform(0, fault.spread)
                self._world.tell(f"[{number}] {what} is taken in {extras[0]:.3f} s late")
            if fault.copied and rng.random() < fault.copied:
                extras.append(rng.uniform(0, fault.spread))
                self._world.tell(f"[{number}] {what} is taken in once more {extras[-1]:.3f} s later")
        return extras

    # Agents.

    def _kill(self, name: Agent) -> None:
        self._state[name] = "down"
        self._world.kill(*name)

    async def _revive(self, name: Agent) -> None:
        """Start an agent again, as a supervisor does: until it is ready, or killed meanwhile."""
        world, last = self._world, self._last[name]
        while self._state[name] == "starting":
            again = self._last[name] = world.agent(replace(last.site), last.role.parameters, last.folder)
            try:
                await world.start(again)
            except asyncio.CancelledError:
                if again.alive:
                    raise
                return  # killed while it started
            except (TestbedError, CallFailed) as error:
                world.tell(f"{name[1]} on {name[0]} cannot start: {error}")
                world.kill(*name)
                await world.loop.sleep(AGAIN_S)
            except Exception as error:  # noqa: BLE001 - told, and it ends the run
                world.flaw("agents do not fail", f"{name[1]} on {name[0]} failed to start: {error!r}")
                return
            else:
                self._state[name] = "up"
                self._last_change = world.loop.now
                world.tell(f"{name[1]} on {name[0]} is back")
                self._changed()

    @property
    def ready(self) -> Iterator[Agent]:
        """The agents that live and have started, in the order of the experiment."""
        return (name for name, state in self._state.items() if state == "up" and name in self._world.agents)

    @property
    def missing(self) -> list[Agent]:
        """The agents that should live and are not ready."""
        ready = set(self.ready)
        return [name for name in self._state if name not in ready and name not in self._killed]

    # Peace.

    def since(self) -> float:
        """From when on nothing has changed and nothing has been amiss between living agents; now, while it is.

        Connections retry ever more rarely: after a disturbance they are given as much time as it took.
        """
        now = self._world.loop.now
        if now < self._recovered or "starting" in self._state.values() or self._troubled():
            return now
        return max(self._last_change, self._recovered)

    def settled_at(self) -> float:
        """When connections will have recovered from what is over."""
        return max(self._last_change, self._recovered)

    def _troubled(self) -> bool:
        """Whether anything is amiss on the way between two living agents."""
        if self._paused or any(fault.spread for fault in self._active.values()):
            return True
        bad = {*self._links_down, *(link for fault in self._active.values() for link in fault.links)}
        bad |= {link.name for node in self._machines_down for link, _ in self._experiment.topology.interfaces[node]}
        if not bad:
            return False
        homes = {node for (node, _), state in self._state.items() if state != "down"}
        return any(not bad.isdisjoint(links) for (a, b), links in self._ways.items() if a in homes and b in homes)

    def _note_recovery(self, ended: Fault) -> None:
        """Disturbances that come before connections have recovered from the one before count as one with it."""
        if ended.machine or ended.cut or ended.links:
            now, began = self._world.loop.now, self._world.told.start + ended.begin
            self._episode = began if began >= self._recovered else min(began, self._episode)
            self._recovered = 2 * now - self._episode + AGAIN_S


def _ways(experiment: Experiment, world: WatchedWorld) -> dict[tuple[str, str], frozenset[str]]:
    """The links between each two nodes that have agents."""
    nodes = list(dict.fromkeys(node for node, _ in experiment.placement))
    way = world.network.way
    return {(a, b): frozenset(end.link for end in way(a, b)) for a in nodes for b in nodes if a != b}
