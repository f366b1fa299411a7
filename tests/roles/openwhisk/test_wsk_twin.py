"""Stories in the twin: containers cold and warm, room and queues, invokers that die, a server that restarts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from wsk_world import MB, Star, noted, times

UNLIMITED = {"limits": {"per_minute": None, "concurrent": None}}


def test_a_cold_start_waits_for_its_container_and_a_warm_one_does_not() -> None:
    async def story(star: Star) -> list[Any]:
        return [times(await star.invoke("quick")) for _ in range(2)]

    assert Star().run(story) == [(400, 50, 150), (0, None, 100)]


def test_a_prewarmed_container_has_only_to_load_the_action() -> None:
    async def story(star: Star) -> list[Any]:
        await star.sleep(1)
        first = times(await star.invoke("quick"))
        await star.sleep(1)
        return [first, times(await star.invoke("other"))]

    prewarm = [{"kind": "model:1", "memory": "256MiB"}]
    assert Star({"prewarm": prewarm}).run(story) == [(0, 50, 150), (0, 50, 150)]  # another took the place of the first


def test_a_container_that_nobody_needs_is_removed() -> None:
    async def story(star: Star) -> list[Any]:
        found = []
        for pause in (0, 8, 11):
            await star.sleep(pause)
            found.append(noted(await star.invoke("quick")).get("initTime"))
        assert len(star.server.runner.boxes) == 1
        await star.sleep(11)
        assert not star.server.runner.boxes
        assert star.server.runner.used_mb == 0
        return found

    assert Star({"keep_alive": "10s"}).run(story) == [50, None, 50]


def test_who_finds_no_memory_waits_in_turn() -> None:
    async def story(star: Star) -> list[int]:
        records = await asyncio.gather(*(star.invoke("quick") for _ in range(6)))
        assert star.server.runner.used_mb == 1024
        return sorted(noted(each)["waitTime"] for each in records)

    assert Star().run(story) == [400, 400, 400, 400, 550, 550]  # four containers; two wait for a warm one


def test_idle_containers_make_room_the_longest_idle_first() -> None:
    async def story(star: Star) -> list[Any]:
        await asyncio.gather(star.invoke("quick"), star.invoke("quick"))
        await star.invoke("other")
        found = [noted(await star.invoke(name)).get("initTime") for name in ("single", "single", "slow", "other")]
        return found

    # room for three: `single` and `slow` take those of `quick`, and `other` keeps its own
    assert Star({"memory": "768MiB"}).run(story) == [50, None, 50, None]


def test_a_function_that_runs_as_often_as_it_may_holds_up_no_other() -> None:
    async def story(star: Star) -> Any:
        singles = [asyncio.ensure_future(star.invoke("single")) for _ in range(3)]
        await star.sleep(0.5)
        quick = noted(await star.invoke("quick"))["waitTime"]
        return quick, [noted(each)["waitTime"] for each in await asyncio.gather(*singles)]

    assert Star().run(story) == (400, [400, 1450, 2450])


def test_a_time_limit_ends_what_takes_too_long_and_its_container() -> None:
    async def story(star: Star) -> Any:
        status, record = await star.ask("POST", "_/actions/slow?blocking=true", {})
        assert not star.server.runner.boxes
        return status, record["response"]["result"], noted(record)["timeout"], times(record)

    said = {"error": "The action exceeded its time limits of 2000 milliseconds."}
    assert Star().run(story) == (502, said, True, (400, 50, 2050))


def test_an_action_of_the_modelled_kind_comes_over_the_interface() -> None:
    async def story(star: Star) -> Any:
        assert await star.put("own", '{"service_s": 0.3}', "model:1") == 200
        assert await star.put("bad", '{"service": 0.3}', "model:1") == 400
        return times(await star.invoke("own")), times(await star.invoke("own", payload='{"service_s": 1}'))

    assert Star().run(story) == ((400, 50, 350), (0, None, 1000))


def test_python_that_comes_over_the_interface_runs_and_its_waiting_is_reckoned() -> None:
    async def story(star: Star) -> Any:
        await star.put("nap", "import time\ncount = 0\ndef main(p):\n    global count\n    count += 1\n"
                       "    print('nap')\n    time.sleep(p['s'])\n    return {'count': count}")  # fmt: skip
        first, second = await star.invoke("nap", s=0.25), await star.invoke("nap", s=0.5)
        assert [each["duration"] for each in (first, second)] == [250, 500]
        assert first["logs"] == ["2023-11-14T22:13:20.005000000Z stdout: nap"]
        return [each["response"]["result"] for each in (first, second)]

    assert Star().run(story) == [{"count": 1}, {"count": 2}]


def test_an_action_that_ends_the_twins_worker_is_told_and_others_go_on() -> None:
    async def story(star: Star) -> Any:
        await star.put("well", "def main(p): return {'x': 1}")
        await star.put("crash", "import os\ndef main(p): os._exit(1)")
        found = [await star.invoke(name, "blocking=true&result=true") for name in ("well", "crash", "well", "crash")]
        return [next(iter(each.values())) for each in found]

    said = "The action did not produce a valid response and exited unexpectedly."
    assert Star().run(story) == [1, said, 1, said]


def test_a_blocking_invocation_is_not_waited_for_longer_than_asked_and_goes_on() -> None:
    async def story(star: Star) -> Any:
        status, data = await star.ask("POST", "_/actions/single?blocking=true&timeout=500", {})
        assert status == 202
        early = (await star.ask("GET", f"_/activations/{data['activationId']}"))[0]
        await star.sleep(2)
        return early, (await star.ask("GET", f"_/activations/{data['activationId']}"))[1]["response"]["status"]

    assert Star().run(story) == (404, "success")


def test_a_minute_has_so_many_invocations() -> None:
    async def story(star: Star) -> Any:
        found = [(await star.ask("POST", "_/actions/quick", {}))[0] for _ in range(5)]
        await star.sleep(60)
        return found, (await star.ask("POST", "_/actions/quick", {}))[0]

    assert Star({"limits": {"per_minute": 3}}).run(story) == ([202, 202, 202, 429, 429], 202)


def test_more_than_may_wait_are_refused() -> None:
    async def story(star: Star) -> Any:
        found = await asyncio.gather(*(star.ask("POST", "_/actions/quick?blocking=true", {}) for _ in range(30)))
        assert not star.server.invoking.under_way
        assert star.server.throttle.in_flight("guest") == 0
        return {code: sum(status == code for status, _ in found) for code in (200, 503)}

    assert Star({**UNLIMITED, "most_waiting": 10}).run(story) == {200: 14, 503: 16}  # four run at once


def test_a_sequence_leaves_a_record_and_one_for_each_part() -> None:
    async def story(star: Star) -> Any:
        body = {"exec": {"kind": "sequence", "components": ["/_/quick", "/guest/other"]}}
        assert (await star.ask("PUT", "_/actions/both", body))[0] == 200
        record = await star.invoke("both")
        parts = [(await star.ask("GET", f"_/activations/{each}"))[1] for each in record["logs"]]
        assert all(each["cause"] == record["activationId"] for each in parts)
        assert all(noted(each)["causedBy"] == "sequence" for each in parts)
        return record["response"]["status"], noted(record)["kind"], noted(record)["topmost"], [e["name"] for e in parts]

    assert Star().run(story) == ("success", "sequence", True, ["quick", "other"])


def test_a_sequence_ends_where_a_part_fails() -> None:
    async def story(star: Star) -> Any:
        body = {"exec": {"kind": "sequence", "components": ["/_/slow", "/_/quick"]}}
        await star.ask("PUT", "_/actions/both", body)
        record = await star.invoke("both")
        return len(record["logs"]), record["response"]["status"]

    assert Star().run(story) == (1, "action developer error")


# Invokers.


def test_an_action_stays_with_its_invoker_while_that_has_room() -> None:
    async def story(star: Star) -> Any:
        alone = {noted(await star.invoke("quick"))["invoker"] for _ in range(3)}
        many = await asyncio.gather(*(star.invoke("quick") for _ in range(8)))
        found = [noted(each)["invoker"] for each in many]
        return len(alone), sorted(found.count(name) for name in ("i1", "i2"))

    assert Star(invokers=("i1", "i2")).run(story) == (1, [4, 4])


def test_an_invoker_that_dies_costs_what_it_ran_and_the_other_goes_on() -> None:
    async def story(star: Star) -> Any:
        home = noted(await star.invoke("quick"))["invoker"]
        lost = asyncio.ensure_future(star.ask("POST", "_/actions/quick?blocking=true", {}))
        await star.sleep(0.05)
        star.world.kill(home, "invoker")
        status, record = await lost
        assert (status, record["response"]["status"]) == (500, "whisk internal error")
        assert home in record["response"]["result"]["error"]
        other = noted(await star.invoke("quick"))["invoker"]
        assert other != home
        await star.again(home)
        await star.sleep(8)
        assert noted(await star.invoke("quick"))["invoker"] == home
        assert not star.server.invoking.under_way

    Star(invokers=("i1", "i2")).run(story)


def test_without_any_invoker_invocations_are_refused() -> None:
    async def story(star: Star) -> Any:
        star.world.kill("i1", "invoker")
        await star.sleep(8)
        return await star.ask("POST", "_/actions/quick?blocking=true", {})

    status, data = Star(invokers=("i1",)).run(story)
    assert status == 503
    assert data["error"] == "No invokers available to process the request."


def test_an_invoker_that_restarted_is_sent_the_code_again() -> None:
    async def story(star: Star) -> Any:
        await star.put("hi", "def main(p): return {'x': 1}")
        await star.invoke("hi")
        await star.again("i1")
        await star.sleep(3)
        return (await star.invoke("hi"))["response"]["result"]

    assert Star(invokers=("i1",)).run(story) == {"x": 1}


# Restart.


@pytest.mark.parametrize("persist", [True, False])
def test_a_server_that_is_killed_comes_back_with_its_actions(persist: bool) -> None:
    async def story(star: Star) -> Any:
        await star.put("hi", "def main(p): return {'x': 1}")
        await star.ask("PUT", "_/packages/kit", {"parameters": [{"key": "a", "value": 1}]})
        await star.ask("DELETE", "_/actions/slow")
        before = await star.invoke("hi")
        await star.again("s")
        names = sorted(each["name"] for each in (await star.ask("GET", "_/actions"))[1])
        packages = [each["name"] for each in (await star.ask("GET", "_/packages"))[1]]
        assert (await star.ask("GET", f"_/activations/{before['activationId']}"))[0] == 404  # records are in memory
        if persist:
            assert (await star.invoke("hi"))["activationId"] != before["activationId"]
        return names, packages

    found = Star({"persist": persist}).run(story)
    kept, new = (["hi", "other", "quick", "single"], ["kit"]), (["other", "quick", "single", "slow"], [])
    assert found == (kept if persist else new)


def test_the_same_seed_gives_the_same_records() -> None:
    async def story(star: Star) -> Any:
        await asyncio.gather(*(star.invoke(name) for name in ("quick", "other", "single") * 4))
        return (await star.ask("GET", "_/activations?docs=true"))[1]

    assert Star(invokers=("i1", "i2")).run(story) == Star(invokers=("i1", "i2")).run(story)


def test_memory_beyond_the_invokers_is_told() -> None:
    async def story(star: Star) -> Any:
        await star.put("big", '{"service_s": 0.3}', "model:1", limits={"memory": 512})
        return await star.invoke("big", "blocking=true&result=true")

    found = Star({"memory": f"{256 * MB}B"}).run(story)
    assert found == {"error": "The action needs 512 MB; the invoker has 256 MB."}
