"""Messages that make no sense: names, numbers, graphs and endpoints that cannot be."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grpc import aio
from soe_live import loopback, until
from soe_raw import CODEC, REFUSED, Town, town, unharmed

from roles.serverless_on_edge.messages import (
    ANNOUNCE_COMPUTER,
    ANNOUNCE_ROUTER,
    CONFIGURE,
    GET_STATE,
    GET_TABLE,
    OK,
    PUT_STATE,
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


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """One system for all: after each test it is well, and its tables are what they were."""
    with town(tmp_path_factory.mktemp("town")) as made:
        yield made


@pytest.fixture(autouse=True)
def well(place: Town) -> Iterator[None]:
    with unharmed(place):
        yield


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
        async with loopback(tmp_path, "127.75.2", {"f": Function(name="f", service_s=0.01)}, **places) as net:
            await net.start("controller", "h0", installer_type="hier", topology_file=matrix)
            router = await net.start("router", "h1")
            channel = aio.insecure_channel("127.75.2.1:6475")
            for method, message in ((ANNOUNCE_COMPUTER, ComputerInfo("[::1]:9", (Container(function="f"),))),
                                    (ANNOUNCE_ROUTER, RouterInfo("127.75.2.7:1", "127.75.2.7:2"))):  # fmt: skip
                with pytest.raises(aio.AioRpcError, match="has no row for"):
                    await channel.unary_unary(method.name)(CODEC.encode(message), timeout=30)
            await net.start("computer", "h2")
            assert router.tables[0].destinations("f") == ["127.75.2.3:10000"]
            await channel.close()

    asyncio.run(story())
