"""Places that tasks take and give back: first come, first served, and none is ever lost."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from testbed.twin.loop import VirtualLoop
from testbed.twin.slots import Slots


def test_serves_in_the_order_of_arrival_and_lets_nobody_slip_in() -> None:
    loop, slots, served = VirtualLoop(), Slots(1), list[str]()

    async def guest(name: str, arrives: float) -> None:
        await loop.sleep(arrives)
        async with slots:
            served.append(name)
            await loop.sleep(10.0)

    async def main() -> None:
        names = {"a": 0.0, "b": 1.0, "c": 1.0, "d": 10.0}  # d comes at the instant at which a's place goes to b
        await asyncio.gather(*(guest(*each) for each in names.items()))

    loop.run(main())
    assert served == ["a", "b", "c", "d"]
    assert (loop.now, slots.free, slots.waiting) == (40.0, 1, 0)


def test_takes_without_waiting_only_what_is_free() -> None:
    slots = Slots(1)
    assert [slots.try_take(), slots.try_take()] == [True, False]
    slots.give()
    assert slots.try_take()


Guest = tuple[float, float, float]  # arrives, stays, loses patience after


@given(st.lists(st.tuples(*[st.sampled_from([0.0, 1.0, 2.0, 3.0])] * 3), max_size=12), st.integers(1, 3))
def test_no_place_is_lost_or_doubled_whenever_guests_lose_patience(guests: list[Guest], capacity: int) -> None:
    loop, slots = VirtualLoop(), Slots(capacity)
    inside = 0

    async def guest(arrives: float, stays: float, patience: float) -> None:
        nonlocal inside
        await loop.sleep(arrives)
        try:
            async with asyncio.timeout(patience), slots:
                inside += 1
                try:
                    assert inside + slots.free <= capacity
                    await loop.sleep(stays)
                finally:
                    inside -= 1
        except TimeoutError:
            return

    async def main() -> None:
        await asyncio.gather(*(guest(*each) for each in guests))

    loop.run(main())
    assert (slots.free, slots.waiting, inside) == (capacity, 0, 0)
