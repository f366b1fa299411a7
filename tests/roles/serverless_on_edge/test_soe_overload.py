"""Too much of everything, over real gRPC: large messages, many parts, many calls, many states, entries and addresses.

All is refused in words, the servers go on, and memory stays within bounds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from routed import FUNCTIONS as SLOW
from soe_live import loopback
from soe_raw import CODEC, OPTIONS, REFUSED, TOO_MUCH, Town, resident_mib, town
from soe_world import World

from roles.serverless_on_edge import asynchronous, counter, limits, tables, wire
from roles.serverless_on_edge.messages import (
    ANNOUNCE_COMPUTER,
    CONFIGURE,
    OK,
    PUT_STATE,
    RECEIVE_RESPONSE,
    RUN_LAMBDA,
    Action,
    Change,
    ComputerInfo,
    Dag,
    EdgeRouterConf,
    IndexList,
    LambdaRequest,
    LambdaResponse,
    State,
)
from roles.serverless_on_edge.wire import GrpcWire
from testbed.roles.api import CallFailed, Function

MOST = limits.MOST_BYTES


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with town(tmp_path_factory.mktemp("town")) as made:
        yield made


@pytest.fixture(autouse=True)
def unharmed(place: Town) -> Iterator[None]:
    """Nothing is evicted, nobody has failed."""
    before = place.tables()
    yield
    place.run(place.is_well())
    assert all(was <= now for was, now in zip(before, place.tables(), strict=True))


def test_a_message_of_the_greatest_size_is_taken_and_one_that_is_larger_is_refused_by_every_server(place: Town) -> None:
    async def story() -> None:
        frame = len(CODEC.encode(LambdaRequest("f", "x" * MOST))) - MOST
        for node, port in (("h2", 10000), ("h1", 6473)):
            said = await place.retcode(place.at(node, port), LambdaRequest("f", "x" * (MOST - frame)))
            assert said == OK or "larger than max" in said, "with what it says beside the input, the answer is larger"
        too_large = bytes(MOST + 1)
        for address in sorted({address for _, address in place.servers}):
            method = next(method for method, where in place.servers if where == address)
            code, said = await place.send(address, method.name, too_large, timeout=60)
            assert code == TOO_MUCH and "larger than max" in said

    place.run(story())


def test_what_is_small_on_its_way_and_large_when_unpacked_is_refused(place: Town) -> None:
    async def story() -> None:
        data = CODEC.encode(LambdaRequest("f", "x" * (3 * MOST)))
        before = resident_mib()
        router, packed = place.at("h1", 6473), grpc.Compression.Gzip
        code, said = await place.send(router, RUN_LAMBDA.name, data, timeout=60, compression=packed)
        assert code == TOO_MUCH and "larger than max" in said
        assert resident_mib() < before + 1024

    place.run(story())


@pytest.mark.parametrize(("method", "data"), [
    (RUN_LAMBDA, b"\x4a\x00" * (MOST // 2 - 1)),  # a chain of names without a letter
    (RUN_LAMBDA, b"\x52\x80\x80\x80\x10" + b"\x0a\x00" * 2**24),  # a DAG of empty lists
    (RUN_LAMBDA, b"\x52\x84\x80\x80\x10" + b"\x0a\x80\x80\x80\x10" + b"\x00" * 2**25),  # of one list, not wholly there
    (RUN_LAMBDA, b"\x3a\x02\x0a\x00" * 2**23),  # states
    (CONFIGURE, b"\x82\x01\x00" * 2**24),
    (ANNOUNCE_COMPUTER, b"\x12\x00" * 2**24),
], ids=["chain", "lists", "one list", "states", "changes", "containers"])  # fmt: skip
def test_a_message_of_millions_of_parts_is_refused_before_they_are_made(place: Town, method: Any, data: bytes) -> None:
    async def story() -> None:
        before = resident_mib()
        address = next(address for each, address in place.servers if each is method)
        code, said = await place.send(address, method.name, data, timeout=60)
        assert code == REFUSED and f"more than {limits.MOST_PARTS} parts" in said
        assert resident_mib() < before + 512, "they would take gigabytes"

    place.run(story())


def test_as_many_parts_as_are_allowed_are_no_matter(place: Town) -> None:
    async def story() -> None:
        names = ("f",) * (limits.MOST_PARTS - 2)
        said = await place.retcode(place.at("h2", 10000), LambdaRequest("f", chain=names))
        assert said == f"the request has {len(names)} functions; 256 at most"

    place.run(story())


def test_ten_thousand_calls_that_wait_are_taken_and_more_are_refused_also_after_their_callers_gave_up(
    tmp_path: Path,
) -> None:
    forever = {"f": Function(name="f", service_s=10_000.0), "g": Function(name="g", service_s=0.001)}
    most, more = limits.MOST_CALLS, 200

    async def story() -> None:
        async with loopback(tmp_path, "127.74.2", forever, router="h1", computer="h2 h3") as net:
            for node in ("h2", "h3"):
                await net.start("computer", node, controller_endpoint="none")
            router = await net.start("router", "h1", max_retries=0)
            await router.configure(EdgeRouterConf(Action.CHANGE, "f", "127.74.2.3:10000", 1.0, True))
            await router.configure(EdgeRouterConf(Action.CHANGE, "g", "127.74.2.4:10000", 1.0, True))
            before = resident_mib()
            async with grpc.aio.insecure_channel("127.74.2.3:10000", options=OPTIONS) as channel:
                data = CODEC.encode(LambdaRequest("f", "x" * 1000))

                async def code() -> str:
                    try:
                        await channel.unary_unary(RUN_LAMBDA.name)(data, timeout=200)
                    except grpc.aio.AioRpcError as error:
                        return str(error.code().name)
                    return "OK"

                calls = {asyncio.ensure_future(code()) for _ in range(most + more)}
                refused: set[asyncio.Future[str]] = set()
                while len(refused) < more:
                    done, calls = await asyncio.wait(calls, timeout=150, return_when=asyncio.FIRST_COMPLETED)
                    assert {each.result() for each in done} == {TOO_MUCH}
                    refused |= done
                assert len(calls) == most
                for each in calls:
                    each.cancel()
                await asyncio.wait(calls)

            async def answer() -> str:
                return str((await router.run_lambda(LambdaRequest("f"))).retcode)

            for _ in range(20):  # whether gRPC has seen or not that nobody waits for them, the agent still has them
                assert "those included whose callers have given up" in await answer()
            assert resident_mib() < before + 1024
            assert router.tables[1].destinations("f") == ["127.74.2.3:10000"], "it is busy and not dead"
            assert (await router.run_lambda(LambdaRequest("g"))).retcode == OK

    asyncio.run(asyncio.wait_for(story(), 240))


def test_large_requests_that_wait_are_refused_before_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counter, "MOST_BYTES_HELD", 5_000_000)
    free = asyncio.Event()

    async def slow(_: LambdaRequest) -> LambdaResponse:
        await free.wait()
        return LambdaResponse(OK)

    async def story() -> None:
        server, caller, to = GrpcWire(), GrpcWire(), "127.74.5.1:7000"
        await server.serve("127.74.5.1", 7000, {RUN_LAMBDA: slow})
        large = LambdaRequest("f", " " * 900_000)
        calls = {asyncio.ensure_future(caller.call(to, RUN_LAMBDA, large, 100)) for _ in range(20)}
        while len(calls) > 5:
            done, calls = await asyncio.wait(calls, timeout=60, return_when=asyncio.FIRST_COMPLETED)
            assert {"the calls under way here hold" in str(each.exception()) for each in done} == {True}
        free.set()
        assert [reply.retcode for reply in await asyncio.gather(*calls)] == [OK] * 5
        assert (await caller.call(to, RUN_LAMBDA, large, 100)).retcode == OK, "there is room again"
        await caller.close()
        await server.close()

    asyncio.run(asyncio.wait_for(story(), 200))


def test_asynchronous_calls_that_wait_are_refused_before_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asynchronous, "MOST_BYTES_WAITING", 20_000)
    monkeypatch.setattr(asynchronous, "MOST_WAITING", 30)
    world = World(functions=SLOW).place(computer="h2")

    async def story() -> None:
        computer = await world.start("computer", "h2", asynchronous=True, controller_endpoint="none")
        for size, room in ((1, 30), (3_000, 6)):
            said = [(await computer.run_lambda(LambdaRequest("f", "x" * size, callback="10.0.0.7:1"))).retcode
                    for _ in range(40)]  # fmt: skip
            assert said.count(OK) == room and "there is no room for more" in said[-1]
            await computer.env.sleep(60)
        assert (await computer.run_lambda(LambdaRequest("f", callback="10.0.0.7:1"))).retcode == OK

    world.run(story())


def test_branches_that_wait_in_vain_make_room_for_others_and_their_callers_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(asynchronous, "MOST_BYTES_WAITING", 20_000)
    world = World(functions=SLOW).place(computer="h2", client="h3")
    dag = Dag((IndexList((1, 2)), IndexList((3,)), IndexList((3,))), ("f",) * 4)

    async def story() -> None:
        computer = await world.start("computer", "h2", asynchronous=True, controller_endpoint="none")
        await world.start("client", "h3", execution_model="state-prop")
        for number in range(20):
            branch = LambdaRequest("f", "x" * 1_500, dag=dag, callback="10.0.0.3:6480", uuid=f"u{number}",
                                   next_function_index=3, came_from=2)  # fmt: skip
            assert (await computer.run_lambda(branch)).retcode == OK
        await computer.env.sleep(5)
        told = world.of(RECEIVE_RESPONSE)
        assert [each.uuid for each in told] == [f"u{number}" for number in range(7)]
        assert all("has waited for its predecessors for too long" in each.retcode for each in told)

    world.run(story())


def test_a_state_server_that_is_full_says_so_and_has_room_again_when_states_go(tmp_path: Path) -> None:
    async def story() -> None:
        own = {"controller_endpoint": "none", "state_endpoint": 30000, "state_memory": "20MB"}
        async with loopback(tmp_path, "127.74.3", {}, computer="h2", client="h4") as net:
            computer = await net.start("computer", "h2", **own)
            await net.start("client", "h4")
            env = net.agents["client", "h4"][1]
            said = [(await env.call("127.74.3.3:30000", PUT_STATE, State(f"s{i}", content=bytes(6_000_000)))).retcode
                    for i in range(6)]  # fmt: skip
            assert said[:3] == [OK] * 3
            assert all(each.startswith("no room for the state") for each in said[3:])
            again = State("s0", content=bytes(7_900_000))
            assert (await env.call("127.74.3.3:30000", PUT_STATE, again)).retcode == OK, "it takes its own place"
            computer.home.store.drop("s1")
            assert (await env.call("127.74.3.3:30000", PUT_STATE, State("s9", content=bytes(6_000_000)))).retcode == OK

    asyncio.run(story())


def test_a_table_that_is_full_takes_changes_of_what_it_has(place: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MOST_ENTRIES", 100)

    async def story() -> None:
        address = place.at("h1", 6474)
        many = tuple(Change(Action.CHANGE, "h", f"[::1]:{port}", 1.0) for port in range(1, 200))
        answer = await place.ask(address, CONFIGURE, EdgeRouterConf(Action.REMOVE, "h", "[::1]:1", more=many))
        assert answer.msg.startswith("Error: the table is full: it has 100 entries; ")
        known = EdgeRouterConf(Action.CHANGE, "h", "[::1]:1", 2.0)
        assert (await place.ask(address, CONFIGURE, known)).msg == OK
        gone = tuple(Change(Action.REMOVE, "h", f"[::1]:{port}") for port in range(1, 200))
        assert (await place.ask(address, CONFIGURE, EdgeRouterConf(Action.REMOVE, "h", "x", more=gone))).msg == OK

    place.run(story())


def test_a_controller_that_knows_enough_refuses_strangers_and_hears_its_own(
    place: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roles.serverless_on_edge.controller.MOST_MEMBERS", 3)

    async def story() -> None:
        said = await place.ask(place.at("h0", 6475), ANNOUNCE_COMPUTER, ComputerInfo("[::1]:9"))
        assert said == f"{REFUSED}: this controller knows 3 computers and routers, and takes no more"
        own = place.net.agents["computer", "h2"][0].information()  # type: ignore[attr-defined]
        await place.net.agents["controller", "h0"][0].announce_computer(own)  # type: ignore[attr-defined]

    place.run(story())


def test_addresses_where_nobody_is_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MOST_DEAD", 10)
    monkeypatch.setattr(wire, "MOST_CHANNELS", 30)

    async def story() -> None:
        caller, server = GrpcWire(), GrpcWire()
        await server.serve("127.74.4.1", 7000, {RUN_LAMBDA: _ok})
        for number in range(60):
            with pytest.raises(CallFailed, match="unreachable"):
                await caller.call(f"127.74.4.2:{7001 + number}", RUN_LAMBDA, LambdaRequest("f"), 10)
            await caller.call("127.74.4.1:7000", RUN_LAMBDA, LambdaRequest("f"), 10)
        assert len(caller._channels) <= 12
        for number in range(60):
            await server.serve("127.74.4.3", 7001 + number, {RUN_LAMBDA: _ok})
        calls = (caller.call(f"127.74.4.3:{7001 + number}", RUN_LAMBDA, LambdaRequest("f"), 30) for number in range(60))
        assert {reply.retcode for reply in await asyncio.gather(*calls)} == {OK}, "nobody's connection ends in a call"
        for number in range(60):
            await caller.call(f"127.74.4.3:{7001 + number}", RUN_LAMBDA, LambdaRequest("f"), 30)
        assert len(caller._channels) <= 60
        await caller.close()
        await server.close()

    asyncio.run(asyncio.wait_for(story(), 120))


async def _ok(_: LambdaRequest) -> LambdaResponse:
    return LambdaResponse(OK)
