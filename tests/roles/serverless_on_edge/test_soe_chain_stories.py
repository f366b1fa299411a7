"""Chains, DAGs, callbacks and states, told in virtual time with all agents of the system."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from soe_world import World

from roles.serverless_on_edge.messages import (
    DEL_STATE,
    GET_STATE,
    OK,
    PUT_STATE,
    RECEIVE_RESPONSE,
    RUN_LAMBDA,
    FunctionList,
    LambdaRequest,
    LambdaResponse,
    State,
)
from testbed.roles.api import Function, Invocation, Outcome

FUNCTIONS = {name: Function(name=name, service_s=0.1, concurrency=5) for name in ("f1", "f2", "f3", "f4")}
CHAIN = {"functions": "f1,f2,f1", "dependencies": {"s": "f1", "t": "f2", "idle": None},
         "state-sizes": {"s": "1kB", "t": "2kB", "idle": "3kB"}}  # fmt: skip
DIAMOND = {"functions": "f1,f2,f3,f4", "successors": [[1, 2], [3], [3]], "dependencies": {"s": "f1,f2,f4", "t": "f3"},
           "state-sizes": {"s": "1kB", "t": "1kB"}}  # fmt: skip
PLACES = {"controller": "h0", "router": "h1 h4", "computer": "h2 h3", "client": "h1"}


class Told(World):
    """A world that remembers its computers, and what lay in their state servers at the end."""

    computers: dict[str, Any]
    left: dict[str, set[str]]


def offering(*names: str) -> dict[str, Any]:
    return {"conf": {"type": "functions", "offers": list(names)}}


async def begin(world: Told, model: str, spread: bool = False, **client: Any) -> Any:
    """Start all; with ``spread`` f1 and f3 are on h2, f2 and f4 on h3. The client."""
    world.place(**PLACES)
    await world.start("controller", "h0")
    for router in PLACES["router"].split():
        await world.start("router", router, table_conf="type=round-robin")
    offers = {"h2": ("f1", "f3"), "h3": ("f2", "f4")} if spread else {}
    for computer in PLACES["computer"].split():
        world.computers[computer] = await world.start(
            "computer", computer, asynchronous=True, state_endpoint=30000, **offering(*offers.get(computer, ()))
        )
    chains = {"chain": CHAIN, "diamond": DIAMOND}
    return await world.start("client", "h1", execution_model=model, chains=chains, **client)


def told(model: str, *functions: str, spread: bool = False, **client: Any) -> tuple[Told, list[Outcome]]:
    """What came of invocations one after the other."""
    world = Told(functions=FUNCTIONS)
    world.computers = {}

    async def story() -> list[Outcome]:
        caller = await begin(world, model, spread, **client)
        found = []
        for number, function in enumerate(functions):
            found.append(await caller.invoke(caller.env, Invocation(number, 0.0, "h1", function, "{}"), 10))
        await caller.env.sleep(1)
        assert caller.chains.waiting == {}
        world.left = states(world)
        return found

    return world, world.run(story())


def states(world: Told) -> dict[str, set[str]]:
    """What lies in the state server of each computer."""
    return {node: set(each.home.store.names()) for node, each in world.computers.items()}


def test_a_client_that_drives_a_chain_sums_hops_and_times_and_sends_each_function_its_own_states() -> None:
    world, (outcome,) = told("pure-faas", "chain")
    assert (outcome.status, outcome.hops, outcome.node) == ("ok", 6, "")
    assert outcome.exec_s == pytest.approx(0.3)
    sent = [sorted(each.states) for each in world.of(RUN_LAMBDA, "h1") if not each.forward]
    assert sent == [["s"], ["t"], ["s"]]
    assert all(len(each.chain) == 1 and not each.callback for each in world.of(RUN_LAMBDA))
    assert world.rows["soe_chains"][0]["functions"] == "f1-f2-f1"
    assert world.of(RECEIVE_RESPONSE) == []


def test_states_that_propagate_travel_with_every_call_and_come_back_at_the_end() -> None:
    world, (outcome,) = told("state-prop", "chain")
    assert outcome.status == "ok" and outcome.node in ("h2", "h3") and outcome.exec_s == pytest.approx(0.3)
    requests = world.of(RUN_LAMBDA)
    assert [each.next_function_index for each in requests] == [0, 0, 1, 1, 2, 2]
    assert {tuple(len(state.content) for state in each.states.values()) for each in requests} == {(1000, 2000)}
    (answer,) = world.of(RECEIVE_RESPONSE)
    assert (answer.retcode, answer.ptime, answer.load1) == (OK, 0, 0) and answer.responder.startswith("10.0.0.")
    assert sum(len(state.content) for state in answer.states.values()) == 3000
    assert len(world.rows["soe_chains"]) == 1
    assert world.of(GET_STATE) == []


def test_local_states_stay_where_they_were_used_last_and_idle_ones_are_never_sent() -> None:
    world, (outcome,) = told("state-local", "chain", spread=True, strict_original=True)
    assert outcome.status == "ok"
    assert world.left == {"h2": {"s"}, "h3": {"t"}}
    assert [each.name for each in world.of(GET_STATE)] == ["s", "t"], "the second use of s finds it there"
    assert "idle" not in {name for each in world.of(RUN_LAMBDA) for name in each.states}
    assert all(not state.content for each in world.of(RUN_LAMBDA) for state in each.states.values())


def test_states_of_calls_that_have_ended_are_removed_everywhere() -> None:
    world, outcomes = told("state-local", "chain", "diamond", "chain", spread=True)
    assert [each.status for each in outcomes] == ["ok"] * 3
    assert world.left == {"h2": set(), "h3": set()}
    assert len({each.name for each in world.of(GET_STATE)}) == 6, "each call has states of its own"


@pytest.mark.parametrize("model", ["pure-faas", "state-prop", "state-local"])
@pytest.mark.parametrize("spread", [False, True])
def test_branches_of_a_dag_meet_and_what_joins_them_runs_once(model: str, spread: bool) -> None:
    world, outcomes = told(model, *["diamond"] * 8, spread=spread)
    assert [each.status for each in outcomes] == ["ok"] * 8
    ran = sorted(row["function"] for row in world.rows["soe_executions"])
    assert ran == sorted([*FUNCTIONS] * 8)
    assert {row["functions"] for row in world.rows["soe_chains"]} == {"f1-f2-f3-f4"}
    taken = [row["latency_s"] for row in world.rows["soe_chains"]]
    assert all(0.3 <= each < 0.4 for each in taken), "f2 and f3 run at the same time"


def test_single_functions_are_called_asynchronously_too() -> None:
    world, (outcome,) = told("state-prop", "f1")
    assert (outcome.status, outcome.exec_s, outcome.hops) == ("ok", pytest.approx(0.1), 2)
    assert len(world.of(RECEIVE_RESPONSE)) == 1


def test_a_computer_that_is_not_asynchronous_says_so() -> None:
    world = World(functions=FUNCTIONS).place(computer="h2", client="h1")

    async def story() -> Outcome:
        await world.start("computer", "h2")
        client = await world.start("client", "h1", execution_model="state-prop", chains={"chain": CHAIN})
        return await client.invoke(client.env, Invocation(0, 0.0, "h1", "chain", ""), 10)

    outcome = world.run(story())
    assert outcome.status == "error" and "asynchronous" in outcome.error


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"asynchronous": True}, "no companion-endpoint"),
        ({"asynchronous": True, "companion_endpoint": "h7"}, "unreachable"),
    ],
)
def test_an_error_on_the_way_reaches_the_callback(options: dict[str, Any], says: str) -> None:
    world = World(functions=FUNCTIONS).place(computer="h2", client="h1")

    async def story() -> Outcome:
        await world.start("computer", "h2", **options)
        client = await world.start("client", "h1", execution_model="state-prop", chains={"chain": CHAIN})
        return await client.invoke(client.env, Invocation(0, 0.0, "h1", "chain", ""), 60)

    outcome = world.run(story())
    assert outcome.status == "error" and says in outcome.error


def test_local_states_need_a_state_server_on_the_computer() -> None:
    world = World(functions=FUNCTIONS).place(computer="h2", client="h1")

    async def story() -> Outcome:
        await world.start("computer", "h2", asynchronous=True)
        client = await world.start("client", "h1", execution_model="state-local", chains={"chain": CHAIN})
        return await client.invoke(client.env, Invocation(0, 0.0, "h1", "chain", ""), 10)

    outcome = world.run(story())
    assert outcome.status == "error" and "no state-endpoint" in outcome.error


def test_a_call_that_comes_twice_is_carried_out_once() -> None:
    world = World(functions=FUNCTIONS).place(computer="h2")

    async def story() -> None:
        computer = await world.start("computer", "h2", asynchronous=True)
        request = LambdaRequest("f1", callback="10.0.0.1:6480", uuid="u")
        for _ in range(3):
            assert (await computer.run_lambda(request)).asynchronous
        await computer.env.sleep(1)
        assert dict(computer.calls.executed) == {("u", 0): 1}

    world.run(story())
    assert len(world.rows["soe_executions"]) == 1


def test_a_callback_of_the_original_belongs_to_the_only_call_and_a_second_one_to_nobody() -> None:
    world = World(functions=FUNCTIONS).place(client="h1")

    async def story() -> tuple[Outcome, int]:
        async def take(request: LambdaRequest) -> LambdaResponse:
            assert request.callback == "10.0.0.1:6480"
            client.env.spawn(answer())
            return LambdaResponse(OK, asynchronous=True)

        async def answer() -> None:
            await asyncio.sleep(0.5)
            for _ in range(2):
                await client.env.call("10.0.0.1:6480", RECEIVE_RESPONSE, LambdaResponse(OK, "done", hops=7))

        world.services["10.0.0.2:6473"] = {RUN_LAMBDA: take}
        client = await world.start("client", "h1", execution_model="state-prop", server_endpoints="h2")
        found = await client.invoke(client.env, Invocation(0, 0.0, "h1", "f1", ""), 10)
        await client.env.sleep(1)
        return found, client.chains.late

    outcome, late = world.run(story())
    assert (outcome.status, outcome.output, outcome.hops, late) == ("ok", "done", 7, 1)


def test_a_callback_that_never_comes_is_a_time_out_and_leaves_nothing_waiting() -> None:
    world = World(functions=FUNCTIONS).place(client="h1")

    async def story() -> Outcome:
        async def take(_: LambdaRequest) -> LambdaResponse:
            return LambdaResponse(OK, asynchronous=True)

        world.services["10.0.0.2:6473"] = {RUN_LAMBDA: take}
        options = {"execution_model": "state-local", "chains": {"chain": CHAIN}, "server_endpoints": "h2"}
        client = await world.start("client", "h1", **options)
        found = await client.invoke(client.env, Invocation(0, 0.0, "h1", "chain", ""), 2)
        assert client.chains.waiting == {} and not client.chains.home.store.names()
        return found

    outcome = world.run(story())
    assert outcome.status == "timeout" and "callback" in outcome.error


def test_a_state_that_somebody_else_took_first_is_let_go_of() -> None:
    world = World(functions=FUNCTIONS).place(computer="h2 h3")

    async def story() -> None:
        first = await world.start("computer", "h2", state_endpoint=30000)
        second = await world.start("computer", "h3", state_endpoint="30000")
        owner = await world.start("computer", "h4", state_endpoint=30000)
        await owner.home.put("s", b"content")
        asked = LambdaRequest("f1", chain=("f1",), states={"s": State(location="10.0.0.4:30000")},
                              dependencies={"s": FunctionList(("f1",))})  # fmt: skip
        replies = await asyncio.gather(first.run_lambda(asked), second.run_lambda(asked))
        assert sorted(reply.retcode == OK for reply in replies) == [False, True]
        holders = [each for each in (first, second, owner) if each.home.store.names()]
        assert len(holders) == 1 and holders[0].home.store.read("s") == b"content"

    world.run(story())


def test_a_state_server_keeps_gives_and_forgets_as_the_original_s() -> None:
    world = World(functions=FUNCTIONS).place(computer="h2", client="h1")

    async def story() -> None:
        computer = await world.start("computer", "h2", state_endpoint=30000, state_expire_after=60)
        at, call = "10.0.0.2:30000", computer.env.call
        assert (await call(at, GET_STATE, State("s"))).retcode == "could not find state: s"
        assert (await call(at, PUT_STATE, State("s", content=b"x"))).retcode == OK
        assert (await call(at, GET_STATE, State("s"))).state.content == b"x"
        assert (await call(at, DEL_STATE, State("s"))).retcode == OK
        assert (await call(at, DEL_STATE, State("s"))).retcode == "state not found: s"
        await call(at, PUT_STATE, State("s", content=b"x"))
        await computer.env.sleep(50)
        assert (await call(at, GET_STATE, State("s"))).retcode == OK, "a use counts"
        await computer.env.sleep(61)
        assert (await call(at, GET_STATE, State("s"))).retcode != OK

    world.run(story())


def test_states_can_be_kept_on_somebody_else_s_server() -> None:
    world = World(functions=FUNCTIONS).place(router="h1", computer="h2", client="h1", controller="h0")

    async def story() -> None:
        keeper = await world.start("computer", "h5", controller_endpoint="none", state_endpoint=30000)
        for role, node in (("controller", "h0"), ("router", "h1")):
            await world.start(role, node)
        await world.start("computer", "h2", asynchronous=True, state_endpoint="h5", no_state_server=True)
        options = {"execution_model": "state-local", "chains": {"chain": CHAIN}, "strict_original": True}
        client = await world.start("client", "h1", **options)
        assert (await client.invoke(client.env, Invocation(0, 0.0, "h1", "chain", ""), 10)).status == "ok"
        assert keeper.home.store.names() == {"s", "t"}

    world.run(story())
