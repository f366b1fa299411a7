"""Agents on emulated hosts: the same with and without the fork server."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from echo_fleet import HOME, READY_S, ask, each_able_user, network, specs
from in_arena import line, passes, star

from testbed.deploy.fleet import Fleet, deploy
from testbed.deploy.forks import fork_server
from testbed.deploy.spec import AgentSpec
from testbed.errors import AgentFailed
from testbed.substrate.netns import NetnsNetwork

each_way = pytest.mark.parametrize("forked", [True, False], ids=["forked", "fresh"])


@contextmanager
def fleet(net: NetnsNetwork, agents: list[AgentSpec], forked: bool) -> Iterator[Fleet]:
    if not forked:
        with deploy(net, agents, home=HOME) as fleet:
            yield fleet
        return
    with (
        fork_server(["echo"], net.host("h1").folder / "log", HOME) as forks,
        deploy(net, agents, forks, home=HOME) as fleet,
    ):
        yield fleet


def until(ask: Callable[[], object]) -> object:
    end = time.monotonic() + READY_S
    while not (found := ask()):
        assert time.monotonic() < end, f"still {found!r}"
        time.sleep(0.01)
    return found


@each_able_user
@each_way
def test_agents_serve_on_their_own_hosts_and_leave_their_record(user: str, forked: bool) -> None:
    def body() -> None:
        topology = line()
        with network(topology) as net:
            with fleet(net, specs(topology, h1="server", h2="server"), forked) as agents:
                agents.wait_ready(READY_S)
                assert ask(net.host("h1"), topology.address("h2"), "who?") == "h2"
                assert ask(net.host("h2"), topology.address("h1"), "who?") == "h1"
                assert agents.failures() == []
                folder = net.host("h2").folder / "server"
                assert (folder / "pid").read_text() == f"{agents.pids()['h2', 'server']}\n"
                assert f"listen {topology.address('h2')}:7000" in (folder / "echo.conf").read_text()
            assert (folder / "exit").read_text() == "0\n"
            assert (folder / "stdout").read_text() == "serving\ngood-bye\n"
            assert (folder / "stderr").read_text() == ""
            assert (folder / "calls.csv").read_text().count("\n") == 2
            assert agents.failures() == []

    passes(body, user)


@each_way
@pytest.mark.parametrize(
    ("role", "said"),
    [
        ("broken", "exited with status 1 before it was ready (RuntimeError: there is no flux). Its log ends with:"),
        ("stuck", "was not ready after 1 s; its last status: starting. Its log is empty"),
    ],
)
def test_an_agent_that_does_not_get_ready_is_named_with_its_log(forked: bool, role: str, said: str) -> None:
    def body() -> None:
        topology = line()
        with network(topology) as net, fleet(net, specs(topology, h1="server", h3=role), forked) as agents:
            status = net.host("h1").folder / "server" / "status.json"
            until(lambda: status.exists() and '"ready"' in status.read_text())
            with pytest.raises(AgentFailed) as error:
                agents.wait_ready(READY_S if role == "broken" else 1)
            text = str(error.value)
            assert text.startswith(f"The agent '{role}' on host 'h3' "), text
            assert said.split(". Its")[0] in text, text
            assert (text.splitlines()[-1] == "    in the capacitor") == (role == "broken"), text

    passes(body)


@each_way
def test_a_kill_is_no_failure_and_a_death_unasked_is_told_once(forked: bool) -> None:
    def body() -> None:
        topology = line()
        agents = specs(topology, h1="server", h2="server", h3="crasher")
        with network(topology) as net, fleet(net, agents, forked) as running:
            running.wait_ready(READY_S)
            running.kill("h1", "server")
            assert (net.host("h1").folder / "server" / "exit").read_text() == "-9\n"
            os.kill(running.pids()["h2", "server"], signal.SIGKILL)
            told = {}
            until(lambda: told.update({each.node: each for each in running.failures()}) or len(told) == 2)
            assert (told["h2"].role, told["h2"].status) == ("server", -signal.SIGKILL)
            assert (told["h3"].status, told["h3"].detail) == (1, "ValueError: lost the thread")
            assert "lost the thread" in told["h3"].log
            assert running.failures() == []

    passes(body)


@each_way
def test_an_agent_that_does_not_want_to_stop_is_killed(forked: bool) -> None:
    def body() -> None:
        topology = line()
        with network(topology) as net:
            with fleet(net, specs(topology, h1="deaf"), forked) as agents:
                agents.wait_ready(READY_S)
            assert (net.host("h1").folder / "deaf" / "exit").read_text() == "-9\n"

    passes(body)


def test_the_death_of_the_fork_server_is_a_failure_of_its_agents() -> None:
    def body() -> None:
        topology = line()
        with network(topology) as net, fleet(net, specs(topology, h1="server", h2="server"), True) as agents:
            agents.wait_ready(READY_S)
            pid = agents.pids()["h1", "server"]
            server = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            os.kill(server, signal.SIGKILL)
            failures = until(agents.failures)
            assert {(each.node, each.status) for each in failures} == {("h1", -9), ("h2", -9)}  # type: ignore[attr-defined]

    passes(body)


def test_a_hundred_agents_from_the_fork_server_are_ready_together() -> None:
    def body() -> None:
        topology = star(100)
        names = [node.name for node in topology.of_kind("host")]
        with network(topology) as net, fleet(net, specs(topology, **dict.fromkeys(names, "server")), True) as agents:
            agents.wait_ready(READY_S)
            assert len(set(agents.pids().values())) == 100
            assert ask(net.host(names[0]), topology.address(names[-1]), "who?") == names[-1]
            assert agents.failures() == []

    passes(body)
