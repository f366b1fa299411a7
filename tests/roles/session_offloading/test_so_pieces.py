"""Locks, the EdgeDB and policies: what decides nothing but its own, as tables."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from so_stores import record

from roles.session_offloading.edgedb import EdgeDb
from roles.session_offloading.embedded import EmbeddedStorage
from roles.session_offloading.locks import Locks
from roles.session_offloading.options import OracleOptions
from roles.session_offloading.oracle import look
from roles.session_offloading.policies import Look, policy
from roles.session_offloading.records import Changes

# Locks: each word of a script is one who comes (r, w, m), in order; what is told is who is inside, wave by wave.


@pytest.mark.parametrize(
    ("script", "waves"),
    [
        ("rrr", ["rrr"]), ("rw", ["r", "w"]), ("wr", ["w", "r"]), ("rrwrr", ["rr", "w", "rr"]),
        ("wm", ["w", "m"]), ("mrrm", ["m", "rr", "m"]), ("rwmr", ["r", "w", "m", "r"]),
    ],
)  # fmt: skip
def test_readers_share_and_everybody_else_takes_turns(script: str, waves: list[str]) -> None:
    async def story() -> list[str]:
        locks, inside, seen = Locks(), list[str](), list[str]()

        async def come(kind: str) -> None:
            async with {"r": locks.reading, "w": locks.writing, "m": locks.move}[kind]("s"):
                inside.append(kind)
                await asyncio.sleep(0.001)
                if inside:
                    seen.append("".join(inside))
                    inside.clear()

        await asyncio.gather(*map(come, script))
        assert not locks.held("s")
        return seen

    assert asyncio.run(story()) == waves


def test_a_session_is_moving_from_when_a_move_waits_for_it() -> None:
    async def story() -> None:
        locks = Locks()
        assert not locks.moving("s")
        async with locks.writing("s"):
            move = asyncio.ensure_future(_hold(locks))
            await asyncio.sleep(0)
            assert (locks.moving("s"), locks.moving("t"), locks.held("t")) == (True, False, False)
            async with locks.writing("t"):
                pass
        await move
        assert not locks.moving("s")

    asyncio.run(story())


async def _hold(locks: Locks) -> None:
    async with locks.move("s"):
        assert locks.moving("s")


@pytest.mark.parametrize("turns", range(4))
def test_who_goes_away_in_the_line_holds_nobody_up(turns: int) -> None:
    async def story() -> None:
        locks = Locks()
        async with locks.writing("s"):
            leaving = asyncio.ensure_future(_hold(locks))
            behind = asyncio.ensure_future(_hold(locks))
            await asyncio.sleep(0)
        for _ in range(turns):  # its turn may have come meanwhile
            await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.wait_for(behind, 5)
        await asyncio.wait({leaving})
        assert not locks.held("s")

    asyncio.run(story())


# The EdgeDB: operations, what they give, and what is put down in the end.

Ops = list[tuple[Any, ...]]


def asked(*operations: tuple[Any, ...]) -> tuple[list[Any], Changes, EdgeDb]:
    """The answers, on a session that has k=v and the list l=[a]."""

    async def story() -> tuple[list[Any], Changes, EdgeDb]:
        storage = EmbeddedStorage()
        await storage.write(record("s"), Changes({"k": "v"}, {"l": ["a"]}))
        db = EdgeDb(storage, "s", lambda: {"verb": "GET"})
        both = ("key", "value")
        names = {"get": both[:1], "list": both[:1], "delete": both[:1], "set": both, "add": both}
        given = []
        for do, *words in operations:
            fields = dict(zip(names.get(do, ()), words, strict=True))
            given.append(json.loads(await db.answer(json.dumps({"do": do, **fields}))))
        return given, db.changes, db

    return asyncio.run(story())


@pytest.mark.parametrize(
    ("operations", "answers", "changes"),
    [
        ([("get", "k"), ("list", "l"), ("get", "x"), ("list", "x")], ["v", ["a"], None, None], Changes()),
        ([("set", "k", "w"), ("get", "k")], [None, "w"], Changes({"k": "w"})),
        ([("add", "l", "b"), ("list", "l"), ("get", "l")], [None, ["a", "b"], '{"list":["a","b"]}'],
         Changes({}, {"l": ["b"]})),
        ([("add", "x", "b"), ("add", "x", "c"), ("list", "x")], [None, None, ["b", "c"]],
         Changes({}, {"x": ["b", "c"]})),
        ([("set", "l", '{"list":["z"]}'), ("add", "l", "y"), ("list", "l")], [None, None, ["z", "y"]],
         Changes({"l": '{"list":["z","y"]}'})),
        ([("delete", "l"), ("list", "l"), ("add", "l", "n"), ("list", "l")], [None, None, None, ["n"]],
         Changes({}, {"l": ["n"]}, {"l"})),
        ([("add", "l", "b"), ("delete", "l"), ("get", "l")], [None, None, None], Changes(gone={"l"})),
        ([("set", "k", "w"), ("delete", "k"), ("get", "k"), ("set", "k", "u"), ("get", "k")],
         [None, None, None, None, "u"], Changes({"k": "u"}, {}, {"k"})),
        ([("add", "l", "b"), ("set", "l", "t"), ("get", "l")], [None, None, "t"], Changes({"l": "t"})),
        ([("request",)], [{"verb": "GET"}], Changes()),
    ],
)  # fmt: skip
def test_the_edgedb_answers_with_what_was_written_and_puts_down_what_changed(
    operations: Ops, answers: list[Any], changes: Changes
) -> None:
    given, found, _ = asked(*operations)
    assert (given, found) == (answers, changes)


@pytest.mark.parametrize(
    "text", ["", "null", "[]", '{"do": "fly"}', '{"do": "get"}', '{"do": "get", "key": 7}', '{"do": "set", "key": "k"}',
             '{"do": "set", "key": "k", "value": null}', '{"do": "add", "key": "k", "value": "x"}',
             '{"do": "list", "key": "k"}', '{"do": "respond", "status": 99, "headers": {}}',
             '{"do": "respond", "status": 200, "headers": {"a": 7}}'],
)  # fmt: skip
def test_the_edgedb_refuses_what_is_no_operation(text: str) -> None:
    _, changes, db = asked()
    with pytest.raises(ValueError, match=r"."):
        asyncio.run(db.answer(text))
    assert changes == Changes()


# Policies.


def _look(busy: float | None = None, waiting: int = 0, response: float | None = None, **sessions: int) -> Look:
    return Look(1.0, "p3", "accept", sessions, waiting, busy, response)


SIZES: Mapping[str, Any] = {"top": "100B", "bottom": "60B", "onload": "20B"}


@pytest.mark.parametrize(
    ("options", "now", "decisions"),
    [
        (SIZES, _look(), ["accept", "onload"]),
        (SIZES, _look(a=20), ["accept", "onload"]),
        (SIZES, _look(a=21), []),
        (SIZES, _look(a=50, b=49), []),
        (SIZES, _look(a=50, b=50), ["reject", "offload a"]),
        (SIZES, _look(a=10, b=40, c=50), ["reject", "offload c"]),
        (SIZES, _look(a=60, b=60, c=60), ["reject", "offload a", "offload b", "offload c"]),
        ({"policy": "load"}, _look(None, a=1), []),
        ({"policy": "load"}, _look(0.5, a=1), ["accept"]),
        ({"policy": "load"}, _look(0.9, a=1), ["reject", "offload"]),
        ({"policy": "load"}, _look(0.9), ["reject"]),
        ({"policy": "load"}, _look(0.1, a=1), ["accept", "onload"]),
        ({"policy": "load", "slow_above": "1s"}, _look(0.1, response=2.0, a=1), ["reject", "offload"]),
        ({"policy": "load", "slow_above": "1s"}, _look(0.1, response=None, a=1), ["accept", "onload"]),
        ({"policy": "load", "queue_above": 3}, _look(0.1, waiting=4, a=1), ["reject", "offload"]),
        ({"policy": "load", "queue_above": 3}, _look(0.1, waiting=3, a=1), ["accept", "onload"]),
        ({"policy": "none"}, _look(1.0, a=1000), []),
    ],
)
def test_a_policy_decides_by_what_it_sees(options: Mapping[str, Any], now: Look, decisions: list[str]) -> None:
    assert policy(OracleOptions.model_validate(options))(now, None) == decisions


def _own(source: str, folder: Path) -> Callable[[Look, Look | None], Any]:
    (folder / "mine.py").write_text(source)
    context = {"folder": folder}
    return policy(OracleOptions.model_validate({"policy": "mine.py:decide"}, context=context))


def test_a_policy_of_ones_own_is_asked(tmp_path: Path) -> None:
    mine = _own("def decide(now, before):\n    return [f'offload {each}' for each in now.sessions]\n", tmp_path)
    assert mine(_look(a=1, b=2), None) == ["offload a", "offload b"]


@pytest.mark.parametrize("decision", ["'fly'", "7", "''"])
def test_a_policy_of_ones_own_that_decides_nonsense_is_told(decision: str, tmp_path: Path) -> None:
    mine = _own(f"def decide(now, before):\n    return [{decision}]\n", tmp_path)
    with pytest.raises(TypeError, match=r"decide in mine\.py decided"):
        mine(_look(), None)


@pytest.mark.parametrize("given_as", ["mine.py", "other.py:decide", "mine.py:nothing", "best", 7, "broken.py:decide"])
def test_what_is_no_policy_is_refused(given_as: object, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def decide(now, before):\n    return []\n")
    (tmp_path / "broken.py").write_text("def decide(:\n")
    with pytest.raises(ValueError, match="policy"):
        OracleOptions.model_validate({"policy": given_as}, context={"folder": tmp_path})


def test_a_look_is_of_the_time_since_the_look_before() -> None:
    then = {"t": 10.0, "location": "p3", "status": "accept", "sessions": {"a": 7}, "waiting": 2, "replicas": 4,
            "busy_s": 5.0, "served": 10, "response_s": 3.0}  # fmt: skip
    later = then | {"t": 12.0, "busy_s": 9.0, "served": 20, "response_s": 8.0}
    assert (look(then, None).busy, look(then, None).response_s) == (None, None)
    assert (look(later, then).busy, look(later, then).response_s) == (0.5, 0.5)
    assert look(then | {"t": 20.0, "busy_s": 0.0}, later).busy is None  # it was restarted
    assert look(later | {"served": 10}, then).response_s is None


