"""The whole service in the twin on an ideal platform: registry r, head h, nodes n1, n2, ..., a client c at the head.

r reaches h at 12.5 MB/s, h each node at 125 MB/s on a link of its own; disks read and write at 100 MB/s, links have no
delay, messages are free. An image of 100 MB is downloaded in 8 s, copied in 1 s, loaded in 1 s.
"""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from roles.serverless_compute import messages
from roles.serverless_compute.messages import Progress
from roles.serverless_compute.service import Service
from roles.serverless_compute.system import SYSTEM
from testbed.roles.api import Function
from testbed.topology.load import parse
from testbed.topology.model import End
from testbed.twin.agent import Agent
from testbed.twin.functions import Codes
from testbed.twin.options import TwinOptions
from testbed.twin.world import World

T = TypeVar("T")
MB, GB = 10**6, 10**9
START = 4.0  # virtual seconds: by then all agents are members
MOMENTS = ("t_submit", "t_admit", "t_schedulable", "t_dispatch", "t_start", "t_end")


def function(name: str = "f", seconds: float | None = 1.0, **fields: Any) -> Function:
    """A modelled function with the image of the reference platform, no memory of its own and no time limit."""
    given = {"image": f"{name}-image", "image_bytes": 100 * MB, "memory_bytes": 0, "time_limit_s": 0, **fields}
    return Function(name=name, service_s=seconds, **given)


def times(answer: Progress) -> tuple[float | None, ...]:
    """Dispatch, start and end, to the microsecond."""
    return tuple(None if each is None else round(each, 6) for each in (answer.t_dispatch, answer.t_start, answer.t_end))


class Platform:
    """``head`` and ``node`` are options of the roles, ``nodes`` of each node by name, ``rate`` that of R's link."""

    def __init__(
        self,
        *functions: Function,
        nodes: Sequence[str] | Mapping[str, Mapping[str, Any]] = ("n1", "n2"),
        codes: Mapping[str, Callable[[Any, str], object]] | None = None,
        node: Mapping[str, Any] | None = None,
        rate: str = "100Mbit",
        seed: int = 1,
        folder: Path | None = None,
        **head: Any,
    ) -> None:
        disk = {"disk_read": "100MB/s", "disk_write": "100MB/s"}
        self.names = tuple(nodes)
        own = nodes if isinstance(nodes, Mapping) else {}
        links = "".join(f"  - {{ends: [h, {name}], rate: 1Gbit, name: h-{name}}}\n" for name in self.names)
        nodes_text = "  h: {kind: router}\n" + "".join(f"  {name}: {{}}\n" for name in ("r", "c", *self.names))
        links += f"  - {{ends: [r, h], rate: {rate}, name: r-h}}\n  - [c, h]\n"
        text = f"name: ideal\nnodes:\n{nodes_text}links:\n{links}"
        options = TwinOptions(tcp_efficiency=1.0, messages="free")
        self.world = World(parse(text, "ideal.yaml"), SYSTEM, seed, options, codes=Codes(codes or {}))
        places = {"registry": ("r",), "head": ("h",), "node": self.names, "client": ("c",)}
        known = {each.name: each for each in functions or (function(),)}
        given = {
            ("r", "registry"): {"disk_read": "100MB/s"},
            ("h", "head"): {"cold_start": "0.5s", **disk, **head},
            **{(name, "node"): {"slots": 2, **disk, **(node or {}), **own.get(name, {})} for name in self.names},
            ("c", "client"): {},
        }
        self.agents: dict[tuple[str, str], Agent] = {}
        for (name, role), parameters in given.items():
            site = self.world.site(name, role, places, known)
            made = SYSTEM.roles[role].parameters_model.model_validate(parameters)
            own_folder = folder / name if folder else None
            if own_folder is not None:
                own_folder.mkdir()
            self.agents[name, role] = self.world.agent(site, made, own_folder)
        self.folder = folder
        head_role = self.agents["h", "head"].role
        assert isinstance(head_role, Service)
        self.head = head_role
        self.client = self.agents["c", "client"]
        self.address = self.client.site.endpoint("h", 8090)

    def run(self, story: Callable[[], Awaitable[T]]) -> T:
        """Start all agents, tell the story from 4 s on, end everything."""

        async def whole() -> T:
            started = [asyncio.ensure_future(self.world.start(each)) for each in self.agents.values()]
            await asyncio.gather(*started)
            await self.until(0)
            return await story()

        try:
            return self.world.run(whole())
        finally:
            self.world.close()

    def now(self) -> float:
        """Seconds after the beginning of the story."""
        return self.world.loop.now - START

    async def until(self, t: float) -> None:
        """Wait for a moment of the story."""
        await self.world.loop.sleep(START + t - self.world.loop.now)

    async def ask(self, method: Any, message: Any, timeout: float = 100_000.0) -> Any:
        """Call the head as a client does."""
        return await self.client.env.call(self.address, method, message, timeout)

    async def call(self, t: float, name: str = "f", payload: str = "") -> Progress:
        """Invoke at a moment of the story and wait for the end; its moments are those of the story."""
        await self.until(t)
        return shifted(await self.ask(messages.INVOKE, messages.Invoke(name, payload, None)))

    def calls(self, *when: float | tuple[float, str] | tuple[float, str, str]) -> list[Progress]:
        """The ends of calls at these moments, in this order."""

        async def story() -> list[Progress]:
            given = [each if isinstance(each, tuple) else (each,) for each in when]
            return await asyncio.gather(*(asyncio.ensure_future(self.call(*each)) for each in given))

        return self.run(story)

    def rows(self, node: str, table: str) -> list[dict[str, str]]:
        """What an agent wrote into a table; needs a folder."""
        assert self.folder is not None
        with (self.folder / node / f"{table}.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    def carried(self, end: str, link: str) -> int:
        """Payload bytes that left one end of a link."""
        return round(self.world.network._carriers[End(link, end)].payload)


def shifted(answer: Progress) -> Progress:
    """The same with the moments of the story."""
    moved = {name: at - START for name in MOMENTS if (at := getattr(answer, name)) is not None}
    return replace(answer, **moved)
