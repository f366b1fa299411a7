"""The whole of a twin: nodes, network, agents and the loop that they live in.

A script may use it directly::

    world = World(load("topologies/two-hosts.yaml"), SYSTEM)
    agent = world.agent("h1", "worker", parameters)
    world.run(agent.role.start(agent.env))
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextvars import Context
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from testbed.roles.api import Function, Method, Parameters, Service, Site, System
from testbed.timeline.actions import SetCalendar
from testbed.topology.hops import Hops
from testbed.topology.model import Topology
from testbed.twin.agent import CURRENT, Agent, Listener
from testbed.twin.calibration import Calibration
from testbed.twin.disk import TwinFiles
from testbed.twin.functions import Codes
from testbed.twin.journal import TwinJournal
from testbed.twin.loop import VirtualLoop
from testbed.twin.network import TwinNetwork
from testbed.twin.options import TwinOptions

BEGINNING = 1_700_000_000.0  # where calendars stand in the twin at time 0
T = TypeVar("T")
Meddler = Callable[[Method[Any, Any], str, str], Iterable[float]]  # of a request from one node to another


class World:
    """``failed`` is told of an agent that ends by an error of its own; unless it is set, that ends the story."""

    def __init__(
        self,
        topology: Topology,
        system: System,
        seed: int = 1,
        options: TwinOptions | None = None,
        calibration: Calibration | None = None,
        codes: Codes | None = None,
    ) -> None:
        self.topology, self.system, self.seed = topology, system, seed
        self.options, self.calibration = options or TwinOptions(), calibration or Calibration()
        self.loop = VirtualLoop()
        self.loop.task_made = _owned
        self.network = TwinNetwork(topology, seed, self.loop, self.options)
        self.codes = codes or Codes()
        self.agents: dict[tuple[str, str], Agent] = {}
        self.listeners: dict[str, Listener] = {}
        self.depots: dict[str, TwinFiles] = {}
        self.started: dict[tuple[str, str], float] = {}
        self.dead: dict[tuple[str, str], float] = {}
        self.failed: Callable[[Agent, BaseException], None] | None = None
        self.meddler: Meddler | None = None
        self._nodes = {str(each.ip): node for node, ends in topology.interfaces.items()
                       for _, end in ends for each in (end.ipv4, end.ipv6) if each is not None}  # fmt: skip
        self._skews: dict[str, tuple[SetCalendar, float]] = {}
        self._journals: dict[tuple[str, str, str], list[bytes]] = {}
        self._graves: list[asyncio.Future[None]] = []

    # Agents.

    def site(
        self, node: str, role: str, places: Mapping[str, tuple[str, ...]], functions: Mapping[str, Function]
    ) -> Site:
        """What an agent would know in an experiment with these places and functions."""
        nodes = list(dict.fromkeys([node, *(each for found in places.values() for each in found)]))
        addresses = {each: self.topology.address(each) for each in nodes}
        hops, graph = Hops(self.topology, node, nodes), self.topology.graph if self.system.sees_network else {}
        limits = self.topology.nodes[node].limits
        return Site(node, role, self.seed, addresses, places, functions, hops, graph, limits.cores, limits.memory)

    def agent(self, site: Site, parameters: Parameters | None = None, folder: Path | None = None) -> Agent:
        """An agent on its node, not started yet; its tables go to ``folder``."""
        kind = self.system.roles[site.role]
        role = kind(site, parameters if parameters is not None else kind.parameters_model())
        agent = self.agents[site.node, site.role] = Agent(self, site, role, folder)
        self.started[site.node, site.role] = self.loop.now
        self.dead.pop((site.node, site.role), None)
        return agent

    async def start(self, agent: Agent) -> None:
        """Start an agent's role in the agent's own name; an error in it is raised here."""
        await self.loop.create_task(agent.role.start(agent.env), context=agent.context)

    def kill(self, node: str, role: str) -> None:
        """End an agent at this moment, as SIGKILL does; its machine tells its peers."""
        agent = self.agents.pop((node, role), None)
        if agent is not None:
            self._remove(agent)
            agent.die()
            self.dead[node, role] = self.loop.now

    async def restart(self, node: str, role: str, agent: Agent) -> Agent:
        """A new agent in the place of one that died."""
        self.kill(node, role)
        again = self.agent(replace(agent.site), agent.role.parameters, agent.folder)
        await self.start(again)
        return again

    def _remove(self, agent: Agent) -> None:
        self.listeners = {at: each for at, each in self.listeners.items() if each.agent is not agent}
        self.depots = {at: each for at, each in self.depots.items() if each.agent is not agent}

    def agent_failed(self, agent: Agent, error: BaseException) -> None:
        """An error in a task of an agent ends that agent."""
        self.kill(agent.node, agent.role_name)
        if self.failed is None:
            raise error
        self.failed(agent, error)

    # What environments ask.

    def listen(self, agent: Agent, port: int, service: Service) -> None:
        """Serve; raises OSError if the address is taken."""
        self.listeners[self.free_address(agent, port)] = Listener(agent, service)

    def free_address(self, agent: Agent, port: int) -> str:
        """The address of an agent's port; raises OSError if somebody serves there, messages or files."""
        address = agent.site.endpoint(agent.node, port)
        if address in self.listeners or address in self.depots:
            raise OSError(f"{address} is taken")
        return address

    def journal(self, agent: Agent, name: str) -> TwinJournal:
        """The journal ``name`` of the agent's node and role, which outlives the agent; the dead write nothing."""
        records = self._journals.setdefault((agent.node, agent.role_name, name), [])
        return TwinJournal(agent, records)

    def node_at(self, address: str) -> str | None:
        """The node whose address is in ``host:port``, or None."""
        return self._nodes.get(address.rpartition(":")[0].strip("[]"))

    def meddled(self, method: Method[Any, Any], caller: str, server: str) -> Iterable[float]:
        """How much later each copy of a request is taken in: once and at once, unless a fault is injected."""
        return self.meddler(method, caller, server) if self.meddler is not None else (0.0,)

    async def grave(self) -> None:
        """Never returns: where the dead go on."""
        self._graves.append(self.loop.create_future())
        await self._graves[-1]

    # Time.

    def skew(self, calendar: SetCalendar) -> None:
        """The calendar of a node is wrong from now on, or right; whoever reads it there, now or later."""
        self._skews[calendar.node] = calendar, self.loop.now

    def calendar(self, node: str) -> float:
        """What the calendar of a node says, in seconds since 1970."""
        if node not in self._skews:
            return BEGINNING + self.loop.now
        wrong, since = self._skews[node]
        return BEGINNING + self.loop.now + wrong.by + wrong.drift * (self.loop.now - since)

    def run(self, story: Coroutine[Any, Any, T]) -> T:
        """Run until ``story`` is over; what it and the agents raise is raised here."""
        return self.loop.run(story)

    def close(self) -> None:
        """End all agents and what their functions run in."""
        for agent in self.agents.values():
            agent.flush()
            agent.functions.close()
        self.codes.close()


def _owned(task: asyncio.Task[Any], context: Context | None) -> None:
    """A task dies with the agent in whose name it runs, whoever made it."""
    agent = CURRENT.get() if context is None else context.get(CURRENT)
    if agent is not None:
        agent.owns(task)
