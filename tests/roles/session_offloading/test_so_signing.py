"""Moves that are signed: who does not know the key can move nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from so_asking import Checked
from so_world import Tree, told

from roles.session_offloading.messages import SessionToken
from roles.session_offloading.options import LocationOptions
from roles.session_offloading.place import signing
from testbed.errors import TestbedError


@pytest.fixture
def key(tmp_path: Path) -> str:
    """The path of a key."""
    path = tmp_path / "key"
    path.write_text("0123456789abcdef0123456789abcdef\n")
    return str(path)


def test_with_a_key_sessions_move_as_ever(key: str) -> None:
    async def story(tree: Tree, c: Checked) -> None:
        await c.note("p3", ["set", "k", "v"])
        await c.status("p2", "reject")
        await c.offload("p3")
        assert await c.state() == {"p3": "p1", "p1": "p1*"}
        await c.status("p2", "accept")
        await c.onload("p2")
        await c.onload("p3")
        assert await c.note("p3", ["get", "k"]) == ["v"]
        assert (await c.command("p3", "garbage-collector", deletePolicy="forced")).text == "1"

    told({"key": key}, story)


def test_with_a_key_who_does_not_know_it_can_move_nothing(key: str) -> None:
    async def story(tree: Tree, c: Checked) -> None:
        await c.note("p3", ["set", "k", "v"])
        token = {"session": c.s, "proprietaryLocation": "p3", "currentLocation": "p3"}
        other = signing(LocationOptions(key=str(Path(key).parent / "other")))
        wrong = other.proof(SessionToken(c.s, "p3", "p3"), "offload")
        for proof in ({}, wrong, {"x-session-proof": ""}, {"x-session-proof": "é"}):
            for location, command, body, headers in [
                ("p2", "offload-session", token, {}),
                ("p3", "update-session", token | {"currentLocation": "p2"}, {}),
                ("p3", "migrate-session", b"", {}),
                ("p3", "migrate-session", b"", {"x-session-move": "p2"}),
                ("p3", "migrate-session", b"", {"x-session-move": "p2", "x-session-confirm": "yes"}),
                ("p2", "onload-session", b"", {"x-onload-location": "p3"}),
            ]:
                query = {"session": c.s} if command == "migrate-session" else {}
                reply = await c.command(location, command, body, headers=headers | proof, **query)
                assert (reply.status, "signed" in reply.text) == (403, True), (command, proof, reply.text)
        assert tree.state() == {"p3": "p3*"}
        assert await c.note("p3", ["get", "k"]) == ["v"]

    (Path(key).parent / "other").write_text("another key of some length\n")
    told({"key": key}, story)


def test_a_proof_is_good_for_one_token_and_one_purpose(key: str) -> None:
    sign = signing(LocationOptions(key=key))
    tokens = [SessionToken("s", "p3", "p3"), SessionToken("s", "p3", "p2"), SessionToken("s\0p3", "", "p3")]
    proofs = {sign.proof(token, purpose)["x-session-proof"] for token in tokens for purpose in ("offload", "update")}
    assert len(proofs) == 6


@pytest.mark.parametrize(("content", "said"), [(None, "cannot be read"), ("short", "needs 16 bytes")])
def test_a_key_that_is_none_is_refused(content: str | None, said: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "key").write_text(content)
    with pytest.raises(TestbedError, match=said):
        signing(LocationOptions(key=str(tmp_path / "key")))
