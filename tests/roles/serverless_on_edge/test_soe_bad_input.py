"""Bytes that are no message, messages that make no sense, names and numbers that cannot be: at every gRPC port."""

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
from soe_live import loopback, until
from soe_raw import CODEC, METHODS, REFUSED, TOO_MUCH, UNKNOWN_METHOD, Town, town

from roles.serverless_on_edge.codec import wired_fields
from roles.serverless_on_edge.messages import (
    ANNOUNCE_COMPUTER,
    ANNOUNCE_ROUTER,
    CONFIGURE,
    GET_STATE,
    GET_TABLE,
    OK,
    PUT_STATE,
    RECEIVE_RESPONSE,
    RUN_LAMBDA,
    Action,
    Change,
    ComputerInfo,
    Container,
    Dag,
    EdgeRouterConf,
    FunctionList,
    IndexList,
    LambdaRequest,
    LambdaResponse,
    RouterInfo,
    State,
    StateResponse,
    TableId,
)
from testbed.roles.api import Function

HIGHEST = 2**32 - 1
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
    with town(tmp_path_factory.mktemp("town"), "127.73.1") as made:
        yield made


@pytest.fixture(autouse=True)
def unharmed(place: Town) -> Iterator[None]:
    """Nothing is evicted, nobody has failed."""
    before = place.tables()
    assert all(before)
    yield
    place.run(place.is_well())

    async def all_there() -> bool:
        return all(was <= now for was, now in zip(before, place.tables(), strict=True))

    place.run(until(all_there, bool, 40))  # a flush that was meant so is put right when tables are compared


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


def graph(*successors: tuple[int, ...], names: int | None = None) -> Dag:
    return Dag(tuple(map(IndexList, successors)), ("f",) * (names or len(successors) + 1))


def called_back(dag: Dag | None = None, **rest: Any) -> LambdaRequest:
    given = {"callback": "[::1]:9", "uuid": "u", **rest}
    return LambdaRequest("f", "x", dag=dag, **given)


SENSELESS = {
    "unknown lambda": LambdaRequest("nothing"),
    "unknown lambda ''": LambdaRequest(),
    "unknown lambda 'xxx": LambdaRequest("x" * 300_000),
    "(300000 characters)": LambdaRequest("x" * 300_000),
    "not both": called_back(graph((1,)), chain=("f", "f")),
    "needs a callback": LambdaRequest("f", chain=("f", "f")),
    "the request has 9000 functions; 256 at most": LambdaRequest("f", chain=("f",) * 9_000),
    "the request has 301 functions": called_back(graph(*((each + 1,) for each in range(300)))),
    "none with the index 7": called_back(chain=("f",), next_function_index=7),
    "needs a uuid": called_back(graph((1,)), uuid=""),
    "the uuid has 5000 characters": called_back(uuid="u" * 5_000),
    "with indices below 2": called_back(graph((2**63,))),
    "needs 1 lists": called_back(graph((1,), (1,), names=2)),
    "function 0 of the DAG never runs": called_back(graph((0,))),
    "function 1 of the DAG never runs": called_back(graph((2,), (1,))),
    "function 1 of the DAG leads nowhere": called_back(graph((1, 2), ())),
    "the callback is 'nowhere'": called_back(callback="nowhere"),
    "the callback is 'unix:/tmp/x'": called_back(callback="unix:/tmp/x"),
    "the callback is '[::1]:70000'": called_back(callback="[::1]:70000"),
    "the location of the state 's' is 'there'": LambdaRequest(
        "f", states={"s": State("s", "there")}, dependencies={"s": FunctionList(("f",))}
    ),
    "the state server at [::1]:9: unreachable": LambdaRequest(
        "f", states={"s": State("s", "[::1]:9")}, dependencies={"s": FunctionList(("f",))}
    ),
    "the input states 1e+300 s": LambdaRequest("f", '{"service_s": 1e300}'),
}


@pytest.mark.parametrize("words", SENSELESS)
def test_a_computer_says_why_it_cannot_carry_a_request_out(place: Town, words: str) -> None:
    said = place.run(place.retcode(place.at("h2", 10000), SENSELESS[words]))
    assert words in said and len(said) < 1000


@pytest.mark.parametrize("node", ["h1", "h5"])
def test_a_router_and_a_dispatcher_pass_such_answers_on_and_evict_nobody(place: Town, node: str) -> None:
    async def story() -> None:
        for words, request in SENSELESS.items():
            said = await place.retcode(place.at(node, 6473), request)
            assert words in said or "No destinations found for the entry" in said, words
        assert await place.retcode(place.at(node, 6473), LambdaRequest("f", hops=HIGHEST)) == "loop detected"

    place.run(story())


def test_numbers_that_overflow_arrive_as_the_highest_there_is(place: Town) -> None:
    async def story() -> None:
        client: Any = place.net.agents["client", "h4"][0]
        late = client.chains.late
        request = LambdaRequest("f", "x", hops=HIGHEST, queue_us=HIGHEST, init_us=HIGHEST, exec_us=HIGHEST)
        answer: LambdaResponse = await place.ask(place.at("h2", 10000), RUN_LAMBDA, request)
        assert (answer.retcode, answer.hops) == (OK, HIGHEST)
        to_client = LambdaRequest(
            "f", "x", callback=place.at("h4", 6480), uuid="late", hops=HIGHEST, exec_us=HIGHEST, init_us=HIGHEST
        )
        assert (await place.ask(place.at("h2", 10000), RUN_LAMBDA, to_client)).asynchronous

        async def came() -> int:
            return int(client.chains.late)

        await until(came, lambda found: found == late + 1)

    place.run(story())


@pytest.mark.parametrize(("conf", "words"), [
    *(((EdgeRouterConf(Action.CHANGE, "f", "a:1", weight, True)), "above zero and finite")
      for weight in (float("nan"), float("inf"), float("-inf"), -1.0, 0.0)),
    (EdgeRouterConf(Action.CHANGE, "", "a:1", 1.0, True), "the name of the function is empty"),
    (EdgeRouterConf(Action.CHANGE, "x" * 90_000, "a:1", 1.0, True), "has 90000 characters; 1000 at most"),
    *((EdgeRouterConf(Action.CHANGE, "f", to, 1.0, True), "it must be host:port")
      for to in ("", "a", "a:0", "a:65536", ":1", "a b:1", "unix:/x", "x" * 9_000 + ":1", "a:1\n")),
    (EdgeRouterConf(Action.REMOVE, "f", "a:1", more=(Change(Action.CHANGE, "f", "a:1", -1.0),) * 9), "above zero"),
])  # fmt: skip
def test_entries_that_cannot_be_are_refused_in_words(place: Town, conf: EdgeRouterConf, words: str) -> None:
    async def story() -> None:
        for node in ("h1", "h5"):
            answer = await place.ask(place.at(node, 6474), CONFIGURE, conf)
            assert answer.msg.startswith("Error: ") and words in answer.msg and len(answer.msg) < 2000
        assert (await place.ask(place.at("h1", 6474), GET_TABLE, TableId(HIGHEST))).entries == ()

    place.run(story())


@pytest.mark.parametrize(("method", "message", "words"), [
    (ANNOUNCE_COMPUTER, ComputerInfo(""), "the endpoint of the computer is ''; it must be host:port"),
    (ANNOUNCE_COMPUTER, ComputerInfo("x" * 90_000), "(90000 characters)"),
    (ANNOUNCE_COMPUTER, ComputerInfo("[::1]:9", (Container("c", "cpu", "", 1),)), "the name of a function is empty"),
    (ANNOUNCE_COMPUTER, ComputerInfo("[::1]:9", (Container(function="x" * 2000),)), "2000 characters"),
    (ANNOUNCE_COMPUTER, ComputerInfo("[::1]:9", (Container(function="f"),) * 10_001), "10001 containers"),
    (ANNOUNCE_ROUTER, RouterInfo("nowhere", "[::1]:9"), "the endpoint of the router is 'nowhere'"),
    (ANNOUNCE_ROUTER, RouterInfo("[::1]:9", ""), "the endpoint of its tables is ''"),
])  # fmt: skip
def test_announcements_of_what_cannot_be_are_refused(place: Town, method: Any, message: Any, words: str) -> None:
    said = place.run(place.ask(place.at("h0", 6475), method, message))
    assert said.startswith(f"{REFUSED}: ") and words in said


def test_state_servers_say_what_they_do_not_have_or_take(place: Town) -> None:
    async def story() -> None:
        for address in (place.at("h2", 30000), place.at("h4", 6481)):
            for method, name, words in ((GET_STATE, "x", "could not find state: x"), (PUT_STATE, "", "is empty"),
                                        (PUT_STATE, "x" * 1001, "1001 characters"),
                                        (GET_STATE, "x" * 500_000, "(500000 characters)")):  # fmt: skip
                answer: StateResponse = await place.ask(address, method, State(name))
                assert words in answer.retcode and len(answer.retcode) < 200

    place.run(story())


def test_a_hierarchical_controller_refuses_hosts_without_distances_and_goes_on(tmp_path: Path) -> None:
    matrix = "\n".join(["h0 0 1 2", "h1 1 0 1", "h2 2 1 0"])

    async def story() -> None:
        places = {"controller": "h0", "router": "h1", "computer": "h2"}
        async with loopback(tmp_path, "127.73.2", {"f": Function(name="f", service_s=0.01)}, **places) as net:
            await net.start("controller", "h0", installer_type="hier", topology_file=matrix)
            router = await net.start("router", "h1")
            channel = aio.insecure_channel("127.73.2.1:6475")
            for method, message in ((ANNOUNCE_COMPUTER, ComputerInfo("[::1]:9", (Container(function="f"),))),
                                    (ANNOUNCE_ROUTER, RouterInfo("127.73.2.7:1", "127.73.2.7:2"))):  # fmt: skip
                with pytest.raises(aio.AioRpcError, match="has no row for"):
                    await channel.unary_unary(method.name)(CODEC.encode(message), timeout=30)
            await net.start("computer", "h2")
            assert router.tables[0].destinations("f") == ["127.73.2.3:10000"]
            await channel.close()

    asyncio.run(story())


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
