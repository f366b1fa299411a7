"""The checks of the reference, each written once: they run in the twin and, over real HTTP, in emulation."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

from so_asking import ALL, Checked

from roles.session_offloading.messages import SESSION

Check = Callable[[Checked], Awaitable[None]]


async def check_01_the_first_call_makes_a_session_at_home(c: Checked) -> None:
    assert (await c.call("p3")).status == 200
    details = await c.details("p3")
    assert details["token"] == {"session": c.s, "proprietaryLocation": "p3", "currentLocation": "p3"}
    assert await c.state() == {"p3": "p3*"}


async def check_02_the_second_call_is_served_there(c: Checked) -> None:
    await c.call("p3")
    assert (await c.call("p3")).status == 200
    assert await c.state() == {"p3": "p3*"}


async def check_03_data_are_shared_by_functions_and_not_by_sessions(c: Checked) -> None:
    await c.note("p3", ["set", "k", "v"], ["add_to_list", "l", "a"], ["add_to_list", "l", "b"])
    asked = ["get", "k"], ["get_list", "l"]
    assert await c.note("p3", *asked, function="other") == ["v", ["a", "b"]]
    assert await c.note("p3", *asked, function="other", session=c.s + "x") == [None, []]


async def check_04_the_status_is_accept_or_reject(c: Checked) -> None:
    for status in ("reject", "accept"):
        reply = await c.command("p3", "set-offload-status", status=status)
        assert (reply.status, f"to <{status}>" in reply.text) == (200, True)
        assert json.loads((await c.command("p3", "metrics")).text)["status"] == status
    assert (await c.command("p3", "set-offload-status", status="maybe")).status == 400
    assert (await c.command("p3", "set-offload-status")).status == 400


async def check_05_there_is_no_such_command(c: Checked) -> None:
    for name in ("", "force-everything"):
        reply = await c.command("p3", name)
        assert (reply.status, "force-offload" in reply.text) == (404, True)


async def check_06_a_session_goes_up_with_all_its_data(c: Checked) -> None:
    await c.note("p3", ["set", "k", "v"], ["add_to_list", "l", "a"], ["set", "ключ\u2028", "\U0001f600\0"])
    await c.offload("p3")
    assert await c.state() == {"p3": "p2", "p2": "p2*"}
    assert (await c.details("p3"))["bytes"] == 0
    asked = ["get", "k"], ["get_list", "l"], ["get", "ключ\u2028"]
    assert await c.note("p2", *asked) == ["v", ["a"], "\U0001f600\0"]


async def check_07_then_home_sends_up_with_path_and_query(c: Checked) -> None:
    await c.call("p3")
    await c.offload("p3")
    for query in ("", "a=1&b=%20x&b=2"):
        reply = await c.call("p3", query=query)
        expected = f"{c.url('p2')}/function/note" + (f"?{query}" if query else "")
        assert (reply.status, reply.header("location")) == (307, expected)


async def check_08_a_post_arrives_up_there_as_it_was(c: Checked) -> None:
    await c.call("p3")
    await c.offload("p3")
    way, reply = await c.followed("p3", ["request"], query="x=1", verb="PUT", x_other="kept")
    said = json.loads(reply.text)[0]
    assert way == ["p3", "p2"]
    assert (said["verb"], said["query"], said["session"], said["location"]) == ("PUT", {"x": "1"}, c.s, "p2")
    assert (said["headers"]["x-other"], said["headers"][SESSION]) == ("kept", c.s)


async def check_09_up_there_goes_on_what_began_at_home(c: Checked) -> None:
    await c.note("p3", ["add_to_list", "l", "before"])
    await c.offload("p3")
    await c.note("p2", ["add_to_list", "l", "after"])
    assert await c.note("p2", ["get_list", "l"]) == [["before", "after"]]


async def check_10_who_rejects_hands_on_and_keeps_no_trace(c: Checked) -> None:
    await c.status("p2", "reject")
    await c.note("p3", ["set", "k", "v"])
    await c.offload("p3")
    assert await c.state() == {"p3": "p1", "p1": "p1*"}
    assert await c.note("p1", ["get", "k"]) == ["v"]


async def check_11_then_the_data_travel_once_and_not_by_the_rejecting(c: Checked) -> None:
    before = await c.migrations("p3"), await c.migrations("p2")
    await check_10_who_rejects_hands_on_and_keeps_no_trace(c)
    after = await c.migrations("p3")
    assert after["p1"] == before[0].get("p1", 0) + 1
    assert after.get("p2", 0) == before[0].get("p2", 0)
    assert await c.migrations("p2") == before[1]


async def check_12_the_root_always_accepts(c: Checked) -> None:
    assert (await c.command("p1", "set-offload-status", status="reject")).status == 400
    await c.call("p2")
    await c.offload("p2")
    assert await c.state() == {"p2": "p1", "p1": "p1*"}


async def check_13_where_there_is_no_session_nothing_goes_up(c: Checked) -> None:
    reply = await c.command("p4", "force-offload")
    assert (reply.status, await c.state()) == (400, {})


async def check_14_the_session_that_is_named_goes_up_and_no_other(c: Checked) -> None:
    for session in ("a", "b", "c"):
        await c.call("p3", session=c.s + session)
    await c.offload("p3", c.s + "b")
    assert [await c.state(c.s + each) for each in "abc"] == [{"p3": "p3*"}, {"p3": "p2", "p2": "p2*"}, {"p3": "p3*"}]
    reply = await c.command("p3", "force-offload", headers={"X-forced-session": c.s + "b"})
    assert reply.status == 400


async def check_15_a_guest_goes_further_up(c: Checked) -> None:
    await c.note("p3", ["set", "k", "v"])
    await c.offload("p3")
    await c.offload("p2")
    assert await c.state() == {"p1": "p1*", "p2": "p3", "p3": "p1"}
    way, reply = await c.followed("p2", ["get", "k"])
    assert (way, reply.text) == (["p2", "p3", "p1"], '["v"]')


async def check_16_a_session_comes_home(c: Checked) -> None:
    await c.note("p3", ["set", "k", "v"])
    await c.offload("p3")
    await c.onload("p3")
    assert await c.state() == {"p3": "p3*", "p2": "p3"}
    way, reply = await c.followed("p2", ["get", "k"])
    assert (way, reply.text) == (["p2", "p3"], '["v"]')


async def check_17_and_goes_up_again(c: Checked) -> None:
    await check_16_a_session_comes_home(c)
    await c.offload("p3")
    assert await c.state() == {"p3": "p2", "p2": "p2*"}
    assert (await c.call("p2")).status == 200


async def check_18_a_sister_does_not_get_it(c: Checked) -> None:
    await c.call("p3")
    await c.offload("p3")
    assert (await c.command("p4", "force-onload")).status == 400
    assert await c.state() == {"p3": "p2", "p2": "p2*"}


async def check_19_where_nothing_is_above_nothing_comes_down(c: Checked) -> None:
    for location in ("p2", "p3"):
        reply = await c.command(location, "force-onload")
        assert (reply.status, reply.text.startswith("Nothing to onload")) == (400, True)


async def check_20_an_onload_names_where_the_data_are(c: Checked) -> None:
    await c.call("p3")
    await c.offload("p3")
    reply = await c.command("p2", "onload-session", headers={"X-onload-location": "p3"})
    assert json.loads(reply.text) == {"session": c.s, "proprietaryLocation": "p3", "currentLocation": "p2"}
    reply = await c.command("p2", "migrate-session", session=c.s)
    assert json.loads(reply.text) == {"session_data": []}
    assert (await c.command("p2", "onload-session")).status == 400
    assert (await c.command("p2", "onload-session", headers={"X-onload-location": "p1"})).status == 400


async def check_21_data_are_fetched_once(c: Checked) -> None:
    await c.note("p3", ["set", "k", "v"], ["set", "k2", "v2"])
    first = json.loads((await c.command("p3", "migrate-session", session=c.s)).text)
    second = json.loads((await c.command("p3", "migrate-session", session=c.s)).text)
    assert first == {"session_data": [{"key": "k", "data": "v"}, {"key": "k2", "data": "v2"}]}
    assert second == {"session_data": []}
    assert (await c.details("p3"))["token"]["proprietaryLocation"] == "p3"


async def check_22_an_owner_is_told_where_its_session_is(c: Checked) -> None:
    token = {"session": c.s, "proprietaryLocation": "p3", "currentLocation": "p2"}
    assert (await c.command("p3", "update-session", token)).status == 400
    await c.call("p3")
    assert (await c.command("p3", "update-session", {**token, "proprietaryLocation": "p4"})).status == 400
    assert (await c.command("p3", "update-session", token)).status == 200
    assert (await c.details("p3"))["token"] == token
    assert (await c.call("p3")).header("location") == f"{c.url('p2')}/function/note"


async def check_23_name_and_owner_never_change(c: Checked) -> None:
    await c.call("p3")
    for name, command in [("p3", "offload"), ("p2", "offload"), ("p2", "onload"), ("p3", "onload"), ("p3", "offload")]:
        await (c.offload(name) if command == "offload" else c.onload(name))
        for location in ALL:
            token = (await c.details(location))["token"]
            assert token is None or (token["session"], token["proprietaryLocation"]) == (c.s, "p3")


async def check_24_one_has_the_data_and_the_owner_knows_which(c: Checked) -> None:
    await c.note("p3", ["set", "k", "v"])
    for name, command in [("p3", "offload"), ("p2", "offload"), ("p2", "onload"), ("p2", "offload")]:
        await (c.offload(name) if command == "offload" else c.onload(name))
        state = await c.state()
        holders = [location for location, said in state.items() if said.endswith("*")]
        assert [state["p3"].rstrip("*")] == holders, state


async def check_25_a_receiver_is_registered_once(c: Checked) -> None:
    for _ in range(2):
        assert (await c.command("p3", "register-receive-propagate", function="other")).status == 200
    assert (await c.command("p3", "register-receive-propagate", function="nobody")).status == 400
    await c.note("p3", ["propagate", '[["add_to_list", "l", "x"]]', "district", "other"])
    told = await c.command("p3", "receive-propagate", {"value": '[["get_list", "l"]]', "function": "other"})
    assert json.loads(told.text)[0].count("x") == 1


async def check_26_values_reach_the_way_from_a_level_down_to_here(c: Checked) -> None:
    value = f"v of {c.s}"
    await c.note("p3", ["propagate", value, "city", "receiver"])
    for location, times in [("p1", 0), ("p2", 1), ("p3", 1), ("p4", 0)]:
        probe = f"probe of {c.s}"
        reply = await c.command(location, "receive-propagate", {"value": probe, "function": "receiver"})
        assert json.loads(reply.text).count(value) == times, (location, reply.text)


async def check_27_values_for_nobody_go_nowhere(c: Checked) -> None:
    await c.note("p3", ["propagate", "v", "city", "heavy"], ["propagate", "v", "nowhere", "receiver"])
    reply = await c.command("p3", "receive-propagate", {"value": "v", "function": "nobody"})
    assert (reply.status, reply.text) == (200, "")


async def check_28_people_can_ask(c: Checked) -> None:
    async def said(location: str) -> tuple[int, str]:
        reply = await c.command(location, "test-function", session=c.s, verb="GET")
        return reply.status, reply.text.strip()

    assert (await said("p3"))[0] == 400
    await c.call("p3")
    assert await said("p3") == (200, "offloaded: no")
    await c.offload("p3")
    assert await said("p3") == await said("p2") == (200, "offloaded: yes (p2)")


async def check_29_home_answers_while_it_waits(c: Checked) -> None:
    await c.note("p3", ["set", "k", "v" * 100_000])
    others = [c.s + str(number) for number in range(5)]
    for each in others:
        await c.call("p3", session=each)
    await asyncio.gather(*(c.offload("p3", each) for each in (c.s, *others)))
    assert [await c.state(each) for each in (c.s, *others)] == 6 * [{"p3": "p2", "p2": "p2*"}]


async def check_30_the_middle_fetches_from_the_root(c: Checked) -> None:
    await c.note("p3", ["set", "k", "v"])
    await c.offload("p3")
    await c.offload("p2")
    await c.onload("p2")
    assert await c.state() == {"p2": "p2*", "p3": "p2", "p1": "p3"}
    assert await c.note("p2", ["get", "k"]) == ["v"]


async def check_31_what_is_acknowledged_is_there_in_the_end(c: Checked) -> None:
    acknowledged = []
    over = asyncio.Event()

    async def append() -> None:
        for number in range(30):
            _, reply = await c.followed("p3", ["add_to_list", "l", str(number)])
            if reply.status == 200:
                acknowledged.append(str(number))
        over.set()

    async def move() -> None:
        moves = [("p3", "force-offload"), ("p2", "force-offload"), ("p2", "force-onload"), ("p3", "force-onload")]
        turn = 0
        while not over.is_set():
            await c.command(*moves[turn % 4], headers={"X-forced-session": c.s})
            turn += 1

    await asyncio.gather(append(), move())
    _, reply = await c.followed("p3", ["get_list", "l"])
    assert json.loads(reply.text)[0] == acknowledged  # what was sent round and round was not appended either
    assert len(acknowledged) > 10


CHECKS: dict[str, Check] = {name: value for name, value in list(globals().items()) if name.startswith("check_")}
