"""Chains and DAGs as plain data: what follows what, what is refused, where branches meet, what is drawn."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from pydantic import ValidationError

from roles.serverless_on_edge.asynchronous import Joins, following_request
from roles.serverless_on_edge.chain_options import FileChain, InlineChain, RandomChain, chain_of_json, json_of
from roles.serverless_on_edge.chains import (
    Composition,
    composition,
    contended,
    drawn,
    joins,
    meeting_place,
    refusal,
    wrong_with,
)
from roles.serverless_on_edge.messages import Dag, FunctionList, IndexList, LambdaRequest, LambdaResponse, State

CHAIN = Composition(("f", "g", "f"), None, {"s": ("f",), "t": ("g",), "u": ()}, {"s": 10, "t": 20, "u": 30})
DIAMOND = Composition(("a", "b", "c", "d"), ((1, 2), (3,), (3,)), {"s": ("a", "b"), "t": ("c",)}, {"s": 1, "t": 2})


def test_in_a_chain_one_function_follows_another() -> None:
    assert [CHAIN.following(index) for index in range(3)] == [(1,), (2,), ()]
    assert CHAIN.label == "f-g-f"


def test_in_a_dag_the_successors_follow_and_the_last_ends() -> None:
    assert [DIAMOND.following(index) for index in range(4)] == [(1, 2), (3,), (3,), ()]
    assert [DIAMOND.preceding(index) for index in range(4)] == [(), (0,), (0,), (1, 2)]
    assert DIAMOND.ancestors(3) == {0, 1, 2} and DIAMOND.ancestors(0) == frozenset()


def test_a_state_that_nobody_uses_is_no_part_of_the_request() -> None:
    assert CHAIN.used == ("s", "t") and CHAIN.states_of("f") == ("s",)
    assert set(CHAIN.whole().dependencies) == {"s", "t"}


@pytest.mark.parametrize("what", [CHAIN, DIAMOND])
def test_a_request_tells_what_it_is_part_of(what: Composition) -> None:
    request = what.whole()
    found = composition(request)
    assert (found.functions, found.successors) == (what.functions, what.successors)
    assert request.name == what.functions[0] and refusal(LambdaRequest(
        request.name, chain=request.chain, dag=request.dag, callback="h:1", uuid="u")) == ""  # fmt: skip


def test_one_function_by_itself_is_a_chain_or_dag_of_one() -> None:
    assert CHAIN.alone("g").chain == ("g",) and dict(CHAIN.alone("g").dependencies) == {"t": FunctionList(("g",))}
    alone = DIAMOND.alone("c")
    assert alone.dag == Dag((), ("c",)) and refusal(alone) == ""


PAIR = Dag((IndexList((1,)),), ("a", "b"))


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (LambdaRequest("f", chain=("f",), dag=PAIR), "not both"),
        (LambdaRequest("f", chain=("f", "g")), "callback"),
        (LambdaRequest("a", dag=PAIR), "callback"),
        (LambdaRequest("f", chain=("f", "g"), callback="h:1", next_function_index=2), "index 2"),
        (LambdaRequest("a", dag=PAIR, callback="h:1"), "uuid"),
        (LambdaRequest("a", dag=Dag((), ("a", "b")), callback="h:1", uuid="u"), "lists of successors"),
        (LambdaRequest("a", dag=Dag((IndexList((7,)),), ("a", "b")), callback="h:1", uuid="u"), "below 2"),
        (LambdaRequest("a", dag=PAIR, callback="h:1", uuid="u", next_function_index=2), "below 2"),
        (LambdaRequest("a", dag=PAIR, callback="h:1", uuid="u", came_from=3), "below 2"),
        (LambdaRequest("f", chain=("f",)), ""),
        (LambdaRequest("f", callback="h:1"), ""),
    ],
)
def test_what_no_computer_can_do_is_told(request_: LambdaRequest, says: str) -> None:
    assert says in refusal(request_) and bool(says) == bool(refusal(request_))


@pytest.mark.parametrize(
    ("functions", "successors", "says"),
    [
        ([], None, "no functions"),
        (["a", "b"], [], "needs 1 lists"),
        (["a", "b", "c"], [[1, 2], []], "leads nowhere"),
        (["a", "b"], [[0]], "must lead to later ones"),
        (["a", "b", "c"], [[2, 2], [2]], "each once"),
        (["a", "b"], [[2]], "up to 1"),
        (["a", "b", "c"], [[2], [2]], "nothing leads to function 1"),
        (["a", "b", "c", "d"], [[1, 2], [3], [3]], ""),
        (["a"], None, ""),
    ],
)
def test_a_dag_that_cannot_run_is_told_with_the_reason(functions: Any, successors: Any, says: str) -> None:
    found = wrong_with(functions, successors)
    assert says in found and bool(says) == bool(found)


def test_a_state_that_two_functions_may_use_at_once_is_told() -> None:
    assert contended(DIAMOND) == ""
    both = Composition(DIAMOND.functions, DIAMOND.successors, {"s": ("b", "c")}, {"s": 1})
    assert "the state s is used by b (function 1) and c (function 2)" in contended(both)


def at(index: int, came_from: int, states: dict[str, State]) -> LambdaRequest:
    """A call of one function of the diamond."""
    whole = DIAMOND.whole()
    return LambdaRequest(
        DIAMOND.functions[index], dag=whole.dag, dependencies=whole.dependencies, states=states, callback="h:1",
        uuid="u", next_function_index=index, came_from=came_from,
    )  # fmt: skip


def test_branches_meet_once_and_bring_the_states_as_they_used_them() -> None:
    meeting = Joins()
    old, new_s, new_t = State(location="client"), State(location="b's"), State(location="c's")
    assert not joins(at(1, 1, {})) and joins(at(3, 2, {}))
    assert meeting.arrive(at(3, 2, {"s": new_s, "t": old})) is None and len(meeting) == 1
    complete = meeting.arrive(at(3, 3, {"s": old, "t": new_t}))
    assert complete is not None and dict(complete.states) == {"s": new_s, "t": new_t}
    assert len(meeting) == 0


def test_what_follows_gets_output_states_times_and_one_more_hop() -> None:
    before = at(0, 0, {"s": State(location="client")})
    reply = LambdaResponse("OK", "out", dataout=b"data", states={"s": State(location="a's")}, exec_us=7)
    onward = following_request(following_request(before, reply, 1, False), reply, 3, False)
    assert (onward.name, onward.input, onward.datain, onward.hops) == ("d", "out", b"data", 2)
    assert (onward.next_function_index, onward.came_from, onward.exec_us) == (3, 2, 14)
    assert onward.states["s"].location == "a's" and onward.uuid == "u" and onward.callback == "h:1"


def test_all_routers_send_the_branches_of_one_call_to_one_place_and_calls_to_many() -> None:
    places = [f"h{i}:10000" for i in range(5)]
    found = {meeting_place(LambdaRequest("d", uuid=str(i), next_function_index=3), places) for i in range(200)}
    assert found == {*places}
    assert all(meeting_place(at(3, branch, {}), places[::order]) == meeting_place(at(3, 2, {}), places)
               for branch in (2, 3) for order in (1, -1))  # fmt: skip
    assert meeting_place(at(3, 2, {}), []) is None


def test_random_chains_are_those_of_the_original_s_experiment() -> None:
    rng = Random(1)
    chains = [drawn(rng, ("a", "b", "c", "d", "e"), 3, 6, 10_000) for _ in range(2000)]
    assert all(len(each.functions) == 3 and sum(each.sizes.values()) == 210_000 for each in chains)
    users = [len(each.dependencies["s0"]) for each in chains]
    assert {*users} == {0, 1, 2}, "a random part, never all"
    assert 0.9 < sum(users) / len(users) < 1.1
    assert all({*each.dependencies["s5"]} <= {*each.functions} for each in chains)


@pytest.mark.parametrize(
    "text",
    [
        '{"functions": ["f", "g"], "dependencies": {"s": ["f"], "t": null}, "state-sizes": {"s": 100, "t": 5}}',
        '{"functionNames": ["a", "b", "c"], "successors": [[1, 2], [2]], "dependencies": {}, "state-sizes": {}}',
    ],
)
def test_the_original_s_files_are_read_and_written(text: str) -> None:
    assert json.loads(json_of(chain_of_json(text))) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "no JSON object"),
        ("{", "Expecting"),
        ('{"functions": []}', "no functions"),
        ('{"functions": ["f"], "dependencies": {"s": ["f"]}}', "state-sizes"),
        ('{"functionNames": ["a", "b", "c", "d"], "successors": [[1, 2], [3], [3]], "dependencies": {"s": ["b", "c"]}, '
         '"state-sizes": {"s": 1}}', "may run at the same time"),
    ],
)  # fmt: skip
def test_a_file_that_makes_no_sense_is_refused_with_the_reason(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        chain_of_json(text)


def test_a_chain_is_drawn_from_a_file_in_place_or_at_random(tmp_path: Any) -> None:
    path = tmp_path / "chain.json"
    path.write_text('{"functions": ["f", "g"]}')
    site: Any = type("Site", (), {"functions": {"x": None}})
    assert FileChain(type="file", filename=path).draw(site, Random(1)).functions == ("f", "g")
    assert InlineChain.model_validate({"functions": "f,g"}).draw(site, Random(1)).functions == ("f", "g")
    random = RandomChain.model_validate({"type": "random", "length": 2, "states": 1, "state-step": "1kB"})
    assert random.draw(site, Random(1)).label == "x-x"
    with pytest.raises(ValidationError, match="length"):
        RandomChain.model_validate({"type": "random", "length": 0})
