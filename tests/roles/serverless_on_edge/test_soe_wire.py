"""gRPC on loopback: independent clients and servers made by protoc, failures, forking, both address families."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from types import ModuleType
from typing import Any

import grpc
import pytest
from soe_live import until

from roles.serverless_on_edge.messages import (
    ANNOUNCE_COMPUTER,
    OK,
    RUN_LAMBDA,
    STREAM_UTIL,
    ComputerInfo,
    LambdaRequest,
    LambdaResponse,
    Utilization,
    Void,
)
from roles.serverless_on_edge.wire import GrpcWire
from testbed.roles.api import CallFailed

HOST = "127.72.0.1"


async def echo(request: LambdaRequest) -> LambdaResponse:
    return LambdaResponse(OK, request.input, "me", hops=request.hops + 1)


async def three(_: Void) -> AsyncIterator[Utilization]:
    for share in (0.25, 0.5, 1.0):
        yield Utilization({"cpu": share})


def told(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 60))


def test_a_client_made_by_protoc_is_served(generated: tuple[ModuleType, ModuleType]) -> None:
    pb, stubs = generated

    def foreign() -> tuple[Any, list[float]]:
        with grpc.insecure_channel(f"{HOST}:7001") as channel:
            reply = stubs.EdgeServerStub(channel).RunLambda(pb.LambdaRequest(name="f", input="hi", hops=1), timeout=10)
            stream = stubs.EdgeComputerStub(channel).StreamUtil(pb.Void(), timeout=10)
            return reply, [message.values["cpu"] for message in stream]

    async def story() -> None:
        wire = GrpcWire()
        await wire.serve(HOST, 7001, {RUN_LAMBDA: echo, STREAM_UTIL: three})
        reply, shares = await asyncio.to_thread(foreign)
        assert (reply.retcode, reply.output, reply.responder, reply.hops) == ("OK", "hi", "me", 2)
        assert shares == [0.25, 0.5, 1.0]
        await wire.close()

    told(story())


def test_a_server_made_by_protoc_is_understood(generated: tuple[ModuleType, ModuleType]) -> None:
    pb, stubs = generated

    class Foreign(stubs.EdgeServerServicer, stubs.EdgeControllerServicer):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            self.computers: list[Any] = []

        async def RunLambda(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
            return pb.LambdaResponse(retcode="OK", output=request.input.upper(), hops=request.hops + 1, load1=50)

        async def AnnounceComputer(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
            self.computers.append(request.edgeServerEndpoint)
            return pb.Void()

    async def story() -> None:
        server, foreign, wire = grpc.aio.server(), Foreign(), GrpcWire()
        stubs.add_EdgeServerServicer_to_server(foreign, server)
        stubs.add_EdgeControllerServicer_to_server(foreign, server)
        server.add_insecure_port(f"{HOST}:7002")
        await server.start()
        reply = await wire.call(f"{HOST}:7002", RUN_LAMBDA, LambdaRequest("f", "hi"), 10)
        assert reply == LambdaResponse("OK", "HI", hops=1, load1=50)
        assert await wire.call(f"{HOST}:7002", ANNOUNCE_COMPUTER, ComputerInfo("c:1"), 10) == Void()
        assert foreign.computers == ["c:1"]
        with pytest.raises(CallFailed) as failed:
            [_ async for _ in wire.stream(f"{HOST}:7002", STREAM_UTIL, Void())]
        assert failed.value.kind == "protocol"
        await wire.close()
        await server.stop(0)

    told(story())


def test_a_port_that_is_taken_is_an_error() -> None:
    async def story() -> None:
        first, second = GrpcWire(), GrpcWire()
        await first.serve(HOST, 7003, {RUN_LAMBDA: echo})
        with pytest.raises(OSError, match=r"127.72.0.1:7003"):
            await second.serve(HOST, 7003, {RUN_LAMBDA: echo})
        await second.serve("127.72.0.2", 7003, {RUN_LAMBDA: echo})  # another address is another matter
        await first.close()
        await second.close()

    told(story())


def test_nobody_there_is_unreachable_and_found_soon_after_it_appears() -> None:
    async def story() -> None:
        caller, server = GrpcWire(), GrpcWire()
        for _ in range(30):
            with pytest.raises(CallFailed) as failed:
                await caller.call(f"{HOST}:7004", RUN_LAMBDA, LambdaRequest("f"), 10)
            assert failed.value.kind == "unreachable"
            await asyncio.sleep(0.05)
        await server.serve(HOST, 7004, {RUN_LAMBDA: echo})
        began = time.monotonic()

        async def code() -> str:
            return (await caller.call(f"{HOST}:7004", RUN_LAMBDA, LambdaRequest("f"), 10)).retcode

        await until(code, lambda found: found == OK)
        assert time.monotonic() - began < 10, "the pause between attempts to connect does not grow beyond a second"
        await caller.close()
        await server.close()

    told(story())


def test_a_server_that_ends_is_unreachable_for_those_who_were_connected() -> None:
    async def story() -> None:
        caller, server = GrpcWire(), GrpcWire()
        await server.serve(HOST, 7005, {RUN_LAMBDA: echo})
        await caller.call(f"{HOST}:7005", RUN_LAMBDA, LambdaRequest("f"), 10)
        await server.close()
        with pytest.raises(CallFailed) as failed:
            await caller.call(f"{HOST}:7005", RUN_LAMBDA, LambdaRequest("f"), 10)
        assert failed.value.kind == "unreachable"
        await caller.close()

    told(story())


def test_a_call_without_an_answer_in_time_is_a_timeout_and_the_server_goes_on() -> None:
    done = []

    async def slow(request: LambdaRequest) -> LambdaResponse:
        await asyncio.sleep(0.4)
        done.append(request.name)
        return LambdaResponse(OK)

    async def story() -> None:
        caller, server = GrpcWire(), GrpcWire()
        await server.serve(HOST, 7006, {RUN_LAMBDA: slow})
        with pytest.raises(CallFailed) as failed:
            await caller.call(f"{HOST}:7006", RUN_LAMBDA, LambdaRequest("f"), 0.1)
        assert failed.value.kind == "timeout"

        async def finished() -> list[str]:
            return done

        await until(finished, lambda names: names == ["f"])
        await caller.close()
        await server.close()

    told(story())


def test_a_handler_that_fails_and_a_method_that_is_not_served_are_protocol_errors() -> None:
    async def broken(request: LambdaRequest) -> LambdaResponse:
        raise RuntimeError("no")

    async def story() -> None:
        caller, server = GrpcWire(), GrpcWire()
        await server.serve(HOST, 7007, {RUN_LAMBDA: broken})
        for method, message in ((RUN_LAMBDA, LambdaRequest("f")), (ANNOUNCE_COMPUTER, ComputerInfo("c:1"))):
            with pytest.raises(CallFailed) as failed:
                await caller.call(f"{HOST}:7007", method, message, 10)  # type: ignore[arg-type]
            assert failed.value.kind == "protocol"
        await caller.close()
        await server.close()

    told(story())


def test_large_inputs_pass() -> None:
    async def story() -> None:
        caller, server = GrpcWire(), GrpcWire()
        await server.serve(HOST, 7008, {RUN_LAMBDA: echo})
        text = "x" * 8_000_000
        assert (await caller.call(f"{HOST}:7008", RUN_LAMBDA, LambdaRequest("f", text), 30)).output == text
        await caller.close()
        await server.close()

    told(story())


def test_ipv6_addresses_stand_in_brackets() -> None:
    async def story() -> None:
        caller, server = GrpcWire(), GrpcWire()
        await server.serve("::1", 7209, {RUN_LAMBDA: echo})
        assert (await caller.call("[::1]:7209", RUN_LAMBDA, LambdaRequest("f"), 10)).retcode == OK
        await caller.close()
        await server.close()

    told(story())


def test_many_calls_at_once_share_one_connection() -> None:
    async def story() -> None:
        caller, server = GrpcWire(), GrpcWire()
        await server.serve(HOST, 7010, {RUN_LAMBDA: echo})
        calls = (caller.call(f"{HOST}:7010", RUN_LAMBDA, LambdaRequest("f", str(i)), 30) for i in range(200))
        replies = await asyncio.gather(*calls)
        assert [reply.output for reply in replies] == [str(i) for i in range(200)]
        assert len(caller._channels) == 1
        await caller.close()
        await server.close()

    told(story())


def test_agents_can_be_forked_from_a_process_that_has_imported_the_wire() -> None:
    # A fresh interpreter: this one has used gRPC already, which is exactly what a fork server must not have.
    script = f"""
import asyncio, os, sys
from testbed.places import open_home
open_home()
import roles.serverless_on_edge.system as soe
from roles.serverless_on_edge.messages import *
from roles.serverless_on_edge.client import *

async def main(port):
    wire = soe.SYSTEM.wire()
    async def echo(request):
        return LambdaResponse(OK, request.input)
    await wire.serve("{HOST}", port, {{RUN_LAMBDA: echo}})
    assert (await wire.call(f"{HOST}:{{port}}", RUN_LAMBDA, LambdaRequest("f", "x"), 10)).output == "x"
    await wire.close()

children = []
for port in (7011, 7012, 7013):
    pid = os.fork()
    if pid == 0:
        asyncio.run(asyncio.wait_for(main(port), 20))
        os._exit(0)
    children.append(pid)
sys.exit(max(os.waitpid(pid, 0)[1] for pid in children) != 0)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})  # fmt: skip
    assert done.returncode == 0, done.stderr
