"""The fork server, and what is noticed when it or one of its agents dies."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from echo_agents import HOME, PATIENCE_S, prepared, state, until

from testbed.deploy.forks import ForkServer, fork_server
from testbed.errors import TestbedError


def test_writes_the_process_number_and_the_exit_status(forks: ForkServer, tmp_path: Path) -> None:
    folder = prepared(tmp_path / "a", "broken")
    agent = forks.start(folder)
    assert agent.wait(PATIENCE_S) == 1
    assert (folder / "pid").read_text() == f"{agent.pid}\n"
    assert (folder / "exit").read_text() == "1\n"


def test_a_killed_agent_shows_its_signal(forks: ForkServer, tmp_path: Path) -> None:
    agent = forks.start(prepared(tmp_path / "a", "stuck"))
    assert agent.poll() is None
    agent.signal(signal.SIGKILL)  # at once: the child may not even lead its session yet
    assert agent.wait(PATIENCE_S) == -signal.SIGKILL
    agent.signal(signal.SIGTERM)  # no error, and nobody else is hit


def test_each_agent_leads_a_session_of_its_own(forks: ForkServer, tmp_path: Path) -> None:
    agent = forks.start(prepared(tmp_path / "a", "stuck"))
    until(lambda: state(tmp_path / "a") == "starting")
    assert os.getsid(agent.pid) == agent.pid
    agent.signal(signal.SIGKILL)


def test_agents_share_no_state_with_each_other(forks: ForkServer, tmp_path: Path, free_port: int) -> None:
    first = forks.start(prepared(tmp_path / "a", "server", {"port": free_port}))
    second = forks.start(prepared(tmp_path / "b", "crasher"))
    until(lambda: state(tmp_path / "a") == "ready")
    assert second.wait(PATIENCE_S) == 1
    assert first.poll() is None
    first.signal(signal.SIGTERM)
    assert first.wait(PATIENCE_S) == 0


def test_a_folder_that_is_not_there_is_an_error_and_not_the_end_of_the_server(
    forks: ForkServer, tmp_path: Path
) -> None:
    with pytest.raises(TestbedError, match=r"could not start the agent of .*gone"):
        forks.start(tmp_path / "gone")
    assert forks.start(prepared(tmp_path / "a", "broken")).wait(PATIENCE_S) == 1


def test_agents_die_with_a_killed_server_and_the_driver_notices(tmp_path: Path) -> None:
    with fork_server(["echo"], tmp_path / "log", HOME) as server:
        agent = server.start(prepared(tmp_path / "a", "stuck"))
        until(lambda: state(tmp_path / "a") == "starting")
        parent = int(Path(f"/proc/{agent.pid}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(parent, signal.SIGKILL)
        assert agent.wait(PATIENCE_S) == -signal.SIGKILL
        until(lambda: not _lives(agent.pid))
        with pytest.raises(TestbedError, match="fork server"):
            server.start(prepared(tmp_path / "b", "server"))


def test_agents_die_with_the_end_of_the_context(tmp_path: Path) -> None:
    with fork_server(["echo"], tmp_path / "log", HOME) as server:
        agent = server.start(prepared(tmp_path / "a", "stuck"))
        until(lambda: state(tmp_path / "a") == "starting")
    assert agent.poll() == -signal.SIGKILL
    assert not _lives(agent.pid)
    assert not (tmp_path / "log").exists()


def test_a_system_that_cannot_be_imported_is_told_with_the_reason(tmp_path: Path) -> None:
    folder = tmp_path / "home" / "roles" / "faulty"
    folder.mkdir(parents=True)
    (folder / "system.py").write_text("import no_such_module_anywhere\n")
    prepared(tmp_path / "a", "server")
    with (
        fork_server(["faulty"], tmp_path / "log", tmp_path / "home") as server,
        pytest.raises(TestbedError, match="no_such_module_anywhere"),
    ):
        server.start(tmp_path / "a")


def test_a_system_whose_import_starts_threads_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "home" / "roles" / "threaded"
    folder.mkdir(parents=True)
    lines = ["import threading, time", "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()"]
    text = (HOME / "roles" / "echo" / "system.py").read_text()
    (folder / "system.py").write_text(text.replace("import asyncio\n", "import asyncio\n" + "\n".join(lines) + "\n"))
    with (
        fork_server(["threaded"], tmp_path / "log", tmp_path / "home") as server,
        pytest.raises(TestbedError, match="started 1 threads"),
    ):
        server.wait_loaded()


def test_grpc_serves_and_calls_in_forked_agents(tmp_path: Path, free_port: int) -> None:
    home = Path(__file__).parent / "grpc_home"
    with fork_server(["pair"], tmp_path / "log", home) as server:
        parameters = {"port": free_port}
        started = {}
        for name, role in (("server", "answering"), *((f"asker{number}", "asking") for number in range(5))):
            folder = prepared(tmp_path / name, role, parameters, system="pair", home=home)
            started[name] = server.start(folder)
            until(lambda folder=folder: state(folder) == "ready")
            assert name == "server" or (folder / "stdout").read_text() == "WORD\n['w', 'o', 'r', 'd']\n"
        for agent in started.values():
            agent.signal(signal.SIGTERM)
        assert [agent.wait(PATIENCE_S) for agent in started.values()] == [0] * 6


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
