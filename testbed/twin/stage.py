"""A twin for scripts: place agents of a system on a topology, write a story in Python, run it in virtual time.

Importing this module makes ``import roles.…`` work, wherever the script is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

from testbed import places
from testbed.errors import UsageError
from testbed.roles import discover
from testbed.roles.api import Environment, Function, Role, Site
from testbed.topology.load import load, parse
from testbed.topology.model import Topology
from testbed.twin.agent import Agent
from testbed.twin.calibration import Calibration
from testbed.twin.functions import Code, Codes
from testbed.twin.options import TwinOptions
from testbed.twin.world import World

T = TypeVar("T")

places.open_home()


class Stage:
    """``network`` is a topology, a file of one, or its text in YAML; ``options`` are those of ``twin:`` in experiments.

    Unless told otherwise, links are ideal (``tcp_efficiency`` 1) and messages cost nothing but the links' delay.
    """

    def __init__(
        self,
        network: Topology | Path | str,
        system: str,
        seed: int = 1,
        calibration: Calibration | None = None,
        **options: Any,
    ) -> None:
        self.functions: dict[str, Function] = {}
        self._codes = Codes()
        chosen = TwinOptions(**{"tcp_efficiency": 1.0, "messages": "free", **options})
        topology = network if isinstance(network, Topology) else _read(network)
        self.world = World(topology, discover.system(system), seed, chosen, calibration, self._codes)
        self._waiting: list[Agent] = []
        self._begun = 0.0

    def define(self, function: Function, code: Code | None = None) -> None:
        """Have a function; with ``code``, a Python callable ``code(ctx, payload)`` of the script itself.

        Raises UsageError if the name stands for another function already.
        """
        if code is not None:
            function = function.model_copy(update={"code": f"<{function.name}>"})
        known = self.functions.get(function.name)
        if known is not None and (known != function or self._codes.given.get(function.name) is not code):
            raise UsageError(f"There is another function called {function.name!r} already; give this one its own name.")
        self.functions[function.name] = function
        if code is not None:
            self._codes.given[function.name] = code

    def place(
        self, node: str, role: str, among: Mapping[str, tuple[str, ...]], parameters: Mapping[str, Any] | None = None
    ) -> Site:
        """An agent on ``node`` that knows the nodes ``among`` by role; it starts with the story.

        What is there already in that role is shared. Raises UsageError for a node that there is not, and
        pydantic.ValidationError for wrong parameters.
        """
        self._check(node)
        for named in (each for nodes in among.values() for each in nodes):
            self._check(named)
        if (node, role) in self.world.agents:
            return self.world.agents[node, role].site
        site = self.world.site(node, role, among, self.functions)
        kind = self.world.system.roles[role].parameters_model
        self._waiting.append(self.world.agent(site, kind.model_validate(dict(parameters or {}))))
        return site

    def environment(self, node: str) -> Environment:
        """The environment of a bystander on ``node``: for code of the script that calls others."""
        self._check(node)
        site = self.world.site(node, "script", {}, self.functions)
        return Agent(self.world, site, _Bystander(site, None), None).env

    def _check(self, node: str) -> None:
        found = self.world.topology.nodes.get(node)
        if found is None or found.kind == "switch":
            hosts = ", ".join(each.name for each in self.world.topology.of_kind("host", "router"))
            raise UsageError(f"There is no host {node!r} in {self.world.topology.name}; there are: {hosts}.")

    def now(self) -> float:
        """Virtual seconds since the story began."""
        return self.world.loop.now - self._begun

    def since(self, moment: float | None) -> float | None:
        """A moment of the twin's clock in seconds since the story began; None stays None."""
        return None if moment is None else moment - self._begun

    async def sleep(self, seconds: float) -> None:
        """Let virtual time pass."""
        await self.world.loop.sleep(seconds)

    def run(self, story: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Start the agents, tell the story, end everything; what the story raises is raised here. Once for a stage."""

        async def whole() -> T:
            waiting, self._waiting = self._waiting, []
            await asyncio.gather(*(self.world.start(agent) for agent in waiting))
            self._begun = self.world.loop.now
            return await story()

        try:
            return self.world.run(whole())
        finally:
            self.world.close()


class _Bystander(Role):
    async def start(self, env: Environment) -> None:
        """Nothing to do."""


def _read(network: Path | str) -> Topology:
    if isinstance(network, str) and "\n" in network:
        return parse(network, "the script's network")
    return load(places.find(Path(network)))
