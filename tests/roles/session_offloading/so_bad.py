"""Requests that are wrong, or of somebody who means no good; each check runs in the twin and over real HTTP.

What is asked for is refused in words, and whatever was there before is there afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from so_asking import Checked
from so_checks import Check

NOT_TOKENS: tuple[bytes, ...] = (
    b"", b"x", b"null", b"7", b"[]", b"{}", b"\xff\xfe", b"[" * 50_000, b'{"session": "s"}',
    b'{"session": 7, "proprietaryLocation": "p3", "currentLocation": "p3"}',
    b'{"session": "s", "proprietaryLocation": "p3", "currentLocation": ["p3"]}',
    b'{"session": "s", "proprietaryLocation": "", "currentLocation": "p3"}',
)  # fmt: skip


def token(session: str, owner: str, current: str) -> dict[str, str]:
    """A session token."""
    return {"session": session, "proprietaryLocation": owner, "currentLocation": current}


async def refused(
    c: Checked, location: str, name: str, body: Any = b"", statuses: tuple[int, ...] = (400,),
    headers: Mapping[str, str] | None = None, **query: str,
) -> str:
    """Why a command was refused."""
    reply = await c.command(location, name, body, headers=headers, **query)
    assert reply.status in statuses, (location, name, body, reply.status, reply.text)
    assert 10 < len(reply.text) < 1500, reply.text
    return reply.text


async def check_bad_01_a_session_has_a_name(c: Checked) -> None:
    for name in ("", " ", "n" * 1025, "@receiver:receiver"):
        reply = await c.call("p3", x_session=name)
        assert (reply.status, "session" in reply.text) == (400, True), reply.text
    for name in ("n" * 1024, "a b", "é", "a/b?c#d&e=f", "%00", "'\"<>"):
        await c.note("p3", ["set", "k", name], session=name)
        assert await c.note("p3", ["get", "k"], session=name) == [name]


async def check_bad_02_tokens_are_tokens(c: Checked) -> None:
    await c.note("p3", ["set", "k", "v"])
    for body in NOT_TOKENS:
        for location, name in (("p2", "offload-session"), ("p1", "offload-session"), ("p3", "update-session")):
            said = await refused(c, location, name, body)
            assert "token" in said, said
    for body in (b"", b"[]", b'"x"', b'{"value": 7, "function": "receiver"}', b'{"value": "v"}'):
        await refused(c, "p3", "receive-propagate", body)
    assert await c.state() == {"p3": "p3*"}


async def check_bad_03_locations_are_in_the_tree(c: Checked) -> None:
    await c.note("p3", ["set", "k", "v"])
    s = c.s
    await refused(c, "p2", "offload-session", token(s, "p3", "nowhere"), (400, 403))
    await refused(c, "p2", "offload-session", token(s, "nowhere", "p3"), (400, 403))
    await refused(c, "p3", "update-session", token(s, "p3", "nowhere"))
    await refused(c, "p3", "migrate-session", headers={"X-session-move": "nowhere"}, session=s)
    await refused(c, "p2", "onload-session", headers={"X-onload-location": "nowhere"})
    assert await c.state() == {"p3": "p3*"}
    assert await c.note("p3", ["get", "k"]) == ["v"]


async def check_bad_04_nobody_takes_a_session_of_another(c: Checked) -> None:
    mine, theirs = f"{c.s}-3", f"{c.s}-4"
    await c.note("p3", ["set", "k", "3"], session=mine)
    await c.note("p4", ["set", "k", "4"], session=theirs)
    await c.offload("p4", theirs)
    forbidden = (400, 403)
    await refused(c, "p2", "offload-session", token(theirs, "p3", "p3"), forbidden)  # which it does not have
    await refused(c, "p2", "offload-session", token(mine, "p4", "p3"), forbidden)  # the owner is another
    await refused(c, "p2", "offload-session", token(theirs, "p4", "p1"), forbidden)  # from above
    await refused(c, "p2", "offload-session", token(theirs, "p4", "p2"), forbidden)  # from itself
    await refused(c, "p2", "onload-session", headers={"X-onload-location": "p1"})
    await refused(c, "p3", "update-session", token(theirs, "p3", "p3"))
    await refused(c, "p3", "update-session", token(mine, "p4", "p4"))
    assert await c.state(mine) == {"p3": "p3*"}
    assert await c.state(theirs) == {"p4": "p2", "p2": "p2*"}
    for location, session, value in (("p3", mine, "3"), ("p2", theirs, "4")):
        assert await c.note(location, ["get", "k"], session=session) == [value]


async def check_bad_05_what_is_asked_for_says_what(c: Checked) -> None:
    await refused(c, "p3", "migrate-session", statuses=(200, 400))
    for name in ("test-function", "register-receive-propagate", "set-offload-status", "garbage-collector"):
        await refused(c, "p3", name)
    await refused(c, "p2", "onload-session")
    await refused(c, "p3", "force-offload", headers={"X-forced-session": "nobody's"})
    for location, name in (("p1", "force-offload"), ("p1", "force-onload"), ("p1", "set-offload-status"),
                           ("p3", "offload-session"), ("p3", "onload-session")):  # fmt: skip
        assert "does not belong here" in await refused(c, location, name, token(c.s, "p3", "p3"))
    for path in ("", "nobody", "note/more", "%ff"):
        reply = await c.call("p3", function=path)
        assert reply.status == 404, (path, reply.status)


async def check_bad_06_keys_and_values_are_any_text(c: Checked) -> None:
    texts = ["", "\0", "\u2028\u2029", "\U0001f600", "é́", "\ud800", "\udfff\ud83d", "\ufeff", "a\r\nb", "{\"list\"", "‮"]
    for number, text in enumerate(texts):
        await c.note("p3", ["set", text, text], ["add_to_list", f"l{text}", text], ["set", f"n{number}", text])
    await c.offload("p3")
    await c.offload("p2")
    for number, text in enumerate(texts):
        asked = ["get", text], ["get_list", f"l{text}"], ["get", f"n{number}"]
        assert await c.note("p1", *asked) == [text, [text], text]
    body = json.loads((await c.command("p1", "migrate-session", session=c.s)).text.encode("utf-8", "replace"))
    assert len(body["session_data"]) == 3 * len(texts)


async def check_bad_07_functions_that_go_wrong_write_nothing(c: Checked) -> None:
    await c.note("p3", ["set", "k", "old"])
    reply = await c.call("p3", ["set", "k", "new"], ["fail"])
    assert (reply.status, "as asked" in reply.text) == (500, True), reply.text
    for operations in (["set", "k", 7], ["set", "k", None], ["add_to_list", "k", "x"], ["get", ["k"]]):
        reply = await c.call("p3", ["set", "k", "new"], operations)
        assert reply.status == 500, reply.text
    assert (await c.call("p3", session=c.s, verb="POST", query="a=%ff&=&&x")).status == 200
    assert await c.note("p3", ["get", "k"]) == ["old"]


async def check_bad_08_a_receiver_that_goes_wrong_is_told_and_what_was_written_stays(c: Checked) -> None:
    assert (await c.command("p2", "register-receive-propagate", function="note")).status == 200
    reply = await c.call("p3", ["set", "k", "v"], ["propagate", '[["fail"]]', "city", "note"])
    assert (reply.status, "note at p2 failed" in reply.text) == (502, True), reply.text
    assert await c.note("p3", ["get", "k"]) == ["v"]


BAD: dict[str, Check] = {name: value for name, value in list(globals().items()) if name.startswith("check_bad_")}
