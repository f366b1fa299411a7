"""What the virtual loop says when nothing will happen any more, when callbacks fail, and when tasks are left over."""

from __future__ import annotations

import asyncio
from math import inf

import pytest

from testbed.twin.loop import Stalled, VirtualLoop


def test_says_who_waits_for_what_when_nothing_will_ever_happen_any_more() -> None:
    loop = VirtualLoop()

    async def forlorn() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        await loop.sleep(12.5)
        await asyncio.gather(*(loop.create_task(forlorn(), name=f"agent {n}") for n in range(6)))

    with pytest.raises(Stalled, match=r"12\.5 s.*nothing.*main .*; agent 0 .*forlorn, .*errors\.py:\d+.* and 2 more"):
        loop.run(main())


def test_a_wait_for_the_end_of_time_is_no_event() -> None:
    loop = VirtualLoop()
    with pytest.raises(Stalled, match="nothing will ever happen"):
        loop.run(asyncio.wait_for(asyncio.Event().wait(), inf))
    assert loop.now == 0.0


def test_says_that_time_stands_still_when_a_task_waits_without_letting_it_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("testbed.twin.loop.MOST_ROUNDS", 1000)

    async def impatient() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(Stalled, match=r"stands still at 0 s.*main .*impatient"):
        VirtualLoop().run(impatient())


def test_raises_what_the_main_coroutine_raises() -> None:
    async def main() -> None:
        raise LookupError("nobody here")

    with pytest.raises(LookupError, match="nobody here"):
        VirtualLoop().run(main())


def fails(kind: str, loop: VirtualLoop) -> None:
    def boom() -> None:
        raise ZeroDivisionError(kind)

    async def boom_later() -> None:
        await loop.sleep(1.0)
        boom()

    async def stubborn() -> None:
        try:
            await loop.sleep(100.0)
        finally:
            boom()

    match kind:
        case "soon":
            loop.call_soon(boom)
        case "later":
            loop.call_later(1.0, boom)
        case "at":
            loop.at(1.0, boom)
        case "task":
            loop.create_task(boom_later())
        case "cleaning up":
            loop.create_task(stubborn())


@pytest.mark.parametrize("kind", ["soon", "later", "at", "task", "cleaning up"])
def test_an_error_that_nobody_awaits_is_raised_at_the_end_and_stops_nobody_else(kind: str) -> None:
    loop, seen = VirtualLoop(), list[float]()

    async def main() -> str:
        fails(kind, loop)
        await loop.sleep(2.0)
        seen.append(loop.now)
        return "done"

    with pytest.raises(ZeroDivisionError, match=kind):
        loop.run(main())
    assert seen == [2.0]
    assert len(loop.errors) == 1


def test_what_is_left_at_the_end_is_cancelled_in_the_order_of_its_making() -> None:
    loop, ended = VirtualLoop(), list[str]()

    async def agent(name: str) -> None:
        try:
            await loop.sleep(100.0)
        finally:
            ended.append(name)

    async def main() -> None:
        for number in range(50):
            loop.create_task(agent(f"{number}"), name="agent")
        await loop.sleep(1.0)

    loop.run(main())
    assert ended == [f"{number}" for number in range(50)]
    assert loop.now == 1.0


def test_a_task_that_will_not_be_cancelled_is_named() -> None:
    loop = VirtualLoop()

    async def stubborn() -> None:
        while True:
            try:
                await loop.sleep(1.0)
            except asyncio.CancelledError:
                continue

    async def main() -> None:
        loop.create_task(stubborn(), name="mule")
        await loop.sleep(0.5)

    with pytest.raises(RuntimeError, match=r"waits on although cancelled: mule .*stubborn"):
        loop.run(main())
