"""The whole system over real gRPC on loopback addresses."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from soe_live import loopback, until

from roles.serverless_on_edge.messages import GET_TABLE, STREAM_UTIL, ForwardingTable, TableId, Utilization, Void
from testbed.roles.api import Function

FUNCTIONS = {"f": Function(name="f", service_s=0.02), "up": Function(name="up", code="/nowhere/up.py")}


def test_modelled_and_real_functions_are_called_through_a_router(tmp_path: Path) -> None:
    async def story() -> None:
        places = {"controller": "h0", "router": "h1", "computer": "h2 h3", "client": "h4"}
        async with loopback(tmp_path, "127.71.1", FUNCTIONS, **places) as net:
            # Any order works: the computers are there first.
            await asyncio.gather(net.start("computer", "h2"), net.start("computer", "h3"),
                                 net.start("router", "h1"), net.start("controller", "h0"))  # fmt: skip
            await net.start("client", "h4")
            modelled = await net.invoke("h4", "f", "x" * 1000)
            assert (modelled.status, modelled.hops, modelled.output) == ("ok", 2, "x" * 1000)
            assert modelled.node in ("h2", "h3") and modelled.exec_s == pytest.approx(0.02)
            real = await net.invoke("h4", "up", "abc")
            assert (real.status, real.output, real.hops) == ("ok", "ABC", 2)
            failed = await net.invoke("h4", "up", "boom")
            assert failed.status == "error" and "ValueError: boom" in failed.error
            assert (await net.invoke("h4", "up", "abc")).status == "ok", "one bad request must not empty the tables"
            assert (await net.invoke("h4", "nothing", "")).status == "rejected"

    asyncio.run(story())
    rows = (tmp_path / "h2-computer" / "soe_utilization.csv").exists() or (tmp_path / "h1-router" / "soe_tables.csv")
    assert rows


def test_a_computer_that_dies_is_left_and_found_again_when_it_is_back(tmp_path: Path) -> None:
    async def story() -> None:
        places = {"controller": "h0", "router": "h1 h5", "computer": "h2 h3", "client": "h4"}
        async with loopback(tmp_path, "127.71.2", FUNCTIONS, **places) as net:
            for role, nodes in places.items():
                for node in nodes.split():
                    await net.start(role, node, **({"table_conf": "type=round-robin"} if role == "router" else {}))
            other = net.agents["router", "h5"][1]

            async def table() -> ForwardingTable:
                return await other.call("127.71.2.6:6474", GET_TABLE, TableId(0))

            await until(table, lambda found: len(found.entries) == 4)
            assert {(await net.invoke("h4", "f", "")).node for _ in range(4)} == {"h2", "h3"}
            await net.kill("computer", "h2")
            outcomes = [await net.invoke("h4", "f", "") for _ in range(4)]
            assert {(each.status, each.node) for each in outcomes} == {("ok", "h3")}
            await until(table, lambda found: {each.destination for each in found.entries} == {"127.71.2.4:10000"})
            await net.start("computer", "h2")
            await until(table, lambda found: len(found.entries) == 4)

            async def who() -> str:
                return (await net.invoke("h4", "f", "")).node

            await until(who, lambda node: node == "h2")

    asyncio.run(story())


def test_a_controller_that_starts_anew_hears_from_everyone(tmp_path: Path) -> None:
    async def story() -> None:
        places = {"controller": "h0", "router": "h1", "computer": "h2", "client": "h4"}
        async with loopback(tmp_path, "127.71.3", FUNCTIONS, **places) as net:
            for role, node in places.items():
                await net.start(role, node)
            await net.kill("controller", "h0")
            assert (await net.invoke("h4", "f", "")).status == "ok", "calls do not need the controller"
            controller = await net.start("controller", "h0")

            async def known() -> tuple[int, int]:
                return len(controller.installer.routers), len(controller.installer.computers)

            await until(known, lambda found: found == (1, 1))
            await net.start("computer", "h3")

            async def table() -> ForwardingTable:
                return await net.agents["router", "h1"][1].call("127.71.3.2:6474", GET_TABLE, TableId(1))

            await until(table, lambda found: len(found.entries) == 4)

    asyncio.run(story())


def test_the_utilisation_stream_tells_each_processor(tmp_path: Path) -> None:
    async def story() -> None:
        async with loopback(tmp_path, "127.71.4", FUNCTIONS, computer="h2", client="h4") as net:
            await net.start("computer", "h2", controller_endpoint="none")
            await net.start("client", "h4")
            stream = net.agents["client", "h4"][1].stream("127.71.4.3:20000", STREAM_UTIL, Void())
            first: Utilization = await anext(aiter(stream))
            assert set(first.values) == {"cpu", "functions"}

    asyncio.run(story())
    assert "cpu" in (tmp_path / "h2-computer" / "soe_utilization.csv").read_text()
