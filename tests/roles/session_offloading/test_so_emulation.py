"""A tree of locations over real HTTP: bad input, large sessions, silent and dying neighbours, both storages."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from so_bad import BAD
from so_emulated import HERE, Emulated, emulated

sys.path.insert(0, str(Path(__file__).parents[2] / "integration"))
from in_arena import passes

pytestmark = [pytest.mark.feature("netns"), pytest.mark.feature("relay")]
REDIS = "settings.session_offloading.location.storage=redis"
SHORT = "settings.session_offloading.location.call_timeout=2s"
storages = pytest.mark.parametrize("sets", [(), pytest.param((REDIS,), marks=pytest.mark.feature("redis-server"))],
                                   ids=["embedded", "redis"])  # fmt: skip
MOST_MEMORY = {(): 2.0, (REDIS,): 2.6}  # times the session, at the peak, beside what an agent takes anyway


def on_tree(story: Callable[[Emulated], None], *sets: str) -> None:
    """Play a story on a tree of its own."""

    def work() -> None:
        with emulated(*sets) as tree:
            story(tree)

    passes(work)


def curl(tree: Emulated, location: str, path: str, *options: str) -> tuple[int, str]:
    """The status and the text that a gateway answers."""
    url = f"http://{tree.addresses[location]}/function/{path}"
    status, said = tree.ask(["curl", "-sS", "-m", "60", "-w", "\n%{http_code}", *options, url])
    assert status == 0, said
    text, _, code = said.rpartition("\n")
    return int(code), text


def note(tree: Emulated, location: str, *operations: list[object]) -> tuple[int, str]:
    """Ask the function ``note``."""
    return curl(tree, location, "note", "-H", "X-session: s", "-d", json.dumps(operations))


def manage(tree: Emulated, location: str, command: str, *options: str) -> tuple[int, str]:
    """Give a command."""
    return curl(tree, location, f"session-offloading-manager?command={command}", *options)


def redis_of(tree: Emulated, location: str) -> int:
    """The number of the process of a location's redis-server."""
    agent = tree.fleet.pids()[location, "location"]
    children = Path(f"/proc/{agent}/task/{agent}/children").read_text().split()
    return next(int(pid) for pid in children if "redis" in Path(f"/proc/{pid}/comm").read_text())


@storages
def test_what_is_wrong_is_refused_and_changes_nothing(sets: tuple[str, ...]) -> None:
    def story(tree: Emulated) -> None:
        status, said = tree.check(*BAD)
        assert status == 0, said
        host, port = tree.addresses["p3"].split(":")
        status, said = tree.ask([sys.executable, str(HERE / "so_raw.py"), host, port])
        assert status == 0, said

    on_tree(story, *sets)


@storages
def test_what_was_acknowledged_survives_the_death_of_agents(sets: tuple[str, ...]) -> None:
    def story(tree: Emulated) -> None:
        assert note(tree, "p3", ["set", "k", "v"], ["add_to_list", "l", "a"])[0] == 200
        tree.again("p3", "location")
        assert note(tree, "p3", ["get", "k"], ["add_to_list", "l", "b"]) == (200, '["v", null]')
        assert manage(tree, "p3", "force-offload")[0] == 200
        tree.again("p2", "location")
        assert note(tree, "p2", ["get", "k"], ["get_list", "l"]) == (200, '["v", ["a", "b"]]')
        tree.again("p3", "location")
        assert note(tree, "p3")[0] == 307

    on_tree(story, *sets)


@pytest.mark.feature("redis-server")
def test_a_redis_server_that_dies_is_told_of_and_started_again() -> None:
    def story(tree: Emulated) -> None:
        assert note(tree, "p3", ["set", "k", "v"])[0] == 200
        server = redis_of(tree, "p3")
        os.kill(server, signal.SIGKILL)
        answers = []
        while not answers or answers[-1][0] != 200:
            answers.append(note(tree, "p3", ["set", "k", "w"]))
            assert len(answers) < 500, answers[-1]
        assert {status for status, _ in answers} <= {200, 500}
        assert all("redis-server" in text for status, text in answers if status == 500)
        assert note(tree, "p3", ["get", "k"]) == (200, '["w"]')
        assert redis_of(tree, "p3") != server

    on_tree(story, REDIS)


def test_a_parent_that_never_answers_holds_nobody_up_for_ever() -> None:
    def story(tree: Emulated) -> None:
        assert note(tree, "p3", ["set", "k", "v"])[0] == 200
        parent = tree.fleet.pids()["p2", "location"]
        os.kill(parent, signal.SIGSTOP)
        for command in ("force-offload", "force-onload"):
            status, text = manage(tree, "p3", command)
            assert (status, "p2 does not answer" in text) == (502, True), text
            assert note(tree, "p3", ["get", "k"]) == (200, '["v"]')
        os.kill(parent, signal.SIGCONT)
        status, text = curl(tree, "p3", "note", "-L", "-H", "X-session: s", "-d", '[["get", "k"]]')
        assert (status, text) == (200, '["v"]')

    on_tree(story, SHORT)


def peak_bytes(pid: int) -> int:
    """The most memory that a process has had so far."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


@storages
def test_a_session_of_50_megabytes_moves_and_memory_is_bounded(sets: tuple[str, ...]) -> None:
    def story(tree: Emulated) -> None:
        pids = {name: tree.fleet.pids()[name, "location"] for name in ("p2", "p3")}
        before = {name: peak_bytes(pid) for name, pid in pids.items()}
        status, said = tree.ask([sys.executable, str(HERE / "so_large.py"), json.dumps(tree.addresses), "50"])
        assert status == 0, said
        more = {name: (peak_bytes(pid) - before[name]) / 50e6 for name, pid in pids.items()}
        print(said.split(), more)
        assert max(more.values()) < MOST_MEMORY[sets], more

    on_tree(story, *sets)
