"""Sessions under random faults, and that the invariants see a system that does not keep them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from so_asking import Checked
from so_world import Tree
from under_faults import first, found, said, wrong

from roles.session_offloading.book import Book
from roles.session_offloading.client import SessionClient
from roles.session_offloading.embedded import EmbeddedStorage
from roles.session_offloading.giving import Giving
from roles.session_offloading.messages import Version
from roles.session_offloading.records import Changes, Record
from roles.session_offloading.system import SYSTEM
from roles.session_offloading.taking import Taking
from testbed.experiment.load import load
from testbed.explore.exploring import Search
from testbed.explore.faults import KINDS, Chances

EXPLORED = Path(__file__).parent / "so_explored.yaml"
SHORT = ("workload.duration=30s",)
LOCATION = "settings.session_offloading.location"


@pytest.mark.parametrize(
    ("settings", "seeds"),
    [
        pytest.param((), range(1, 13), id="as it comes"),
        pytest.param((f"{LOCATION}.onload_climb=true", f"{LOCATION}.onload_batch=3"), range(21, 25), id="climbing"),
        pytest.param((f"{LOCATION}.busy=503", f"{LOCATION}.born_up=true"), range(31, 35), id="busy, born up"),
    ],
)
def test_sessions_keep_their_promises_under_every_kind_of_fault(settings: tuple[str, ...], seeds: range) -> None:
    search = Search(load(EXPLORED, (*SHORT, *settings)), Chances(tuple(KINDS)), lasting_s=60.0)
    assert said(found(search, seeds)) == []


# What a system is like that forgets something, and the promises of which it breaks one then.


async def _dropped(self: Book, session: str, taker: str) -> None:
    """The data are gone as soon as they have been handed out, whether or not they arrive."""
    self.given[session] = self.given.get(session, 0) + 1
    await self.write(replace(self.records[session], leaving=taker), Changes())
    self.storage._data.clear()  # type: ignore[attr-defined]


async def _kept(self: Book, session: str, current: str) -> None:
    """The data stay when they have left."""
    self.records[session] = replace(self.records[session], leaving="")


async def _unwritten(self: EmbeddedStorage, record: Record, changes: Changes, *, fresh: bool = False) -> None:
    """What is acknowledged is in memory alone."""
    self._records[record.token.session] = record
    if fresh:
        self._data.pop(record.token.session, None)
    if changes or fresh:
        self._session(record.token.session).apply(changes)


async def _unnumbered(self: EmbeddedStorage, session: str, request: str) -> bool:
    """Nobody remembers what has been carried out."""
    return False


async def _untold(self: Taking, record: Record) -> bool:
    """The owner does not hear of it."""
    return True


async def _unasked(self: Giving, record: Record) -> None:
    """Who was given data and fell silent is not asked."""


@pytest.mark.parametrize(
    ("kind", "name", "instead", "faults", "violated"),
    [
        (Book, "handed_out", _dropped, "crash,partition", {"acknowledged"}),
        (Book, "gone", _kept, "crash", {"one-serves", "one-holds"}),
        (EmbeddedStorage, "write", _unwritten, "crash", {"acknowledged", "constant"}),
        (EmbeddedStorage, "carried_out", _unnumbered, "duplicate", {"once"}),
        (Taking, "_tell_owner", _untold, "crash", {"owner-knows", "chains-end"}),
        (Giving, "_ask", _unasked, "crash", {"moves-end"}),
    ],
)
def test_a_system_that_forgets_is_found_out(
    kind: type, name: str, instead: Callable[..., Any], faults: str, violated: set[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kind, name, instead)
    search = Search(load(EXPLORED, SHORT), Chances(tuple(faults.split(","))), lasting_s=60.0)
    assert first(search, range(1, 31)) in violated


# What each invariant looks at: a state of affairs that is right, with one thing made wrong.


def _set(tree: Tree, name: str, **changes: Any) -> None:
    records = tree.location(name).book.records
    records["s"] = replace(records["s"], **changes)


def _served_twice(tree: Tree) -> None:
    _set(tree, "p3", here=True, token=tree.location("p3").book.records["s"].token.at("p3"))


def _held_twice(tree: Tree) -> None:
    _set(tree, "p3", here=True)


def _unknown_to_its_owner(tree: Tree) -> None:
    _set(tree, "p3", token=tree.location("p3").book.records["s"].token.at("p1"))


def _of_another(tree: Tree) -> None:
    _set(tree, "p2", token=replace(tree.location("p2").book.records["s"].token, owner="p4"))


def _renamed(tree: Tree) -> None:
    _set(tree, "p2", token=replace(tree.location("p2").book.records["s"].token, session="t"))


def _round_and_round(tree: Tree) -> None:
    _set(tree, "p2", here=False, token=tree.location("p2").book.records["s"].token.at("p3"))


def _lost(tree: Tree) -> None:
    _client(tree).acknowledged["s"] = ["r1", "r9"]


def _carried_out_twice(tree: Tree) -> None:
    storage = tree.location("p2").book.storage
    assert isinstance(storage, EmbeddedStorage)
    storage.repeated.append(("s", "r1"))


def _for_ever(tree: Tree) -> None:
    tree.location("p2").giving.begun["s"] = -1000.0


def _client(tree: Tree) -> SessionClient:
    role = tree.world.agents["c1", "client"].role
    assert isinstance(role, SessionClient)
    return role


@pytest.mark.parametrize(
    ("falsify", "violated"),
    [
        (_served_twice, "one-serves"), (_held_twice, "one-holds"), (_unknown_to_its_owner, "owner-knows"),
        (_of_another, "constant"), (_renamed, "constant"), (_round_and_round, "chains-end"),
        (_lost, "acknowledged"), (_carried_out_twice, "once"), (_for_ever, "moves-end"),
    ],
)  # fmt: skip
def test_each_invariant_sees_what_it_is_for(falsify: Callable[[Tree], None], violated: str) -> None:
    async def story(tree: Tree) -> tuple[set[str], set[str]]:
        c: Checked = tree.checked()
        await c.call("p3", ["set", "k", "v"], x_session_request_id="r1")
        await c.offload("p3")
        await tree.env.sleep(5)
        _client(tree).acknowledged["s"] = ["r1"]
        before = wrong(SYSTEM, tree.world.loop.now, tree.world.agents)
        falsify(tree)
        await asyncio.sleep(0)
        return before, wrong(SYSTEM, tree.world.loop.now, tree.world.agents)

    before, after = Tree({"request_ids": True}).run(story)
    assert before == set()
    assert violated in after


def test_a_birth_tells_two_sessions_of_one_name_apart() -> None:
    async def story(tree: Tree) -> set[str]:
        await tree.checked().call("p3")
        await tree.checked().call("p4")
        assert tree.location("p3").book.records["s"].version != Version("", 0)
        return wrong(SYSTEM, tree.world.loop.now, tree.world.agents) & {"one-serves"}

    assert Tree().run(story) == set()
