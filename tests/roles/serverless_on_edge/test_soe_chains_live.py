"""Chains, DAGs and states over real gRPC, also with a client and a state server made by the standard tools."""

from __future__ import annotations

import asyncio
from concurrent import futures
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import pytest
from soe_live import Loopback, loopback, until

from roles.serverless_on_edge.messages import GET_TABLE, TableId
from testbed.roles.api import Function

FUNCTIONS = {name: Function(name=name, service_s=0.02, concurrency=5) for name in ("f1", "f2", "f3", "f4")}
PLACES = {"controller": "h0", "router": "h1", "computer": "h2 h3", "client": "h4"}
CHAINS = {
    "chain": {"functions": "f1,f2,f1", "dependencies": {"s": "f1", "t": "f2"}, "state-sizes": {"s": "1kB", "t": "2MB"}},
    "diamond": {"functions": "f1,f2,f3,f4", "successors": [[1, 2], [3], [3]], "dependencies": {"s": "f1,f3,f4"},
                "state-sizes": {"s": "10kB"}},
}  # fmt: skip


async def begin(net: Loopback, prefix: str) -> None:
    """All but the client; every function is on both computers."""
    await net.start("controller", "h0")
    await net.start("router", "h1", table_conf="type=round-robin")
    for node in ("h2", "h3"):
        await net.start("computer", node, asynchronous=True, state_endpoint=30000)
    env = net.agents["router", "h1"][1]

    async def table() -> int:
        return len((await env.call(f"{prefix}.2:6474", GET_TABLE, TableId(0))).entries)

    await until(table, lambda found: found == 8)


@pytest.mark.parametrize(("number", "model"), [(11, "pure-faas"), (12, "state-prop"), (13, "state-local")])
def test_chains_and_dags_run_in_each_execution_model(tmp_path: Path, number: int, model: str) -> None:
    async def story() -> None:
        async with loopback(tmp_path, f"127.71.{number}", FUNCTIONS, **PLACES) as net:
            await begin(net, f"127.71.{number}")
            await net.start("client", "h4", execution_model=model, chains=CHAINS)
            calls = [net.invoke("h4", each, "x" * 1000) for each in ("chain", "diamond", "f1", "chain", "diamond")]
            outcomes = await asyncio.gather(*calls)
            assert [each.status for each in outcomes] == ["ok"] * 5, outcomes
            assert [each.hops for each in outcomes[:1]] == [6]
            assert all(each.output == "x" * 1000 for each in outcomes)
            assert outcomes[0].exec_s == pytest.approx(0.06)
            stores = [net.agents["computer", node][0].home.store for node in ("h2", "h3")]  # type: ignore[attr-defined]

            async def left() -> int:
                return sum(len(store.names()) for store in stores)

            await until(left, lambda found: found == 0)

    asyncio.run(story())


def test_a_client_in_another_language_gets_its_callback_and_keeps_states_of_its_own(
    tmp_path: Path, generated: tuple[ModuleType, ModuleType]
) -> None:
    pb, stubs = generated
    answered: asyncio.Queue[Any] = asyncio.Queue()
    held = {"s": b"content", "idle": b"never asked for"}

    async def story() -> None:
        loop = asyncio.get_running_loop()

        class Theirs(stubs.CallbackServerServicer, stubs.StateServerServicer):  # type: ignore[misc, name-defined]
            def ReceiveResponse(self, answer: Any, _: Any) -> Any:  # noqa: N802 - gRPC's names
                loop.call_soon_threadsafe(answered.put_nowait, answer)
                return pb.Void()

            def Get(self, asked: Any, _: Any) -> Any:  # noqa: N802
                return pb.StateResponse(retcode="OK", state=pb.State(content=held[asked.name]))

            def Del(self, asked: Any, _: Any) -> Any:  # noqa: N802
                return pb.StateResponse(retcode="OK" if held.pop(asked.name, None) else "state not found")

        server = grpc.server(futures.ThreadPoolExecutor(4))
        stubs.add_CallbackServerServicer_to_server(Theirs(), server)
        stubs.add_StateServerServicer_to_server(Theirs(), server)
        server.add_insecure_port("127.71.14.5:6480")
        server.start()
        async with loopback(tmp_path, "127.71.14", FUNCTIONS, **PLACES) as net:
            await begin(net, "127.71.14")
            request = pb.LambdaRequest(
                name="f1", input="hello", callback="127.71.14.5:6480", chain=["f1", "f2"], uuid="theirs",
                states={each: pb.State(location="127.71.14.5:6480") for each in held},
                dependencies={"s": pb.FunctionList(functions=["f2"])},
            )  # fmt: skip
            async with grpc.aio.insecure_channel("127.71.14.2:6473") as channel:
                ack = await stubs.EdgeServerStub(channel).RunLambda(request)
            assert (ack.retcode, ack.asynchronous) == ("OK", True)
            answer = await asyncio.wait_for(answered.get(), 20)
            assert (answer.retcode, answer.output, answer.uuid) == ("OK", "hello", "theirs")
            assert answer.responder == answer.states["s"].location.replace(":30000", ":10000")
            assert answer.states["idle"].location == "127.71.14.5:6480"
        server.stop(0).wait()

    asyncio.run(story())
    assert held == {"idle": b"never asked for"}
