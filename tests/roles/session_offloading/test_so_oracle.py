"""The oracle, in the twin: what it sees, what it tells locations, and what it bears."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from so_asking import Checked
from so_world import Tree

from roles.session_offloading.options import OracleOptions
from roles.session_offloading.records import StorageFailed
from testbed.roles.api import Function


def decisions(folder: Path) -> list[dict[str, str]]:
    """What the oracle has noted."""
    with (folder / "so_decisions.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def watched(options: dict[str, Any], folder: Path, story: Any) -> list[dict[str, str]]:
    """Play a story on a tree with an oracle on the client's node; its decisions."""
    tree = Tree()
    site = tree.world.site("c1", "oracle", tree.places, {"f": Function(name="f", service_s=0.1)})
    oracle = tree.world.agent(site, OracleOptions.model_validate(options), folder)

    async def whole(tree: Tree) -> None:
        await tree.world.start(oracle)
        await story(tree, tree.checked())
        oracle.flush()

    tree.run(whole)
    return decisions(folder)


def test_large_sessions_go_up_and_come_home_one_by_one(tmp_path: Path) -> None:
    async def story(tree: Tree, c: Checked) -> None:
        for name, size in (("a", 300), ("b", 500), ("c", 100)):
            await c.note("p3", ["set", "k", "x" * size], session=name)
        await tree.env.sleep(3)
        assert [tree.state(name)["p3"] for name in "abc"] == ["p3*", "p2", "p3*"]
        assert tree.location("p3").status == "reject"
        await c.note("p3", ["delete", "k"], session="a")
        await tree.env.sleep(5)
        assert [tree.state(name)["p3"] for name in "abc"] == ["p3*", "p3*", "p3*"]
        assert tree.location("p3").status == "accept"

    told = watched({"top": "800B", "bottom": "500B", "onload": "200B"}, tmp_path, story)
    did = [row["did"] for row in told if row["location"] == "p3"]
    assert "reject; offload b" in did
    assert "accept; onload" in did
    assert {row["did"] for row in told if row["location"] == "p1"} == {""}  # nobody commands the root


def test_a_location_that_is_dead_or_fails_is_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def failing(*_: object) -> int:
        raise StorageFailed("no room")

    async def story(tree: Tree, c: Checked) -> None:
        await c.call("p4")
        monkeypatch.setattr(tree.location("p4").book.storage, "size", failing)
        tree.world.kill("p3", "location")
        await tree.env.sleep(5)
        monkeypatch.undo()
        await tree.world.restart("p3", "location", tree.world.agent(tree.agents["p3"].site, tree.options))
        await tree.env.sleep(5)

    told = watched({}, tmp_path, story)
    for location, word in (("p3", "unreachable"), ("p4", "no room")):
        did = [row["did"] for row in told if row["location"] == location]
        assert any(word in each for each in did)
        assert word not in did[-1]


