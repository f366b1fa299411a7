"""The service's checks through all its roles, in the twin: who is answered what, errors, losses, equal histories."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from scs_twin import MB, Platform, function, shifted, times

from roles.serverless_compute import messages
from roles.serverless_compute.messages import Progress


async def result(platform: Platform, number: int, wait_s: float = 100.0) -> tuple[float, Progress]:
    """The end of an invocation and when the asker knew it."""
    answer = await platform.ask(messages.RESULT, messages.Result(number, wait_s))
    return round(platform.now(), 6), shifted(answer)


def test_ends_are_told_to_each_who_waits_for_them_and_no_one_else() -> None:
    functions = [function(name, seconds, image="one") for name, seconds in (("a", 1), ("b", 2), ("c", 3))]
    platform = Platform(*functions, nodes=["n1"], node={"slots": 4})

    async def story() -> list[float]:
        await platform.until(0)
        told = [await platform.ask(messages.INVOKE, messages.Invoke(name)) for name in "abc"]
        assert [each.state for each in told] == ["admitted"] * 3
        waits = [result(platform, each.invocation) for each in (*told, told[1])]
        ends = [at for at, _ in await asyncio.gather(*map(asyncio.ensure_future, waits))]
        return [*ends, (await result(platform, told[0].invocation))[0]]

    assert platform.run(story) == [11.5, 12.5, 13.5, 12.5, 13.5]


def test_an_invocation_under_way_tells_how_far_it_is() -> None:
    platform = Platform()

    async def story() -> list[tuple[str, str]]:
        number = (await platform.ask(messages.INVOKE, messages.Invoke("f"))).invocation
        seen = []
        for at in (1, 8.5, 10.2, 11, 12):
            await platform.until(at)
            _, answer = await result(platform, number, 0)
            seen.append((answer.state, answer.node))
        return seen

    assert platform.run(story) == [
        ("admitted", ""), ("schedulable", ""), ("starting", "n1"), ("running", "n1"), ("completed", "n1"),
    ]  # fmt: skip


def test_an_answer_does_not_wait_longer_than_it_was_asked_to() -> None:
    platform = Platform()

    async def story() -> tuple[float, str]:
        answer = await platform.ask(messages.INVOKE, messages.Invoke("f", wait_s=3.0))
        return platform.now(), answer.state

    assert platform.run(story) == (3, "admitted")


def test_something_unknown_is_refused_and_nothing_comes_of_it() -> None:
    platform = Platform()
    (answer,) = platform.calls((0, "stranger"))
    assert (answer.state, answer.cause, answer.invocation) == ("refused", "function_not_found", 0)
    assert platform.carried("r", "r-h") == 0


def test_an_unknown_invocation_is_told_from_one_that_ended() -> None:
    platform = Platform()

    async def story() -> Progress:
        return (await result(platform, 17))[1]

    answer = platform.run(story)
    assert (answer.state, answer.cause) == ("refused", "unknown_invocation")


def test_a_call_can_be_called_off() -> None:
    platform = Platform(function("f", 100))

    async def story() -> tuple[Progress, Progress]:
        first = asyncio.ensure_future(platform.call(0))
        await platform.until(20)
        told = await platform.ask(messages.CANCEL, messages.Cancel(1))
        return await first, shifted(told)

    first, told = platform.run(story)
    assert first == told and (first.state, first.cause, first.t_end) == ("cancelled", "cancelled", 20)


def test_the_head_spends_its_processing_time_one_call_after_the_other() -> None:
    platform = Platform(function("f", 5), nodes=["n1"], node={"slots": 4}, resident="memory", processing="1s")
    answers = platform.calls(0, 0, 0)
    assert [(each.t_submit, *times(each)) for each in answers] == [(1, 1, 1.5, 6.5), (2, 2, 2.5, 7.5), (3, 3, 3.5, 8.5)]


def test_a_function_s_error_ends_its_invocation_and_not_its_container() -> None:
    def code(ctx: Any, payload: str) -> str:
        ctx.sleep(0.3)
        raise FileNotFoundError(payload)

    given = function("f", None, code="f.py")
    first, second = Platform(given, codes={"f": code}).calls((0, "f", "there"), (20, "f", "here"))
    assert times(first) == (10, 10.5, 10.8) and (first.state, first.cause) == ("failed", "function_error")
    assert "FileNotFoundError" in first.detail and "there" in first.detail
    assert times(second) == (20, 20, 20.3) and second.start_kind == "hot"


def test_a_function_that_writes_more_than_its_storage_fails_and_the_next_finds_it_empty() -> None:
    def code(ctx: Any, payload: str) -> str:
        ctx.write("first", 300 * MB)
        if payload != "once":
            ctx.write("second", 300 * MB)
        return "written"

    given = function("f", None, code="f.py", storage_bytes=512 * MB)
    first, second = Platform(given, codes={"f": code}).calls((0, "f", "twice"), (20, "f", "once"))
    assert times(first) == (10, 10.5, 13.5) and first.cause == "ephemeral_storage_full"
    assert times(second) == (20, 20, 23) and (second.state, second.output) == ("completed", "written")


@pytest.mark.parametrize(("patience", "ends"), [("100ns", 5), ("1s", 6)])  # the reference has none: the first
def test_a_lost_download_fails_all_who_wait_for_it_and_a_later_call_fetches_anew(patience: str, ends: float) -> None:
    platform = Platform(storage="100MB", patience=patience)

    async def story() -> list[Progress]:
        waiting = [asyncio.ensure_future(platform.call(at)) for at in (0, 1, 20)]
        await platform.until(5)
        platform.world.network.connect("r-h", False)
        await platform.until(15)
        platform.world.network.connect("r-h", True)
        return list(await asyncio.gather(*waiting))

    first, second, third = platform.run(story)
    assert [(each.state, each.cause) for each in (first, second)] == [("failed", "image_fetch_failed")] * 2
    assert [round(each.t_end or 0, 6) for each in (first, second)] == [ends, ends]  # cut at 5, noticed later
    assert third.t_schedulable == 28


def told(seed: int, scheduler: str) -> list[Progress]:
    """What becomes of 60 calls of two functions at random moments."""
    rng = random.Random(seed)
    functions = [function(name, 1.3, storage_bytes=10 * MB) for name in "ab"]
    platform = Platform(*functions, nodes=["n1", "n2", "n3"], scheduler=scheduler, seed=seed, resident="head")
    return platform.calls(*((rng.uniform(0, 20), rng.choice("ab")) for _ in range(60)))


@pytest.mark.parametrize("scheduler", ["fcfs", "random", "balancing"])
def test_equal_seeds_give_equal_histories(scheduler: str) -> None:
    first, second = told(1, scheduler), told(1, scheduler)
    assert first == second and {each.state for each in first} == {"completed"}
    assert first != told(2, scheduler)


def test_waiting_times_are_those_of_queueing_theory() -> None:
    """Eight slots, Poisson arrivals at 6.4/s, exponential work of 1 s: Erlang's C formula gives 0.4576 and 0.2860 s."""
    count, rng = 12_000, random.Random(5)
    platform = Platform(function("f", 1), nodes=["n1"], node={"slots": 8}, resident="memory", cold_start=0)
    waits: list[float] = []

    async def one(payload: str) -> None:
        answer = await platform.ask(messages.INVOKE, messages.Invoke("f", payload, None))
        waits.append(answer.t_dispatch - answer.t_submit)

    async def story() -> None:
        for _ in range(count):
            await platform.world.loop.sleep(rng.expovariate(6.4))
            platform.client.begin(one(f'{{"service_s": {rng.expovariate(1.0):.9f}}}'))
        await platform.world.loop.sleep(100)

    platform.run(story)
    assert sum(each > 1e-9 for each in waits) / count == pytest.approx(0.4576, rel=0.1)
    assert fmean(waits) == pytest.approx(0.2860, rel=0.2)


def test_the_twin_of_an_experiment_writes_the_same_bytes_again(tmp_path: Path) -> None:
    def written(name: str, seed: int) -> dict[str, bytes]:
        folder = tmp_path / name
        folder.mkdir()
        platform = Platform(folder=folder, seed=seed, scheduler="random", resident="head")
        platform.calls(*(0.1 * i for i in range(30)))
        return {path.name: path.read_bytes() for path in sorted(folder.rglob("*.csv"))}

    assert written("first", 1) == written("second", 1)
    assert len(written("third", 1)) == 4
