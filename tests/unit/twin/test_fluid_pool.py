"""Many transfers through one bottleneck fare as if all shares were computed anew at each change, and cost little."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.twin.fluid import Fluid, Resource
from testbed.twin.loop import VirtualLoop

NEVER = 10**9  # so many flows there never are
Step = tuple[float, int, int, float, float | None]  # after how long, size, own resource, cap, when it is called off


class Counting(Resource):
    """Knows what has passed, and who shares it."""

    def __init__(self, capacity: float | None) -> None:
        super().__init__(capacity)
        self.passed, self.sharing = 0.0, 0

    def moved(self, size: float) -> None:
        self.passed += size

    def shared(self, flows: int) -> None:
        self.sharing = flows


def told(steps: list[Step], own: list[float | None], changes: list[tuple[float, int, float | None]], many: int,
         through_all: bool) -> tuple[list[float], list[float], list[int]]:  # fmt: skip
    """When each transfer ended, what each resource had passed at some moment, and how many shared it then."""
    loop, ended = VirtualLoop(), [-1.0] * len(steps)
    fluid, head = Fluid(loop, many), Counting(100.0)
    others = [Counting(capacity) for capacity in own]

    async def move(number: int, size: int, mine: int, cap: float) -> None:
        used = [others[mine], Counting(50.0)] + ([head] if through_all or number % 7 else [])
        await fluid.move("it", size, used, cap, lead=0.01 * (number % 3))
        ended[number] = loop.now

    def change(number: int, capacity: float | None) -> None:
        resource = [head, *others][number % (len(others) + 1)]
        resource.capacity = capacity
        fluid.changed(resource)

    def begin(number: int, size: int, mine: int, cap: float, called_off: float | None) -> None:
        task = loop.create_task(move(number, size, mine % len(others), cap))
        if called_off is not None:
            loop.at(loop.now + called_off, task.cancel)

    when = 0.0
    for number, (gap, *what) in enumerate(steps):
        when += gap
        loop.at(when, begin, number, *what)
    for moment, number, capacity in changes:
        loop.at(moment, change, number, capacity)
    loop.run_until(3.0)
    fluid.account()
    seen = [each.passed for each in (head, *others)], [each.sharing for each in (head, *others)]
    loop.run_until(10_000.0)
    return ended, *seen


capacities = st.sampled_from([None, 0.0, 5.0, 40.0, 100.0, 1000.0])
starts = st.tuples(
    st.sampled_from([0.0, 0.0, 0.1, 0.7]), st.integers(1, 300), st.integers(0, 5),
    st.sampled_from([float("inf"), 1000.0, 12.0]), st.sampled_from([None, None, None, 0.0, 0.4]),
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(starts, min_size=1, max_size=25), st.lists(capacities, min_size=1, max_size=4),
       st.lists(st.tuples(st.floats(0, 6), st.integers(0, 4), capacities), max_size=3), st.booleans())  # fmt: skip
def test_a_pool_gives_what_computing_all_shares_anew_would_give(
    steps: list[Step], own: list[float | None], changes: list[tuple[float, int, float | None]], through_all: bool
) -> None:
    arguments = steps, own, changes
    ended, passed, sharing = told(*arguments, many=1, through_all=through_all)
    plainly_ended, plainly_passed, plainly_sharing = told(*arguments, many=NEVER, through_all=through_all)
    assert ended == pytest.approx(plainly_ended, rel=1e-9, abs=1e-9)
    assert passed == pytest.approx(plainly_passed, rel=1e-9, abs=1e-7)
    assert sharing == plainly_sharing


def spent(flows: int, *, many: int) -> float:
    """CPU seconds for so many transfers from one disk, each over its own link, that begin and end one by one."""
    loop = VirtualLoop()
    fluid, disk = Fluid(loop, many), Resource(1e6)
    for number in range(flows):
        resources = [disk, Resource(1e6), Resource(None), Resource(5e5)]
        loop.at(number * 1e-3, lambda used=resources: loop.create_task(fluid.move("it", 10**6, used)))
    begun = time.process_time()
    loop.run_until(1e6)
    return time.process_time() - begun


def test_a_transfer_beside_many_others_costs_what_one_beside_few_costs() -> None:
    few = min(spent(100, many=32) for _ in range(3))
    assert spent(1600, many=32) < 16 * 5 * few  # without pools: a hundred and more
