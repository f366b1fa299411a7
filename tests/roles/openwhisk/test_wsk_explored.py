"""Servers and invokers under random faults, and that the invariants see a system that does not keep them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from under_faults import first, found, said, wrong
from wsk_world import Star

from roles.openwhisk.activation import Done
from roles.openwhisk.balancing import Balancer, Invoker
from roles.openwhisk.boxes import Box, Job
from roles.openwhisk.entities import Action
from roles.openwhisk.kinds import box as new_box
from roles.openwhisk.pool import Pool
from roles.openwhisk.system import SYSTEM
from roles.openwhisk.throttle import Throttle, Use
from testbed.experiment.load import load
from testbed.explore.exploring import Search
from testbed.explore.faults import KINDS, Chances
from testbed.roles.api import CallFailed

EXPLORED = Path(__file__).parent / "wsk_explored.yaml"
SHORT = ("workload.duration=30s",)
ALONE = ("place.worker=[]", 'settings.openwhisk.server={"keep_alive": "3s", "most_waiting": 6, "answer_wait": "5s"}')


@pytest.mark.parametrize(
    ("settings", "seeds"),
    [pytest.param((), range(1, 9), id="with invokers"), pytest.param(ALONE, range(21, 25), id="alone")],
)
def test_servers_keep_their_promises_under_every_kind_of_fault(settings: tuple[str, ...], seeds: range) -> None:
    search = Search(load(EXPLORED, (*SHORT, *settings)), Chances(tuple(KINDS)), lasting_s=50.0)
    assert said(found(search, seeds)) == []


async def _silent(self: Balancer, invoker: Invoker, job: Job) -> None:
    """An invoker that gives no answer costs the invocation, and nobody is told."""
    try:
        done = await self._ran(invoker, job)
    except CallFailed:
        return
    assert job.told is not None
    job.told(done)


async def _twice(self: Balancer, invoker: Invoker, job: Job) -> None:
    """A job without an answer is run once more, and both are told."""
    assert job.told is not None
    try:
        job.told(await self._ran(invoker, job))
    except CallFailed:
        job.told(Done.failed(3, "lost"))
        job.told(Done.failed(3, "lost"))


def _roomy(self: Pool, action: Action, gone: list[Box]) -> Box:
    """Containers are made whether or not there is memory."""
    box = new_box(self._host, action.code.kind, action.limits.memory_mb)
    self.boxes.add(box)
    self.used_mb += box.memory_mb
    return box


def _open(self: Throttle, namespace: str, wall: float) -> None:
    """Nobody is refused."""
    self.uses.setdefault(namespace, Use()).in_flight += 1


@pytest.mark.parametrize(
    ("kind", "name", "instead", "faults", "violated"),
    [
        (Balancer, "_send", _silent, "crash", "all-end"),
        (Balancer, "_send", _twice, "crash", "ends-once"),
        (Pool, "_made", _roomy, "crash", "capacity"),
        (Throttle, "enter", _open, "partition", "throttled"),
    ],
)
def test_a_system_that_forgets_is_found_out(
    kind: type, name: str, instead: Callable[..., Any], faults: str, violated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kind, name, instead)
    experiment = load(EXPLORED, ("workload.duration=30s", "workload.traffic[0].arrivals.rate=12/s"))
    search = Search(experiment, Chances(tuple(faults.split(","))), lasting_s=50.0)
    assert first(search, range(1, 9)) == violated


def _counted_wrong(star: Star) -> None:
    star.server.runner.used_mb += 1


def _ended_twice(star: Star) -> None:
    star.server.invoking.repeated.append("x")


def _forgotten(star: Star) -> None:
    star.server.invoking.under_way["x"] = -1000.0


def _in_flight(star: Star) -> None:
    star.server.throttle.uses["guest"].in_flight = 101


@pytest.mark.parametrize(
    ("falsify", "violated"),
    [(_counted_wrong, "capacity"), (_ended_twice, "ends-once"), (_forgotten, "all-end"), (_in_flight, "throttled")],
)
def test_each_invariant_sees_what_it_is_for(falsify: Callable[[Star], None], violated: str) -> None:
    async def story(star: Star) -> tuple[set[str], set[str]]:
        await star.invoke("quick")
        before = wrong(SYSTEM, star.world.loop.now, star.world.agents)
        falsify(star)
        await asyncio.sleep(0)
        return before, wrong(SYSTEM, star.world.loop.now, star.world.agents)

    assert Star().run(story) == (set(), {violated})
