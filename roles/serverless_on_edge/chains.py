"""Chains and DAGs of functions with their states, as plain data: what follows what, and who uses which state.

A chain is a sequence; a DAG (directed acyclic graph) has one first and one last function, and a function with several
predecessors runs once when all of them have ended. Names may repeat: a place is an index. Dependencies say which
functions, by name, use a state; a state that nobody uses never travels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from random import Random

from roles.serverless_on_edge.limits import MOST_FUNCTIONS, MOST_NAME, wrong_with_endpoint
from roles.serverless_on_edge.messages import Dag, FunctionList, IndexList, LambdaRequest


@dataclass(frozen=True)
class Composition:
    """What one invocation runs. ``successors`` is None for a chain; ``sizes`` are the bytes of each state."""

    functions: tuple[str, ...]
    successors: tuple[tuple[int, ...], ...] | None = None
    dependencies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Its name in outputs, as the original gives it."""
        return "-".join(self.functions)

    @property
    def used(self) -> tuple[str, ...]:
        """The states that some function uses."""
        return tuple(state for state in self.sizes if set(self.dependencies.get(state, ())) & {*self.functions})

    def states_of(self, function: str) -> tuple[str, ...]:
        """The states that a function uses."""
        return tuple(state for state in self.sizes if function in self.dependencies.get(state, ()))

    def following(self, index: int) -> tuple[int, ...]:
        """What runs next."""
        if self.successors is None:
            return (index + 1,) if index + 1 < len(self.functions) else ()
        return self.successors[index] if index < len(self.successors) else ()

    @cached_property
    def before(self) -> tuple[tuple[int, ...], ...]:
        """Of each function, what must have run before, immediately."""
        found: list[dict[int, None]] = [{} for _ in self.functions]
        for each in range(len(self.functions)):
            for index in self.following(each):
                if index < len(found):
                    found[index][each] = None
        return tuple(tuple(each) for each in found)

    def preceding(self, index: int) -> tuple[int, ...]:
        """What must have run before, immediately."""
        return self.before[index] if index < len(self.functions) else ()

    def ancestors(self, index: int) -> frozenset[int]:
        """All that must have run before."""
        found: set[int] = set()
        left = [*self.preceding(index)]
        while left:
            each = left.pop()
            if each not in found:
                found.add(each)
                left += self.preceding(each)
        return frozenset(found)

    def alone(self, function: str) -> LambdaRequest:
        """The part of a request that tells of one function by itself and its states, as the original puts it."""
        wanted = {state: FunctionList((function,)) for state in self.states_of(function)}
        if self.successors is None:
            return LambdaRequest(function, chain=(function,), dependencies=wanted)
        return LambdaRequest(function, dag=Dag((), (function,)), dependencies=wanted)

    def whole(self) -> LambdaRequest:
        """The part of a request that tells of all of it, beginning with the first function."""
        wanted = {state: FunctionList(self.dependencies[state]) for state in self.used}
        if self.successors is None:
            return LambdaRequest(self.functions[0], chain=self.functions, dependencies=wanted)
        dag = Dag(tuple(IndexList(each) for each in self.successors), self.functions)
        return LambdaRequest(self.functions[0], dag=dag, dependencies=wanted)


def composition(request: LambdaRequest) -> Composition:
    """What a request is part of; a single function is a chain of one."""
    wanted = {state: each.functions for state, each in request.dependencies.items()}
    sizes = {state: len(each.content) for state, each in request.states.items()}
    if request.dag is not None and request.dag.names:
        successors = tuple(each.functions for each in request.dag.successors)
        return Composition(request.dag.names, successors, wanted, sizes)
    return Composition(request.chain or (request.name,), None, wanted, sizes)


def oversized(request: LambdaRequest) -> str:
    """What of this request is longer than anybody takes; empty if nothing is."""
    functions = max(len(request.chain), len(request.dag.names) if request.dag else 0)
    if functions > MOST_FUNCTIONS:
        return f"the request has {functions} functions; {MOST_FUNCTIONS} at most"
    if len(request.uuid) > MOST_NAME:
        return f"the uuid has {len(request.uuid)} characters; {MOST_NAME} at most"
    return ""


def refusal(request: LambdaRequest) -> str:
    """Why a computer cannot take this request whatever it has; empty if it can."""
    dag = len(request.dag.names) if request.dag else 0
    if wrong := oversized(request):
        return wrong
    if request.callback and (wrong := wrong_with_endpoint("the callback", request.callback)):
        return wrong
    if request.chain and dag:
        return "a request has a chain or a DAG, not both"
    if max(len(request.chain), dag) > 1 and not request.callback:
        return "a chain or DAG needs a callback: call one function at a time, or asynchronously"
    if request.chain and request.next_function_index >= len(request.chain):
        return f"the chain has {len(request.chain)} functions, none with the index {request.next_function_index}"
    if dag > 1 and not request.uuid:
        return "a DAG needs a uuid"
    return _broken(request) if dag else ""


def _broken(request: LambdaRequest) -> str:
    assert request.dag is not None
    names, lists = len(request.dag.names), request.dag.successors
    indices = {request.next_function_index, request.came_from - 1 if request.came_from else 0,
               *(index for each in lists for index in each.functions)}  # fmt: skip
    if max(indices) >= names or len(lists) != names - 1:
        return f"the DAG has {names} functions, so it needs {names - 1} lists of successors, with indices below {names}"
    return _never_ends(composition(request))


def _never_ends(what: Composition) -> str:
    """What of a DAG goes round, leads nowhere or is never reached; empty if all of it ends at its last function."""
    missing = {index: len(before) for index, before in enumerate(what.before)}
    ready = [0] if not missing[0] else []
    for index in ready:
        for following in dict.fromkeys(what.following(index)):
            missing[following] -= 1
            if not missing[following]:
                ready.append(following)
    dead = next((index for index in range(len(what.functions) - 1) if not what.following(index)), None)
    if dead is not None:
        return f"function {dead} of the DAG leads nowhere; only the last one may"
    if len(ready) < len(what.functions):
        stuck = min({*missing} - {*ready})
        return f"function {stuck} of the DAG never runs: it waits for itself, or nothing leads to it"
    return ""


def joins(request: LambdaRequest) -> bool:
    """Whether the function that is called has several predecessors, all of which must have ended."""
    return len(predecessors(request)) > 1


def predecessors(request: LambdaRequest) -> tuple[int, ...]:
    """The functions of a DAG that call this one; nothing for a chain."""
    if request.dag is None or len(request.dag.names) < 2:
        return ()
    return composition(request).preceding(request.next_function_index)


def meeting_place(request: LambdaRequest, destinations: Sequence[str]) -> str | None:
    """The one destination at which all branches meet, whichever router is asked (highest random weight)."""
    what = f"{request.uuid} {request.next_function_index}"
    return max(destinations, key=lambda each: hashlib.sha256(f"{what} {each}".encode()).digest(), default=None)


def wrong_with(functions: Sequence[str], successors: Sequence[Sequence[int]] | None) -> str:
    """What is wrong with the shape of a chain or DAG in a file; empty if nothing is."""
    if not functions:
        return "has no functions"
    if successors is None:
        return ""
    last = len(functions) - 1
    if len(successors) != last:
        return f"needs {last} lists of successors: one for each function but the last"
    for index, each in enumerate(successors):
        if not each:
            return f"function {index} ({functions[index]}) leads nowhere: only the last one may"
        if any(not index < other <= last for other in each) or len({*each}) < len(each):
            return f"function {index} ({functions[index]}) must lead to later ones, each once, up to {last}"
    reached = {other for each in successors for other in each}
    lost = next((index for index in range(1, last + 1) if index not in reached), None)
    return "" if lost is None else f"nothing leads to function {lost} ({functions[lost]})"


def contended(what: Composition) -> str:
    """A state that two functions use which may run at the same time, told in words; empty if there is none."""
    if what.successors is None:
        return ""
    before = [what.ancestors(index) for index in range(len(what.functions))]
    for state in what.used:
        users = [index for index, name in enumerate(what.functions) if name in what.dependencies[state]]
        for first, second in _pairs(users):
            if first not in before[second] and second not in before[first]:
                names = f"{what.functions[first]} (function {first}) and {what.functions[second]} (function {second})"
                return f"the state {state} is used by {names}, which may run at the same time"
    return ""


def _pairs(indices: Sequence[int]) -> Iterator[tuple[int, int]]:
    return ((a, b) for place, a in enumerate(indices) for b in indices[place + 1 :])


def drawn(rng: Random, functions: Sequence[str], length: int, states: int, step: int) -> Composition:
    """A random chain: ``length`` functions with replacement; each state is used by 0 to length - 1 drawn ones of them.

    State number i has (i + 1) * ``step`` bytes. Source: experiment 400 of the original.
    """
    chosen = tuple(rng.choice(functions) for _ in range(length))
    users = {f"s{i}": tuple(rng.sample(chosen, rng.randrange(length))) for i in range(states)}
    return Composition(chosen, None, users, {f"s{i}": (i + 1) * step for i in range(states)})
