"""An agent as a process of its own, whichever way it was started."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from echo_agents import PATIENCE_S, prepared, state, until

from testbed.deploy.forks import ForkServer
from testbed.places import PACKAGE
from testbed.workload import files
from testbed.workload.schedule import schedule
from testbed.workload.spec import Workload

Starter = Callable[[Path], int]


@pytest.fixture(params=["fresh", "forked"])
def start(request: pytest.FixtureRequest) -> Iterator[Starter]:
    """Starts the agent of a folder and gives its process number; both ways have to behave alike."""
    if request.param == "forked":
        forks: ForkServer = request.getfixturevalue("forks")
        yield lambda folder: forks.start(folder).pid
        return
    started: list[subprocess.Popen[bytes]] = []

    def fresh(folder: Path) -> int:
        argv = [sys.executable, "-m", "testbed.deploy.agent", str(folder)]
        with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
            environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
            started.append(subprocess.Popen(argv, stdout=out, stderr=err, env=environment))
        return started[-1].pid

    yield fresh
    for each in started:
        each.kill()
        each.wait()


def ask(port: int, text: str) -> str:
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as connection:
        connection.sendall(b"echo\n" + json.dumps({"text": text}).encode() + b"\n")
        return str(json.loads(connection.makefile().readline())["text"])


def test_serves_when_it_says_ready_and_says_good_bye_when_stopped(
    start: Starter, tmp_path: Path, free_port: int
) -> None:
    folder = prepared(tmp_path / "server", "server", {"port": free_port})
    pid = start(folder)
    until(lambda: state(folder) == "ready")
    assert ask(free_port, "how are you?") == "how are you?"
    os.kill(pid, signal.SIGTERM)
    until(lambda: state(folder) == "stopped")
    assert (folder / "stdout").read_text() == "serving\ngood-bye\n"
    assert (folder / "stderr").read_text() == ""
    header, row = (folder / "calls.csv").read_text().splitlines()
    assert header == "t,wall,node,text"
    assert row.split(",")[3] == "how are you?"


def test_rows_are_in_the_file_soon_after_they_were_emitted(start: Starter, tmp_path: Path, free_port: int) -> None:
    folder = prepared(tmp_path / "server", "server", {"port": free_port})
    start(folder)
    until(lambda: state(folder) == "ready")
    before = time.monotonic()
    ask(free_port, "a")
    until(lambda: (folder / "calls.csv").exists())
    t = float((folder / "calls.csv").read_text().splitlines()[1].split(",")[0])
    assert before <= t <= time.monotonic()  # the reference clock is the machine's monotonic clock


def test_a_role_that_cannot_start_says_why_in_one_line_and_in_full(start: Starter, tmp_path: Path) -> None:
    folder = prepared(tmp_path / "broken", "broken")
    start(folder)
    until(lambda: state(folder) == "failed")
    assert json.loads((folder / "status.json").read_text())["detail"] == "RuntimeError: there is no flux"
    assert "in the capacitor" in until((folder / "stderr").read_text)
    assert "Traceback" in (folder / "stderr").read_text()


def test_an_error_of_something_spawned_ends_the_agent(start: Starter, tmp_path: Path) -> None:
    folder = prepared(tmp_path / "crasher", "crasher")
    start(folder)
    until(lambda: state(folder) == "failed")
    assert json.loads((folder / "status.json").read_text())["detail"] == "ValueError: lost the thread"


def test_a_role_that_is_still_starting_can_be_stopped(start: Starter, tmp_path: Path) -> None:
    folder = prepared(tmp_path / "stuck", "stuck")
    pid = start(folder)
    until(lambda: state(folder) == "starting")
    until(lambda: "SigCgt" in Path(f"/proc/{pid}/status").read_text() and _catches(pid, signal.SIGTERM))
    os.kill(pid, signal.SIGTERM)
    until(lambda: state(folder) == "stopped")


def _catches(pid: int, number: int) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    caught = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt"))
    return bool(caught >> (number - 1) & 1)


def test_a_taken_port_is_told(start: Starter, tmp_path: Path, free_port: int) -> None:
    folder = prepared(tmp_path / "server", "server", {"port": free_port})
    with socket.create_server(("127.0.0.1", free_port)):
        start(folder)
        until(lambda: state(folder) == "failed")
    assert "address already in use" in (folder / "status.json").read_text()


def test_unknown_parameters_are_refused(start: Starter, tmp_path: Path) -> None:
    folder = prepared(tmp_path / "server", "server", {"prot": 1})
    start(folder)
    until(lambda: state(folder) == "failed")
    assert "prot" in (folder / "stderr").read_text()


def test_writes_how_well_its_loop_kept_up(start: Starter, tmp_path: Path, free_port: int) -> None:
    folder = prepared(tmp_path / "server", "server", {"port": free_port})
    start(folder)
    health = folder / "health.csv"
    lines = until(lambda: health.exists() and len(found := health.read_text().splitlines()) > 2 and found)
    assert lines[0] == "t,lag_max_s,cpu_s"
    t, lag, cpu = map(float, lines[2].split(","))
    assert t > 0 and lag >= 0 and cpu > 0


def test_a_client_waits_for_the_start_fires_its_schedule_and_says_finished(
    start: Starter, tmp_path: Path, free_port: int
) -> None:
    server = prepared(tmp_path / "server", "server", {"port": free_port})
    client = prepared(tmp_path / "caller", "caller", {"port": free_port})
    traffic = {"functions": "f", "arrivals": {"model": "deterministic", "rate": "50/s"}}
    workload = Workload.model_validate({"duration": "200ms", "traffic": [traffic]})
    files.write(schedule(workload, ("n1",), ("f",), 1)["n1"], client)
    start(server)
    start(client)
    until(lambda: state(server) == "ready" and state(client) == "ready")
    assert not (server / "calls.csv").exists()
    (client / "go.json").write_text(json.dumps({"t0": time.monotonic() + 0.1}))
    until(lambda: state(client) == "finished")
    asked = (client / "schedule.csv").read_text().splitlines()
    assert len((client / "outcomes.csv").read_text().splitlines()) == len(asked) > 5
