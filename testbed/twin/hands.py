"""What a timeline does to agents and hosts in the twin."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from testbed.timeline.actions import Press, SetCalendar
from testbed.twin.agent import Agent
from testbed.twin.pausing import Pauses
from testbed.twin.world import World


class TwinHands:
    """Kills, starts, pauses and moves. ``ready`` is told of each agent that was started anew and is ready."""

    def __init__(self, world: World, ready: Callable[[str, str], None] = lambda node, role: None) -> None:
        self._world, self.ready = world, ready
        self._agents: dict[tuple[str, str], Agent] = dict(world.agents)
        self._pauses = Pauses(world.loop)

    def kill(self, node: str, role: str) -> None:
        """End an agent at this moment."""
        self._world.kill(node, role)

    def restart(self, node: str, role: str) -> None:
        """Start an agent anew, which takes as long as its role needs; an error in that ends the agent."""
        self._world.kill(node, role)
        last = self._agents[node, role]
        again = self._world.agent(replace(last.site), last.role.parameters, last.folder)
        self._agents[node, role] = again
        again.begin(again.role.start(again.env)).add_done_callback(lambda task: self._started(again, task))

    def _started(self, agent: Agent, task: asyncio.Task[None]) -> None:
        if agent.alive and not task.cancelled() and task.exception() is None:
            self.ready(agent.node, agent.role_name)

    def pause(self, node: str) -> None:
        """The agents of ``node`` stand still."""
        self._pauses.pause(node)

    def resume(self, node: str) -> None:
        """They go on."""
        self._pauses.resume(node)

    def skew(self, calendar: SetCalendar) -> None:
        """The roles of a node read another calendar."""
        self._world.skew(calendar)

    def attach(self, node: str, link: str) -> None:
        """All traffic of ``node`` goes over ``link``."""
        self._world.network.attach(node, link)

    def press(self, load: Press) -> None:
        """Nothing: there are no processors here; the verdict says so."""

    def close(self) -> None:
        """All that stand still go on."""
        self._pauses.end()
