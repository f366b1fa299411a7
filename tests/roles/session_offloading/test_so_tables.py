"""Trees, places and messages, as tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from so_stores import record

from roles.session_offloading import tree
from roles.session_offloading.messages import (
    Refused,
    SessionToken,
    Version,
    list_of,
    list_text,
    named,
    parsed,
    token_of,
    tokens_of,
    version_of,
)
from roles.session_offloading.options import LocationOptions
from roles.session_offloading.place import Place
from roles.session_offloading.records import record_of
from roles.session_offloading.session_data import Reading, Written
from testbed.errors import TestbedError
from testbed.roles.api import Site

# Trees.

LINE = {"c": ("a",), "a": ("c", "b"), "b": ("a", "r"), "r": ("b",)}
BOTH = {"c": ("x",), "x": ("c", "r"), "r": ("x", "y"), "y": ("r", "d"), "d": ("y",)}  # a client at each end
STAR = {"c": ("h",), "d": ("h",), "h": ("c", "d", "x", "y"), "x": ("h", "z"), "y": ("h",), "z": ("x",)}


@pytest.mark.parametrize(
    ("graph", "locations", "clients", "root", "parents"),
    [
        (LINE, ("a", "b", "r"), ("c",), "r", {"a": "b", "b": "r"}),
        (LINE, ("r", "b", "a"), ("c",), "r", {"a": "b", "b": "r"}),
        (LINE, ("a", "r"), ("c",), "r", {"a": "r"}),  # what lies between is passed
        (LINE, ("a",), ("c",), "a", {}),
        (LINE, ("a", "b"), (), "b", {"a": "b"}),  # nobody to be far from: the last
        (STAR, ("x", "y", "z"), ("c", "d"), "z", {"x": "z", "y": "x"}),
        (BOTH, ("r", "x", "y"), ("c", "d"), "r", {"x": "r", "y": "r"}),
        ({}, ("a", "b"), (), "b", {"a": "b"}),  # no network known: all below the root
    ],
)
def test_a_tree_grows_from_the_network(
    graph: Any, locations: tuple[str, ...], clients: tuple[str, ...], root: str, parents: Mapping[str, str]
) -> None:
    found = tree.grown(graph, locations, clients)
    assert (found.root, found.parents) == (root, parents)


def test_a_tree_knows_its_ways() -> None:
    found = tree.given({"b": "r", "c": "b", "d": "b"}, ("r", "b", "c", "d"))
    assert (found.root, found.height, found.locations) == ("r", 2, ("r", "b", "c", "d"))
    assert (found.path("c"), found.depth("c"), found.children["b"]) == (("r", "b", "c"), 2, ("c", "d"))
    assert [found.is_leaf(name) for name in "rbcd"] == [False, False, True, True]
    assert [found.holds("b", name) for name in ("r", "b", "c", "nowhere")] == [False, True, True, False]


@pytest.mark.parametrize(
    ("parents", "said"),
    [
        ({"a": "x"}, "names 'x', which is no location; there are: a, b, c"),
        ({"x": "a"}, "names 'x'"),
        ({}, "3 locations without a parent"),
        ({"a": "b"}, "2 locations without a parent"),
        ({"a": "b", "b": "a"}, "goes round: .*a"),
        ({"a": "b", "b": "c", "c": "a"}, "no root: it goes round"),
        ({"a": "a", "b": "c"}, "goes round: a -> a"),
    ],
)
def test_what_is_no_tree_is_refused(parents: Mapping[str, str], said: str) -> None:
    with pytest.raises(TestbedError, match=said):
        tree.given(parents, ("a", "b", "c"))


# Places.


def place(node: str, **options: Any) -> Place:
    names = ("p1", "p2", "p3", "p4")
    addresses = {name: f"10.0.0.{number}" for number, name in enumerate(names)}
    site = Site(node, "location", 1, addresses, {"location": names}, {})
    return Place(site, LocationOptions(tree={"p2": "p1", "p3": "p2", "p4": "p2"}, **options))


@pytest.mark.parametrize(
    ("node", "level", "reached"),
    [
        ("p3", "edge", ("p3",)), ("p3", "cloudlet", ("p2", "p3")), ("p3", "cloud", ("p1", "p2", "p3")),
        ("p2", "cloud", ("p1", "p2")), ("p2", "edge", ()), ("p3", "nowhere", ()), ("p3", "", ()),
        ("p3", "cloud,edge", ("p1", "p3")), ("p3", "edge, cloud , cloud", ("p1", "p3")), ("p2", "cloud,edge", ("p1",)),
        ("p3", "cloud,nowhere", ("p1",)), ("p1", "cloud", ("p1",)),
    ],
)  # fmt: skip
def test_a_level_reaches_from_there_down_to_here(node: str, level: str, reached: tuple[str, ...]) -> None:
    assert place(node).reached(level) == reached


@pytest.mark.parametrize(
    ("marks", "meant"),
    [
        (("all",), ["p1", "p2", "p3"]), (("root",), ["p1"]), (("middle",), ["p2"]), (("leaf",), ["p3"]),
        (("edge", "p1"), ["p1", "p3"]), (("cloudlet",), ["p2"]), (("p9",), []), ((), []),
    ],
)  # fmt: skip
def test_locations_are_meant_by_name_level_or_position(marks: tuple[str, ...], meant: list[str]) -> None:
    assert [name for name in ("p1", "p2", "p3") if place(name).has(marks)] == meant


def test_a_place_has_addresses_for_locations_only_and_names_for_all_levels() -> None:
    assert place("p3", port=80).address("p1") == "10.0.0.0:80"
    with pytest.raises(Refused, match="no location 'p9'"):
        place("p3").address("p9")
    with pytest.raises(TestbedError, match="2 levels for a tree that has 3"):
        place("p3", levels=("a", "b"))


# Messages.


@given(token=st.builds(SessionToken, *(3 * [st.text(min_size=1, max_size=20)])), moves=st.integers(0, 9999))
def test_tokens_versions_and_records_are_read_as_they_were_written(token: SessionToken, moves: int) -> None:
    text = str(token).encode("utf-8", "surrogatepass")
    assert token_of(parsed(text, "a token")) == token
    assert tokens_of(b"[" + text + b"]") == [token]
    assert version_of(str(Version("ab:c", moves))) == Version("ab:c", moves)
    one = record("s", moves, leaving="p2")
    assert record_of(one.text()) == one


BAD_TOKENS: list[bytes] = [
    b"", b"x", b"null", b"7", b'"s"', b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"session": "s"}',
    b'{"session": 7, "proprietaryLocation": "p3", "currentLocation": "p3"}',
    b'{"session": "", "proprietaryLocation": "p3", "currentLocation": "p3"}',
    b'{"session": "s", "proprietaryLocation": null, "currentLocation": "p3"}',
    b'{"session": "s", "proprietaryLocation": "p3", "currentLocation": ["p3"]}',
    b'{"session": "' + b"s" * 2000 + b'", "proprietaryLocation": "p3", "currentLocation": "p3"}',
]  # fmt: skip


@pytest.mark.parametrize("body", BAD_TOKENS, ids=lambda body: body[:40])
def test_what_is_no_token_is_refused(body: bytes) -> None:
    with pytest.raises(Refused) as refused:
        token_of(parsed(body, "a session token"))
    assert (refused.value.status, len(str(refused.value)) < 300) == (400, True)


@pytest.mark.parametrize("text", ["", "7", ":7", "b:", "b:x", "b:-1", "b:1.5", "b:" + "9" * 13, "b:٣"])
def test_what_is_no_version_is_none(text: str) -> None:
    assert version_of(text) is None


def read(body: bytes) -> dict[str, str]:
    """The data in a body that comes as a whole."""
    reading = Reading()
    reading.take(body)
    return reading.done()


@given(data=st.dictionaries(st.text(max_size=9), st.text(max_size=30), max_size=6))
def test_session_data_are_read_as_they_were_written(data: dict[str, str]) -> None:
    body = b"".join(Written(data))
    assert read(body) == data
    assert json.loads(body.decode("utf-8", "surrogatepass"))["session_data"] == [
        {"key": key, "data": text} for key, text in data.items()
    ]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"session_data": 7}', b'{"session_data": [7]}', b'{"session_data": [{"key": "k"}]}',
             b'{"session_data": [{"key": "k", "data": 7}]}', b"\xff", b"[" * 100_000],
)  # fmt: skip
def test_what_are_no_session_data_are_refused(body: bytes) -> None:
    with pytest.raises(Refused, match="no session data") as refused:
        read(body)
    assert refused.value.status == 502


@pytest.mark.parametrize(("name", "good"), [("s", True), ("é" * 512, True), ("é" * 513, False), ("", False)])
def test_a_sessions_name_has_some_bytes_and_not_too_many(name: str, good: bool) -> None:
    if good:
        assert named(name) == name
    else:
        with pytest.raises(Refused):
            named(name)


@given(values=st.lists(st.text(max_size=9)))
def test_lists_are_read_as_they_were_written(values: list[str]) -> None:
    assert list_of(list_text(values)) == values


@pytest.mark.parametrize("text", ["", "x", "[]", "{}", '{"list": 7}', '{"list": [7]}', "null"])
def test_a_text_that_is_no_list_is_refused(text: str) -> None:
    assert list_of(None) is None
    with pytest.raises(ValueError, match="no list"):
        list_of(text)
