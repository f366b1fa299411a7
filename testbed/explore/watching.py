"""A world that is listened to: calls and their failures, rows of the system's tables, warnings, what clients see."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from testbed.experiment.model import Experiment
from testbed.explore.telling import Timeline, Weight, row_shown
from testbed.roles.api import CallFailed, Client, Environment, Invocation, Method, Outcome, Parameters, Site
from testbed.tables import Row
from testbed.twin import calibration
from testbed.twin.agent import CURRENT, Agent
from testbed.twin.environment import TwinEnvironment
from testbed.twin.world import World

Request = TypeVar("Request")
Reply = TypeVar("Reply")
Flaw = Callable[[str, str], None]  # told of the name of what is violated, and of a sentence


class WatchedWorld(World):
    """The world of an experiment; ``flaw`` is told of what no agent should do."""

    def __init__(self, experiment: Experiment, flaw: Flaw) -> None:
        options = experiment.file.twin
        known = calibration.read(experiment.folder / options.calibration) if options.calibration else None
        super().__init__(experiment.topology, experiment.system, experiment.seed, options, known)
        nodes = {str(each.ip): node for node, ends in experiment.topology.interfaces.items()
                 for _, end in ends for each in (end.ipv4, end.ipv6) if each is not None}  # fmt: skip
        self.told, self.flaw, self.is_over = Timeline(nodes), flaw, False

    def tell(self, *parts: object, weight: Weight = "news") -> None:
        """Put a line into the timeline, now; none after the end of the story."""
        if not self.is_over:
            self.told.add(self.loop.now, *parts, weight=weight)

    def agent(self, site: Site, parameters: Parameters | None = None, folder: Path | None = None) -> Agent:
        """An agent whose environment is listened to."""
        agent = super().agent(site, parameters, folder)
        agent.env = _Ear(self, agent)
        return agent

    @contextmanager
    def logging(self) -> Iterator[None]:
        """Meanwhile, what roles log stands in the timeline instead of on the terminal."""
        handler, root = _Log(self), logging.getLogger()
        root.addHandler(handler)
        try:
            yield
        finally:
            root.removeHandler(handler)


class _Log(logging.Handler):
    def __init__(self, world: WatchedWorld) -> None:
        super().__init__()
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        agent = CURRENT.get()
        who = f"{agent.role_name} on {agent.node}" if agent is not None else record.name
        self._world.tell(f"{who} logs: {record.getMessage()}")


class _Ear(TwinEnvironment):
    """The environment of one agent, with everything that it does in the timeline."""

    def __init__(self, world: WatchedWorld, agent: Agent) -> None:
        super().__init__(world, agent)
        self._told, self._me = world, f"{agent.role_name} on {agent.node}"

    async def call(
        self, address: str, method: Method[Request, Reply], message: Request, timeout: float = 10.0
    ) -> Reply:
        """As ever; an answer that is an error of the program is a flaw of whoever serves there."""
        if self._agent.alive:
            self._told.tell(self._me, "calls", address, message, weight="detail")
        try:
            reply = await super().call(address, method, message, timeout)
        except CallFailed as failure:
            self._told.tell(f"{self._me}: {method.name} to {address} failed, {failure}")
            if failure.kind == "protocol":
                self._told.flaw("agents do not fail", f"{address} failed at {method.name}: {failure.detail}")
            raise
        self._told.tell(self._me, "hears from", address, reply, weight="detail")
        return reply

    def emit(self, table: str, row: Row) -> None:
        """As ever."""
        if self._agent.alive:
            self._told.tell(f"{self._me}: {table}:", row_shown(row), weight="row")
        super().emit(table, row)


class WatchedClient(Client):
    """In the place of a system's client; ``sent`` gets when each invocation was sent."""

    def __init__(self, inner: Client, world: WatchedWorld, sent: dict[int, float]) -> None:
        super().__init__(inner.site, inner.parameters)
        self._inner, self._world, self._sent = inner, world, sent

    async def invoke(self, env: Environment, invocation: Invocation, timeout: float) -> Outcome:
        """Carry out one invocation."""
        world, name = self._world, f"invocation {invocation.invocation_id}"
        began = self._sent[invocation.invocation_id] = world.loop.now
        world.tell(f"{name}: {invocation.function} sent by {invocation.client}", weight="detail")
        try:
            outcome = await self._inner.invoke(env, invocation, timeout)
        except asyncio.CancelledError:
            world.tell(f"{name}: given up after {world.loop.now - began:.3f} s")
            raise
        except CallFailed as failure:
            world.tell(f"{name}: {failure}")
            raise
        except Exception as error:
            world.flaw("agents do not fail", f"the client failed at {name}: {type(error).__name__}: {error}")
            raise
        where = f" by {outcome.node}" if outcome.node else ""
        why = f": {outcome.error}" if outcome.error else ""
        weight: Weight = "detail" if outcome.status == "ok" else "news"
        world.tell(f"{name}: {outcome.status}{where} after {world.loop.now - began:.3f} s{why}", weight=weight)
        return outcome
