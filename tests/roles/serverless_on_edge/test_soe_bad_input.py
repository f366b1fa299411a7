"""Bytes that are no message, in requests to every gRPC port and in the answers of others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from soe_live import loopback
from soe_raw import CODEC, METHODS, REFUSED, TOO_MUCH, UNKNOWN_METHOD, Town, town, unharmed

from roles.serverless_on_edge.codec import wired_fields
from roles.serverless_on_edge.messages import (
    ANNOUNCE_COMPUTER,
    ANNOUNCE_ROUTER,
    CONFIGURE,
    OK,
    PUT_STATE,
    RECEIVE_RESPONSE,
    RUN_LAMBDA,
    Action,
    Change,
    ComputerInfo,
    Container,
    EdgeRouterConf,
    FunctionList,
    LambdaRequest,
    LambdaResponse,
    RouterInfo,
    State,
)
from testbed.roles.api import Function

NO_MESSAGES = {
    "no tag": b"\xff\xff\xff",
    "cut": b"\x0a\x05abc",
    "longer than everything": b"\x0a\xff\xff\xff\xff\x0fx",
    "a kind that does not exist": b"\x0e",
    "groups without an end": b"\xa3\x06" * 200,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """One system for all: after each test it is well, and its tables are what they were."""
    with town(tmp_path_factory.mktemp("town")) as made:
        yield made


@pytest.fixture(autouse=True)
def well(place: Town) -> Iterator[None]:
    with unharmed(place):
        yield


@pytest.mark.parametrize("what", NO_MESSAGES)
def test_bytes_that_are_no_message_are_refused_by_every_method(place: Town, what: str) -> None:
    async def story() -> None:
        said = [(method.name, address, await place.send(address, method.name, NO_MESSAGES[what]))
                for method, address in place.servers]  # fmt: skip
        assert [each for each in said if each[2][0] != REFUSED] == []
        assert all(f"are no {method.request.__name__}" in each[2][1]
                   for each, (method, _) in zip(said, place.servers, strict=True))  # fmt: skip

    place.run(story())


def test_text_that_is_not_utf8_is_refused_by_every_method_that_takes_text(place: Town) -> None:
    async def story() -> None:
        asked = 0
        for method, address in place.servers:
            for name, _, _, wired in wired_fields(method.request):
                if wired.kind == "string" and wired.shape != "map":
                    tag = wired.number << 3 | 2
                    data = bytes([tag & 0x7F | 0x80, tag >> 7, 2, 0xC3, 0x28])
                    assert (await place.send(address, method.name, data))[0] == REFUSED, (method.name, name)
                    asked += 1
        assert asked > 30

    place.run(story())


def test_fields_that_nobody_knows_or_of_another_kind_are_as_if_they_were_not_there(place: Town) -> None:
    unknown = b"\xc2\x3e\x03abc" + b"\xc8\x3e\xff\xff\x03" + b"\xcd\x3eabcd" + b"\xc9\x3eabcdefgh" + b"\xc3\x3e\xc4\x3e"

    async def story() -> None:
        for method, address in place.servers:
            if method not in (CONFIGURE, ANNOUNCE_COMPUTER, ANNOUNCE_ROUTER):
                assert (await place.send(address, method.name, unknown))[0] == "OK", (method.name, address)
        computer, data = place.at("h2", 10000), CODEC.encode(LambdaRequest("f", "x"))
        code, answer = await place.send(computer, RUN_LAMBDA.name, data + unknown)
        assert (code, CODEC.decode(LambdaResponse, answer).output) == ("OK", "x")
        code, answer = await place.send(computer, RUN_LAMBDA.name, b"\x08\x07")  # the name is a number
        assert CODEC.decode(LambdaResponse, answer).retcode == "unknown lambda ''"
        wrong = b"\x08\x07" + CODEC.encode(EdgeRouterConf(Action.CHANGE, "f", "a:1", 1.0))[2:]  # action 7
        assert (await place.send(place.at("h1", 6474), CONFIGURE.name, wrong))[0] == REFUSED

    place.run(story())


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@pytest.mark.parametrize("data", [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00" + bytes(512), bytes(range(256)) * 40,
    PREFACE[:10], PREFACE + b"\xff" * 1000, PREFACE + b"\x00\xff\xff\x01\x04\x00\x00\x00\x01" + bytes(1000), b"",
], ids=["HTTP/1.1", "TLS", "noise", "half a preface", "no frames", "headers that are none", "silence"])  # fmt: skip
def test_connections_that_speak_no_grpc_do_not_hold_a_server_up(place: Town, data: bytes) -> None:
    async def story() -> None:
        for address in sorted({address for _, address in place.servers}):
            host, port = address.split(":")
            writers = [(await asyncio.open_connection(host, int(port)))[1] for _ in range(20)]
            for writer in writers:
                writer.write(data)
            assert (await place.send(address, "/grpc.health.v1.Health/Check", b""))[0] == "OK"
            for writer in writers:
                writer.transport.abort()

    place.run(story())


def test_methods_that_are_not_served_are_said_to_be_unknown(place: Town) -> None:
    async def story() -> None:
        for address in sorted({address for _, address in place.servers}):
            served = {method.name for method, where in place.servers if where == address}
            for name in [*(each.name for each in METHODS), "/uiiit.rpc.EdgeServer/Nothing", "/no.such/Thing", "/", "x"]:
                if name not in served:
                    assert (await place.send(address, name, b""))[0] == UNKNOWN_METHOD, (address, name)

    place.run(story())


@pytest.mark.parametrize("method", ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch",
                                    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"])  # fmt: skip
def test_health_and_reflection_refuse_what_is_no_question(place: Town, method: str) -> None:
    async def story() -> None:
        async with aio.insecure_channel(place.at("h1", 6473)) as channel:
            with pytest.raises(aio.AioRpcError) as failed:
                if method.endswith("Check"):
                    await channel.unary_unary(method)(b"\xff\xff\xff", timeout=30)
                elif method.endswith("Watch"):
                    await channel.unary_stream(method)(b"\xff\xff\xff", timeout=30).read()
                else:
                    call = channel.stream_stream(method)(timeout=30)
                    await call.write(b"\xff\xff\xff")
                    await call.read()
                    raise await _broken(call)
            assert failed.value.code().name == REFUSED

    place.run(story())


async def _broken(call: Any) -> aio.AioRpcError:
    return aio.AioRpcError(await call.code(), aio.Metadata(), aio.Metadata(), await call.details())


def test_answers_that_are_no_message_are_told_in_words_and_hurt_nobody(tmp_path: Path) -> None:
    async def garbage(_: bytes, __: Any) -> bytes:
        return b"\xff\xff\xff"

    class Whatever(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, _: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(garbage)

    async def story() -> None:
        places = {"controller": "h0", "router": "h1", "client": "h4"}
        async with loopback(tmp_path, "127.73.3", {"f": Function(name="f", service_s=0.01)}, **places) as net:
            server = aio.server()
            server.add_generic_rpc_handlers((Whatever(),))
            server.add_insecure_port("127.73.3.3:10000")
            await server.start()
            controller = await net.start("controller", "h0")
            router = await net.start("router", "h1")
            await controller.announce_router(RouterInfo("127.73.3.3:9", "127.73.3.3:10000"))
            await controller.announce_computer(ComputerInfo("127.73.3.3:10000", (Container(function="f"),)))
            await net.start("client", "h4")
            for _ in range(3):
                outcome = await net.invoke("h4", "f", "x")
                assert outcome.status == "error" and "are no LambdaResponse" in outcome.error
            assert router.tables[0].destinations("f") == ["127.73.3.3:10000"], "it is there, and answers"
            assert controller.installer.routers == ["127.73.3.2:6473"], "who does not say OK to its tables is no router"
            await server.stop(0)

    asyncio.run(story())


VALID = {
    RUN_LAMBDA: LambdaRequest(
        "f", "in", b"\x00", hops=1, states={"s": State("s", "[::1]:9", b"c")}, callback="[::1]:9", chain=("f", "f"),
        dependencies={"s": FunctionList(("f",))}, uuid="u",
    ),
    CONFIGURE: EdgeRouterConf(Action.CHANGE, "g", "[::1]:9", 1.0, True, (Change(Action.CHANGE, "g", "[::1]:8", 1.0),)),
    ANNOUNCE_COMPUTER: ComputerInfo("[::1]:9", (Container("c", "p", "g", 2),), 1000),
    ANNOUNCE_ROUTER: RouterInfo("[::1]:9", "[::1]:8", True, 1000, True),
    RECEIVE_RESPONSE: LambdaResponse(OK, "out", "[::1]:9", 1, b"x", 1, 2, 3, 4, {"s": State("s", "[::1]:9")}, True),
    PUT_STATE: State("s", "[::1]:9", b"content"),
}  # fmt: skip
CHANGES = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255), st.sampled_from("set put cut")), max_size=6)


def mutated(data: bytes, changes: list[tuple[int, int, str]]) -> bytes:
    """Bytes replaced, inserted, or cut off."""
    made = bytearray(data)
    for at, byte, how in changes:
        place_ = at % (len(made) + 1)
        if how == "cut":
            del made[place_:]
        elif how == "put":
            made.insert(place_, byte)
        elif place_ < len(made):
            made[place_] = byte
    return bytes(made)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(number=st.integers(0, 1000), changes=CHANGES, noise=st.none() | st.binary(max_size=80))
def test_whatever_comes_is_refused_or_answered(
    place: Town, number: int, changes: list[tuple[int, int, str]], noise: bytes | None
) -> None:
    method, address = place.servers[number % len(place.servers)]
    message = VALID.get(method, method.request())
    data = mutated(CODEC.encode(message), changes) if noise is None else noise

    async def story() -> None:
        code, said = await place.send(address, method.name, data, timeout=60)
        assert code in ("OK", REFUSED, TOO_MUCH), f"{method.name}: {code}: {said}"
        for _, env in place.net.agents.values():
            assert not env.failed.done(), env.failed

    place.run(story())
