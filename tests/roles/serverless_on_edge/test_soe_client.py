"""The client: where it calls, what it makes of answers, and the uncoordinated mode."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import pytest
from soe_world import World

from roles.serverless_on_edge.client import padded_input
from roles.serverless_on_edge.messages import OK, RUN_LAMBDA, LambdaRequest, LambdaResponse
from testbed.errors import TestbedError
from testbed.roles.api import Function, Invocation, Outcome

CALL = Invocation(0, 0.0, "h4", "f", "hello")


def answering(world: World, node: str, reply: LambdaResponse, after: float = 0.1, port: int = 6473) -> list[Any]:
    """A server on a node that gives one answer; the requests that it got."""
    got: list[LambdaRequest] = []

    async def answer(request: LambdaRequest) -> LambdaResponse:
        got.append(request)
        await asyncio.sleep(after)
        return reply

    world.services[f"{world.addresses[node]}:{port}"] = {RUN_LAMBDA: answer}
    return got


def invoked(world: World, timeout: float = 10, **parameters: Any) -> Outcome:
    async def story() -> Outcome:
        client = await world.start("client", "h4", **parameters)
        return await client.invoke(client.env, CALL, timeout)

    return world.run(story())


@pytest.mark.parametrize(
    ("places", "address"),
    [
        ({"router": "h0 h5", "dispatcher": "h4", "computer": "h4"}, "10.0.0.5:6473"),
        ({"dispatcher": "h1 h6", "computer": "h4"}, "10.0.0.6:6473"),
        ({"computer": "h3 h5"}, "10.0.0.3:10000"),
    ],
)
def test_a_client_calls_the_nearest_router_else_dispatcher_else_computer(places: dict[str, str], address: str) -> None:
    world = World().place(**places)
    invoked(world)
    assert [to for _, to, _, _ in world.calls] == [address]


def test_a_client_that_has_nobody_to_call_says_so() -> None:
    with pytest.raises(TestbedError, match="needs a router"):
        invoked(World())


@pytest.mark.parametrize("text", ["h1", "h1:6473", "10.0.0.1", "10.0.0.1:6473"])
def test_an_endpoint_is_a_node_or_an_address_with_or_without_a_port(text: str) -> None:
    world = World()
    invoked(world, server_endpoints=text)
    assert world.calls[0][1] == "10.0.0.1:6473"


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (
            LambdaResponse(OK, "out", "10.0.0.2:10000", 250, load1=40, hops=2),
            Outcome("ok", node="h2", hops=2, exec_s=0.25, load=0.4, response_bytes=3, output="out"),
        ),
        (
            LambdaResponse(OK, "", "10.0.0.2:10000", 3, queue_us=500, init_us=2000, exec_us=250, hops=2),
            Outcome("ok", "", "h2", 2, init_s=0.002, queue_s=0.0005, exec_s=0.00025, cold=True, load=0.0,
                    response_bytes=0),
        ),
        (
            LambdaResponse("No destinations found for the entry 'f'"),
            Outcome("rejected", "No destinations found for the entry 'f'", hops=0, load=0.0, response_bytes=0),
        ),
        (
            LambdaResponse("exception: no", responder="10.0.0.2:10000", hops=2),
            Outcome("error", "exception: no", node="h2", hops=2, load=0.0, response_bytes=0),
        ),
        (
            LambdaResponse(OK, responder="http://else.where"),
            Outcome("ok", hops=0, exec_s=0.0, load=0.0, response_bytes=0),
        ),
    ],
)  # fmt: skip
def test_an_answer_becomes_an_outcome(reply: LambdaResponse, expected: Outcome) -> None:
    world = World()
    got = answering(world, "h1", reply)
    assert invoked(world, server_endpoints="h1") == expected
    assert [(each.name, each.input, each.hops, each.forward) for each in got] == [("f", "hello", 0, False)]


def test_no_answer_is_a_timeout_and_nobody_there_is_an_error() -> None:
    world = World()
    answering(world, "h1", LambdaResponse(OK), after=60)
    assert invoked(world, timeout=2, server_endpoints="h1").status == "timeout"
    nobody = invoked(world, server_endpoints="h2")
    assert nobody.status == "error" and "unreachable" in nobody.error


def test_an_unreachable_server_is_tried_again_when_asked_for() -> None:
    world = World()

    async def story() -> Outcome:
        client = await world.start("client", "h4", server_endpoints="h1", retries=5)

        async def appear() -> None:
            await asyncio.sleep(0.5)
            answering(world, "h1", LambdaResponse(OK))

        client.env.spawn(appear())
        return await client.invoke(client.env, CALL, 10)

    outcome = world.run(story())
    assert (outcome.status, outcome.retries) == ("ok", 3)


def test_retries_end_with_the_timeout() -> None:
    world = World()
    outcome = invoked(world, timeout=1, server_endpoints="h1", retries=100)
    assert (outcome.status, outcome.retries) == ("error", 3)


def test_dry_asks_for_an_estimate() -> None:
    world = World()
    got = answering(world, "h1", LambdaResponse(OK, ptime=1500))
    assert invoked(world, server_endpoints="h1", dry=True).exec_s == 1.5
    assert got[0].dry


def uncoordinated(
    persistence: float, calls: int = 20, **parameters: Any
) -> tuple[Counter[str], list[str], list[float]]:
    """Calls to h1 (slow), h2 (quick) and h3 (slowest): how many each got, who was primary, what each call took."""
    world = World()
    for node, seconds in (("h1", 0.3), ("h2", 0.1), ("h3", 0.5)):
        answering(world, node, LambdaResponse(OK), seconds)

    async def story() -> tuple[list[str], list[float]]:
        options = {"server_endpoints": "h1,h2,h3", "client_conf": f"type=grpc,persistence={persistence}", **parameters}
        client = await world.start("client", "h4", **options)
        primaries, taken = [], []
        for _ in range(calls):
            before = client.env.now()
            await client.invoke(client.env, CALL, 10)
            taken.append(client.env.now() - before)
            primaries.append(client.primary)
        await client.env.sleep(5)
        return primaries, taken

    primaries, taken = world.run(story())
    return Counter(to for _, to, _, _ in world.calls), primaries, taken


def test_without_persistence_only_the_first_endpoint_is_used() -> None:
    counts, _, _ = uncoordinated(0)
    assert counts == {"10.0.0.1:6473": 20}


def test_with_full_persistence_all_get_every_call_and_the_quickest_becomes_primary() -> None:
    counts, primaries, taken = uncoordinated(1)
    assert set(counts.values()) == {20} and len(counts) == 3
    assert set(primaries) == {"10.0.0.2:6473"}
    assert taken == pytest.approx([0.102] * 20), "the first good answer counts"


def test_with_some_persistence_the_quick_endpoint_is_found_and_kept() -> None:
    counts, primaries, _ = uncoordinated(0.1, calls=200)
    assert primaries[0] == "10.0.0.1:6473" and primaries[-1] == "10.0.0.2:6473"
    assert 5 < counts["10.0.0.3:6473"] < 40


def test_strictly_as_the_original_a_call_waits_for_all_answers_to_the_one_before() -> None:
    _, _, taken = uncoordinated(1, calls=3, strict_original=True)
    assert taken == pytest.approx([0.102, 0.502, 0.502])


def test_if_no_endpoint_gives_a_good_answer_the_call_has_failed() -> None:
    world = World()
    answering(world, "h1", LambdaResponse("exception: no"))
    outcome = invoked(world, server_endpoints=["h1", "h2"], client_conf="persistence=1")
    assert (outcome.status, outcome.error) == ("error", "exception: no")


@pytest.mark.parametrize(("size", "length"), [(1000, 1000), (100, 100), (13, 13), (12, 12), (5, 12), (0, 12)])
def test_the_padded_input_is_json_of_exactly_the_size(size: int, length: int) -> None:
    text = padded_input(size)
    assert len(text) == length and set(json.loads(text)) == {"input"}


def test_the_whole_system_serves_a_function_by_its_experiment() -> None:
    functions = {"f": Function(name="f", operations_per_byte=1e6, operations=5e6)}
    world = World(functions=functions).place(controller="h0", router="h1", computer="h2", client="h4")

    async def story() -> Outcome:
        for role, nodes in world.places.items():
            agent = await world.start(role, *nodes)
        return await agent.invoke(agent.env, CALL, 10)

    outcome = world.run(story())
    assert (outcome.status, outcome.node, outcome.hops, outcome.exec_s) == ("ok", "h2", 2, 0.01)
