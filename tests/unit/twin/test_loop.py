"""The event loop in virtual time: the order of events, asyncio's own tools on it, and what it refuses."""

from __future__ import annotations

import asyncio
import contextvars
import gc
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.twin.handles import Task
from testbed.twin.loop import FEW_TIMERS, VirtualLoop


def test_time_passes_only_while_everybody_waits() -> None:
    loop = VirtualLoop(start=100.0)

    async def main() -> list[float]:
        seen = [loop.time()]
        await asyncio.sleep(3600.0)
        seen.append(loop.time())
        await loop.sleep(0.25)
        return [*seen, loop.now]

    assert loop.run(main()) == [100.0, 3700.0, 3700.25]


@given(st.lists(st.sampled_from([0.0, 1.0, 2.0]), max_size=30), st.booleans())
def test_equal_times_fire_in_the_order_of_their_scheduling(times: list[float], mixed: bool) -> None:
    loop, fired = VirtualLoop(), []
    for number, when in enumerate(times):
        schedule = loop.call_at if mixed and number % 2 else loop.at
        schedule(when, lambda *both: fired.append(both), when, number)
    loop.run_until(2.0)
    assert fired == sorted((when, number) for number, when in enumerate(times))


def test_what_a_timer_makes_ready_has_run_before_the_next_timer_of_the_same_time() -> None:
    loop, seen = VirtualLoop(), list[str]()

    def first() -> None:
        seen.append("first")
        loop.call_soon(lambda: (seen.append("soon"), loop.call_soon(seen.append, "sooner")))

    loop.at(1.0, first)
    loop.at(1.0, seen.append, "second")
    loop.run_until(1.0)
    assert seen == ["first", "soon", "sooner", "second"]


def test_a_past_time_counts_as_now_and_time_never_goes_backwards() -> None:
    loop, seen = VirtualLoop(start=5.0), list[float]()

    async def main() -> None:
        loop.at(1.0, lambda: seen.append(loop.now))
        loop.call_at(2.0, lambda: seen.append(loop.now))
        loop.call_later(-3.0, lambda: seen.append(loop.now))
        await loop.sleep(-1.0)
        seen.append(loop.now)
        await loop.sleep(1.0)

    loop.run(main())
    loop.run_until(3.0)
    assert seen == [5.0] * 4
    assert loop.now == 6.0


def test_a_sleep_of_nothing_lets_everything_that_is_ready_run_first() -> None:
    loop, seen = VirtualLoop(), list[str]()

    async def other() -> None:
        for each in "abc":
            seen.append(each)
            await asyncio.sleep(0)

    async def main() -> None:
        task = loop.create_task(other())
        await loop.sleep(0)
        seen.append("main")
        await task

    loop.run(main())
    assert seen == ["a", "b", "c", "main"]


def test_run_until_stops_the_clock_between_two_events() -> None:
    loop, seen = VirtualLoop(), list[float]()
    for when in (1.0, 2.0, 3.0):
        loop.at(when, lambda: seen.append(loop.now))
    loop.run_until(2.0)
    assert (seen, loop.now) == ([1.0, 2.0], 2.0)
    loop.run_until(2.5)
    assert (seen, loop.now) == ([1.0, 2.0], 2.5)


def test_asyncio_s_own_tools_work_in_virtual_time() -> None:
    loop = VirtualLoop()

    async def worker(queue: asyncio.Queue[int], limit: asyncio.Semaphore) -> int:
        async with limit:
            await asyncio.sleep(await queue.get())
        return int(loop.time())

    async def main() -> object:
        queue: asyncio.Queue[int] = asyncio.Queue()
        limit, event = asyncio.Semaphore(2), asyncio.Event()
        for seconds in (5, 1, 7):
            queue.put_nowait(seconds)
        ends = await asyncio.gather(*(worker(queue, limit) for _ in range(3)))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10.0):
                await event.wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(asyncio.sleep(5)), 1.0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout_at(loop.time() - 1.0):
                await event.wait()
        loop.call_later(2.0, event.set)
        async with asyncio.TaskGroup() as group:
            group.create_task(event.wait())
        done, waiting = await asyncio.wait([loop.create_task(asyncio.sleep(s)) for s in (1, 3)], timeout=2.0)
        return ends, len(done), len(waiting), loop.time()

    assert loop.run(main()) == ([5, 1, 8], 1, 1, 8.0 + 10.0 + 1.0 + 2.0 + 2.0)


def test_tasks_and_cancellable_callbacks_run_in_their_context() -> None:
    loop, owner, seen = VirtualLoop(), contextvars.ContextVar("owner", default="nobody"), list[str]()

    async def child() -> None:
        loop.call_later(1.0, lambda: seen.append(owner.get()))
        await asyncio.sleep(1.0)
        seen.append(owner.get())

    async def main() -> None:
        owner.set("node 7")
        task = asyncio.create_task(child())
        owner.set("somebody else")
        await task

    loop.run(main())
    assert seen == ["node 7", "node 7"]


def test_a_cancelled_callback_does_not_run() -> None:
    loop, seen = VirtualLoop(), list[str]()
    soon, later = loop.call_soon(seen.append, "soon"), loop.call_later(1.0, seen.append, "later")
    soon.cancel()
    loop.run_until(0.5)
    later.cancel()
    loop.run_until(2.0)
    assert (seen, soon.cancelled(), later.cancelled(), later.when()) == ([], True, True, 1.0)


def test_time_outs_that_never_strike_do_not_pile_up() -> None:
    loop, sizes = VirtualLoop(), list[int]()

    async def main() -> None:
        loop.at(500.0, sizes.append, -1)
        for _ in range(20 * FEW_TIMERS):
            async with asyncio.timeout(1000.0):
                sleeping = asyncio.ensure_future(loop.sleep(2000.0))
                await loop.sleep(0.001)
                sleeping.cancel()
            sizes.append(len(loop.timers))
        await loop.sleep(500.0)

    loop.run(main())
    assert max(sizes) <= FEW_TIMERS + 3
    assert sizes[-1] == -1  # the timer that was not cancelled outlived the sweeps


def test_generators_left_half_way_are_closed_in_the_order_of_their_beginning() -> None:
    loop, closed, kept = VirtualLoop(), list[int](), list[AsyncIterator[int]]()

    async def numbers(name: int) -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            closed.append(name)

    async def main() -> None:
        for name in range(20):
            kept.append(numbers(name))
            await anext(kept[-1])
        async for _ in numbers(100):
            break

    loop.run(main())
    assert closed == [*range(20), 100] or closed == [100, *range(20)]


def test_tells_of_every_task_before_it_runs_and_numbers_them_anew_in_each_loop() -> None:
    def history() -> list[str]:
        loop, told = VirtualLoop(), list[str]()
        loop.task_made = lambda task, _: told.append(task.get_name())

        async def child() -> None:
            told.append("runs")

        async def main() -> None:
            await loop.create_task(child(), name="child")
            await loop.create_task(child())

        loop.run(main())
        return told

    assert history() == history() == ["main", "child", "runs", "Task-2", "runs"]


def test_sets_of_tasks_have_the_same_order_in_every_process() -> None:
    loop = VirtualLoop()

    async def main() -> tuple[list[int], list[int]]:
        tasks = [Task(number * 7919 % 101, asyncio.sleep(0), loop, None, None) for number in range(100)]
        done, _ = await asyncio.wait(tasks)
        return [task.number for task in done if isinstance(task, Task)], list({task.number for task in tasks})

    got, expected = loop.run(main())
    assert got == expected


def test_refuses_threads_other_loops_and_a_second_life() -> None:
    loop = VirtualLoop()

    async def main() -> None:
        with pytest.raises(RuntimeError, match="no threads"):
            await asyncio.to_thread(print)
        idle = asyncio.sleep(1)
        with pytest.raises(RuntimeError, match="inside another event loop"):
            VirtualLoop().run(idle)
        idle.close()

    loop.run(main())
    loop.close()
    idle = asyncio.sleep(1)
    with pytest.raises(RuntimeError, match="closed"):
        loop.run(idle)
    idle.close()


def test_pythons_collector_is_as_before_after_a_run_and_after_a_run_that_failed() -> None:
    before = gc.get_threshold(), gc.get_freeze_count()

    async def fails() -> None:
        assert gc.get_threshold() != before[0]
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        VirtualLoop().run(fails())
    assert (gc.get_threshold(), gc.get_freeze_count()) == before
