"""Work that shares the cores of a limited host, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.roles.processor import Processor
from testbed.twin.loop import VirtualLoop


class Env:
    """The clock of a virtual loop."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.tasks: list[asyncio.Task[None]] = []

    def now(self) -> float:
        return self._loop.now

    async def sleep(self, seconds: float) -> None:
        await self._loop.sleep(seconds)

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.ensure_future(coroutine))


def told(story: Callable[[Env], Awaitable[Any]]) -> Any:
    loop = VirtualLoop()

    async def whole() -> Any:
        return await story(Env(loop))

    return loop.run(whole())


def ends(cores: float | None, pieces: list[tuple[float, float]]) -> list[float]:
    """When each piece ends that begins at its first number and takes its second on an idle core."""

    async def story(env: Env) -> list[float]:
        processor = Processor(env, cores)

        async def one(begin: float, seconds: float) -> float:
            await env.sleep(begin)
            assert await processor.work(seconds)
            return env.now()

        return list(await asyncio.gather(*(one(*each) for each in pieces)))

    return list(told(story))


def test_without_a_limit_everything_takes_its_own_time() -> None:
    assert ends(None, [(0, 1), (0, 1), (0.5, 2)]) == pytest.approx([1, 1, 2.5])


def test_half_a_core_takes_twice_as_long() -> None:
    assert ends(0.5, [(0, 1)]) == pytest.approx([2])


def test_one_piece_uses_one_core_at_most() -> None:
    assert ends(4, [(0, 1), (0, 1)]) == pytest.approx([1, 1])


def test_pieces_share_the_cores_and_go_faster_when_others_end() -> None:
    assert ends(1, [(0, 1), (0, 2)]) == pytest.approx([2, 3])
    assert ends(1, [(0, 2), (1, 0.5)]) == pytest.approx([2.5, 2])
    assert ends(2, [(0, 1), (0, 1), (0, 1)]) == pytest.approx([1.5, 1.5, 1.5])


def test_work_is_given_up_when_its_time_is_over_and_the_others_go_on_faster() -> None:
    async def story(env: Env) -> tuple[bool, float, bool, float]:
        processor = Processor(env, 1)
        other = asyncio.ensure_future(processor.work(2))
        is_done = await processor.work(5, within=2)
        gave_up = env.now()
        return is_done, gave_up, await other, env.now()

    assert told(story) == (False, pytest.approx(2), True, pytest.approx(3))


def test_work_of_which_nobody_wants_the_end_makes_room() -> None:
    async def story(env: Env) -> float:
        processor = Processor(env, 1)
        unwanted = asyncio.ensure_future(processor.work(10))
        wanted = asyncio.ensure_future(processor.work(1))
        await env.sleep(1)
        unwanted.cancel()
        await wanted
        return env.now()

    assert told(story) == pytest.approx(1.5)


@settings(deadline=None, max_examples=60)
@given(
    st.floats(0.05, 4),
    st.lists(st.tuples(st.floats(0, 5), st.floats(0.01, 3)), min_size=1, max_size=8),
)
def test_never_more_work_is_done_than_the_cores_can(cores: float, pieces: list[tuple[float, float]]) -> None:
    found = ends(cores, pieces)
    for (begin, seconds), end in zip(pieces, found, strict=True):
        assert end >= begin + seconds / min(1, cores) - 1e-6
    first, last = min(begin for begin, _ in pieces), max(found)
    assert (last - first) * cores >= sum(seconds for _, seconds in pieces) - 1e-6
    assert last <= max(begin for begin, _ in pieces) + sum(seconds for _, seconds in pieces) / min(1, cores) + 1e-6
