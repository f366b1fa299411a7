"""The roles over real HTTP and real files, in one process: what a dying node and a silent one mean to callers."""

from __future__ import annotations

import asyncio
from pathlib import Path

from scs_live import Loopback, service

from testbed.roles.api import Function, Invocation, Outcome


async def invoked(world: Loopback, name: str = "f") -> Outcome:
    role, env = world.agents["c"]
    return await role.invoke(env, Invocation(0, 0.0, "c", name, "payload"), 30.0)  # type: ignore[attr-defined,no-any-return]


def test_a_cold_and_a_hot_call_tell_where_their_time_went(tmp_path: Path) -> None:
    async def story() -> tuple[Outcome, Outcome]:
        function = Function(name="f", service_s=0.05, image_bytes=2_000_000)
        async with service(tmp_path, "127.7.20", function, cold_start="200ms", disk_write="20MB/s") as world:
            return await invoked(world), await invoked(world)

    cold, hot = asyncio.run(story())
    assert (cold.status, cold.cold, hot.status, hot.cold) == ("ok", True, "ok", False)
    assert (cold.queue_s or 0) > 0.1 and (cold.init_s or 0) >= 0.2 and (cold.exec_s or 0) >= 0.05
    assert (hot.queue_s or 0) + (hot.init_s or 0) < (cold.queue_s or 0)
    assert hot.output == "payload"


def test_a_call_fails_with_its_node_and_the_next_runs_when_it_is_back(tmp_path: Path) -> None:
    async def story() -> tuple[Outcome, Outcome]:
        async with service(tmp_path, "127.7.21", Function(name="f", service_s=0.4, image_bytes=1000)) as world:
            await invoked(world)
            first = asyncio.ensure_future(invoked(world))
            await asyncio.sleep(0.1)
            await world.kill("n1")
            lost = await first
            second = asyncio.ensure_future(invoked(world))
            await world.start("node", "n1", slots=2, heartbeat="100ms")
            return lost, await second

    lost, second = asyncio.run(story())
    assert lost.status == "error" and lost.error.startswith("node_lost")
    assert second.status == "ok"


def test_an_image_that_the_registry_has_not_is_told(tmp_path: Path) -> None:
    async def story() -> Outcome:
        async with service(tmp_path, "127.7.22", Function(name="f", service_s=0.1, image_bytes=1000)) as world:
            await world.kill("r")
            return await invoked(world)

    outcome = asyncio.run(story())
    assert outcome.status == "error" and outcome.error.startswith("image_fetch_failed: f:")


def test_a_hundred_calls_at_once_all_end(tmp_path: Path) -> None:
    async def story() -> list[Outcome]:
        async with service(tmp_path, "127.7.23", Function(name="f", service_s=0.01, image_bytes=1000)) as world:
            return list(await asyncio.gather(*(invoked(world) for _ in range(100))))

    assert {each.status for each in asyncio.run(story())} == {"ok"}
