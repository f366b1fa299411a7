"""The serverless compute service under random faults, and that its invariants see a service that does not keep them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scs_twin import Platform, function
from under_faults import first, found, said, wrong

from roles.serverless_compute.cluster import Cluster
from roles.serverless_compute.head import Head
from roles.serverless_compute.members import Members
from roles.serverless_compute.model import State
from roles.serverless_compute.node import Node
from roles.serverless_compute.state import Call
from roles.serverless_compute.system import SYSTEM
from testbed.experiment.load import load
from testbed.explore.exploring import Search
from testbed.explore.faults import KINDS, Chances

EXPLORED = Path(__file__).parent / "scs_explored.yaml"
SHORT = ("workload.duration=30s",)
HEAD = "settings.serverless_compute.head"


@pytest.mark.parametrize(
    ("settings", "seeds"),
    [
        pytest.param((), range(1, 13), id="first come first served, in little room"),
        pytest.param((f"{HEAD}.scheduler=random", f"{HEAD}.head_full=reject"), range(21, 25), id="random"),
        pytest.param((f"{HEAD}.scheduler=balancing", f"{HEAD}.idle_timeout=0"), range(31, 35), id="balancing"),
    ],
)
def test_the_service_keeps_its_promises_under_every_kind_of_fault(settings: tuple[str, ...], seeds: range) -> None:
    search = Search(load(EXPLORED, (*SHORT, *settings)), Chances(tuple(KINDS)), lasting_s=60.0)
    assert said(found(search, seeds)) == []


# What a service is like that forgets something, and the promise that it breaks then.


def _nothing(*_: object) -> None:
    pass


async def _deaf(_: Members) -> None:
    await asyncio.get_running_loop().create_future()


def _yes(*_: object) -> bool:
    return True


@pytest.mark.parametrize(
    ("kind", "name", "instead", "kinds", "violated"),
    [
        (Head, "unpin", _nothing, "crash", "books balance"),
        (Cluster, "_make_room", _yes, "crash", "within capacity"),
        (Members, "make_room", _nothing, "crash", "head and nodes agree"),
        (Members, "watch", _deaf, "machine", "members are known"),
    ],
)
def test_a_service_that_forgets_is_found_out(
    kind: type, name: str, instead: Callable[..., Any], kinds: str, violated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kind, name, instead)
    search = Search(load(EXPLORED, SHORT), Chances((kinds,)), lasting_s=60.0)
    assert first(search, range(1, 11)) == violated


# What each invariant looks at: a state of affairs that is right, with one thing made wrong.


def _node(platform: Platform) -> Node:
    role = platform.agents["n1", "node"].role
    assert isinstance(role, Node)
    return role


def _free(platform: Platform) -> None:
    platform.head.core.cluster.nodes[0].free_disk = -1


def _too_many(platform: Platform) -> None:
    _node(platform).began.update({7: 0.0, 8: 0.0, 9: 0.0})


def _one_less(platform: Platform) -> None:
    platform.head.core.cluster.nodes[0].free_slots -= 1


def _twice(platform: Platform) -> None:
    platform.head.answers.count += 1


def _back_in_time(platform: Platform) -> None:
    ends = platform.head.answers.ends
    ends[1] = replace(ends[1], t_start=0.0)


def _two_copies(platform: Platform) -> None:
    _node(platform).copying += ["x", "x"]


def _not_ordered(platform: Platform) -> None:
    platform.head.errands.running.clear()


def _no_file(platform: Platform) -> None:
    _node(platform).files.remove("f-image")


def _long_idle(platform: Platform) -> None:
    for each in platform.head.core.cluster.containers.values():
        each.idle_since -= 100


def _forgotten(platform: Platform) -> None:
    core = platform.head.core
    core.pending.add(Call(9, next(iter(core.registrations.values())), "", 0.0, State.SCHEDULABLE))


def _dead(platform: Platform) -> None:
    del platform.agents["n1", "node"]


@pytest.mark.parametrize(
    ("falsify", "violated"),
    [
        (_free, "within capacity"), (_too_many, "nodes within capacity"), (_one_less, "books balance"),
        (_twice, "calls end once"), (_back_in_time, "moments in order"), (_two_copies, "transfers are made once"),
        (_not_ordered, "calls run"), (_no_file, "head and nodes agree"), (_long_idle, "idle containers end"),
        (_forgotten, "nobody is forgotten"), (_dead, "members are known"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("scheduler", ["fcfs", "balancing"])
def test_each_invariant_sees_what_it_is_for(falsify: Callable[[Platform], None], violated: str, scheduler: str) -> None:
    platform = Platform(function("f", 3), idle_timeout="9s", scheduler=scheduler)

    async def story() -> tuple[set[str], set[str]]:
        await platform.call(0)
        second = asyncio.ensure_future(platform.call(15))
        await platform.until(16.5 if falsify in (_not_ordered, _too_many) else 19)
        before = wrong(SYSTEM, platform.world.loop.now, platform.agents)
        falsify(platform)
        await asyncio.sleep(0)
        second.cancel()
        return before, wrong(SYSTEM, platform.world.loop.now, platform.agents)

    before, after = platform.run(story)
    assert before == set()
    assert violated in after
