"""Agents die and return at random; afterwards everybody knows everybody, and every invocation has had an outcome."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import pytest
from soe_world import World

from roles.serverless_on_edge.messages import TableId
from testbed.roles.api import Function, Invocation

ROUTERS, COMPUTERS = ("h1", "h2"), ("h3", "h4", "h5")
MATRIX = "\n".join(f"h{i} " + " ".join(str(abs(i - j)) for j in range(8)) for i in range(8))


class Chaos:
    """Kills and revives agents, a few a second, while a client calls ten times a second."""

    def __init__(self, seed: int, **controller: Any) -> None:
        self.world = World(functions={"f": Function(name="f", service_s=0.05), "g": Function(name="g", service_s=0.2)})
        self.world.place(controller="h0", router=" ".join(ROUTERS), computer=" ".join(COMPUTERS))
        self.rng, self.controller = random.Random(seed), controller
        self.alive: dict[str, Any] = {}
        self.roles = {"h0": "controller", **dict.fromkeys(ROUTERS, "router"), **dict.fromkeys(COMPUTERS, "computer")}

    async def revive(self, node: str) -> None:
        role = self.roles[node]
        self.alive[node] = await self.world.start(role, node, **(self.controller if role == "controller" else {}))

    async def rage(self, seconds: float) -> None:
        end = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < end:
            await asyncio.sleep(self.rng.expovariate(1.0))
            node = self.rng.choice(list(self.roles))
            if node in self.alive:
                self.world.stop(node)
                del self.alive[node]
            else:
                await self.revive(node)
        for node in self.roles:
            if node not in self.alive:
                await self.revive(node)

    async def use(self, seconds: float) -> Counter[str]:
        client = await self.world.start("client", "h7", server_endpoints="h1", retries=1)
        calls = []
        for number in range(round(seconds * 10)):
            await asyncio.sleep(0.1)
            call = Invocation(number, 0.0, "h7", self.rng.choice("fg"), "x")
            calls.append(asyncio.ensure_future(client.invoke(client.env, call, 5)))
        return Counter(outcome.status for outcome in await asyncio.gather(*calls))

    async def tables(self) -> list[set[tuple[str, str, bool]]]:
        answers = [await self.alive[node].get_table(TableId(0)) for node in ROUTERS]
        return [{(entry.function, entry.destination, entry.final) for entry in each.entries} for each in answers]

    async def tell(self) -> list[set[tuple[str, str, bool]]]:
        for node in self.roles:
            await self.revive(node)
        _, outcomes = await asyncio.gather(self.rage(60), self.use(60))
        assert outcomes.total() == 600, outcomes
        await asyncio.sleep(12)
        assert await self.use(3) == {"ok": 30}
        return await self.tables()


@pytest.mark.parametrize("seed", range(6))
def test_a_flat_system_settles_after_any_deaths_and_returns(seed: int) -> None:
    chaos = Chaos(seed)
    everything = {(function, f"10.0.0.{node[1]}:10000", True) for function in "fg" for node in COMPUTERS}
    assert chaos.world.run(chaos.tell()) == [everything, everything]


@pytest.mark.parametrize("seed", range(6))
def test_a_hierarchical_system_settles_after_any_deaths_and_returns(seed: int) -> None:
    chaos = Chaos(seed, installer_type="hier", topology_file=MATRIX)
    near, far = chaos.world.run(chaos.tell())
    # h2 is nearer to all computers than h1, which reaches them through it.
    assert far == {(function, f"10.0.0.{node[1]}:10000", True) for function in "fg" for node in COMPUTERS}
    assert near == {(function, "10.0.0.2:6473", False) for function in "fg"}
