"""Whole runs from the command line: real namespaces, real agents, real calls."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command import HELLO, ORDINARY_USER, cli, command, environment, record, write

from testbed.collect.schema import INVOCATIONS
from testbed.substrate import registry

pytestmark = [pytest.mark.feature("netns"), pytest.mark.feature("relay")]

SCHEDULED = 40
OUTCOMES = "runs/*/hosts/h1/client/outcomes.csv"


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "invocations.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def run(folder: Path, text: str = HELLO, *words: str, **more: Any) -> tuple[Path, subprocess.CompletedProcess[str]]:
    done = cli("run", str(write(folder, text)), "--out", str(folder / "runs"), *words, cwd=folder, **more)
    assert done.stdout.strip(), done.stderr
    return Path(done.stdout.splitlines()[-1]), done


def child(pid: int) -> int:
    """The only child of a process."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())


def wait_for(what: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, f"not so within {seconds} s"
        time.sleep(0.05)


@pytest.mark.ability("runs", "an experiment runs to its end, with a row for every invocation")
def test_a_run_ends_with_every_invocation_a_verdict_figures_and_a_report(tmp_path: Path) -> None:
    folder, done = run(tmp_path)
    told = record(folder)
    assert told["state"] == "done", told["error"]
    assert done.returncode == (1 if told["verdict"]["level"] == "invalid" else 0)
    found = rows(folder)
    assert [int(row["invocation_id"]) for row in found] == list(range(len(found)))
    assert len(found) == SCHEDULED
    assert tuple(found[0]) == INVOCATIONS.header
    assert {row["verdict"] for row in found} == {told["verdict"]["level"]}
    answered = [row for row in found if row["status"] == "ok"]
    assert answered, Counter(row["error"] for row in found)
    assert all(float(row["response_time_s"]) > 0.020 for row in answered)  # two hosts 10 ms apart, there and back
    assert {row["node"] for row in answered} == {"h2"}
    assert {row["hops"] for row in answered} == {"2"}
    for name in ("events", "nodes", "links", "summary", "machine"):
        assert (folder / f"{name}.csv").exists()
    assert (folder / "figures" / "latency_over_time.svg").exists()
    assert (folder / "report.html").stat().st_size < 2_000_000


def test_the_same_seed_gives_the_same_schedule_and_another_seed_another(tmp_path: Path) -> None:
    text = HELLO.replace("deterministic", "poisson")
    schedules = []
    for seed in ("1", "1", "2"):
        folder, _ = run(tmp_path, text, "--seed", seed, "--no-figures", "--set", "workload.duration=1s")
        schedules.append([(row["t_scheduled"], row["function"]) for row in rows(folder)])
    assert schedules[0] == schedules[1] != schedules[2]


def test_a_run_works_for_an_ordinary_user(open_folder: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("the other tests are run by an ordinary user already")
    folder, done = run(open_folder, HELLO, user=ORDINARY_USER)
    assert record(folder)["state"] == "done", done.stderr
    assert len(rows(folder)) == SCHEDULED
    assert "relay" in record(folder)["features"]


def test_agents_can_be_deployed_over_ssh(tmp_path: Path) -> None:
    pytest.importorskip("paramiko")
    if not Path("/usr/sbin/sshd").exists():
        pytest.skip("needs sshd: no OpenSSH server here")
    folder, done = run(tmp_path, HELLO, "--set", "access=ssh", "--no-figures")
    assert record(folder)["state"] == "done", done.stderr
    assert Counter(row["status"] for row in rows(folder))["ok"] > 0


def test_a_timeline_changes_the_links_at_its_times(tmp_path: Path) -> None:
    events = "timeline:\n  - {at: 1s, do: shape, link: h1-h2, change: {delay: 100ms}}\n"
    folder, _ = run(tmp_path, HELLO + events, "--no-figures")
    before = [row for row in rows(folder) if row["status"] == "ok" and float(row["t_done"]) < 1]
    after = [row for row in rows(folder) if row["status"] == "ok" and float(row["t_sent"]) > 1.1]
    assert min(float(row["service_latency_s"]) for row in after) > 0.2
    assert min(float(row["service_latency_s"]) for row in before) < 0.2
    with (folder / "events.csv").open() as file:
        event = next(csv.DictReader(file))
    assert (event["kind"], event["subject"], float(event["t_planned"])) == ("shape", "h1-h2", 1.0)
    assert float(event["t_actual"]) >= 1.0


def test_a_killed_worker_loses_no_row(tmp_path: Path) -> None:
    folder, _ = run(tmp_path, HELLO + "timeline:\n  - {at: 1s, do: kill, node: h2}\n", "--no-figures")
    found = rows(folder)
    assert record(folder)["state"] == "done"
    assert len(found) == SCHEDULED
    assert Counter(row["status"] for row in found)["ok"] > 0
    assert all(row["status"] != "ok" and row["error"] for row in found if float(row["t_scheduled"]) > 1.2)


def test_a_killed_client_loses_no_row(tmp_path: Path) -> None:
    folder, _ = run(tmp_path, HELLO + "timeline:\n  - {at: 1s, do: kill, node: h1, role: client}\n", "--no-figures")
    found = Counter(row["status"] for row in rows(folder))
    assert found.total() == SCHEDULED
    assert found["unsent"] >= 15


def test_an_agent_that_ends_unasked_ends_the_run_and_is_named(tmp_path: Path) -> None:
    text = HELLO.replace("duration: 2s", "duration: 60s")
    words = command("run", str(write(tmp_path, text)), "--out", str(tmp_path / "runs"), "--no-figures")
    process = subprocess.Popen(
        words, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: any(record(path.parent)["state"] == "running" for path in tmp_path.glob("runs/*/run.json")))
    folder = next(tmp_path.glob("runs/*/run.json")).parent
    pid = (folder / "hosts" / "h2" / "computer" / "pid").read_text().strip()
    assert cli("exec", "-n", folder.name, "h2", "--", "kill", "-9", pid, cwd=tmp_path).returncode == 0
    _, said = process.communicate(timeout=60)
    told = record(folder)
    assert process.returncode == 1
    assert told["state"] == "failed"
    assert "'computer' on host 'h2'" in told["error"]
    assert told["verdict"]["level"] == "invalid"
    assert "computer" in said
    assert len(rows(folder)) == 1200


def test_ctrl_c_ends_a_run_in_order(tmp_path: Path) -> None:
    text = HELLO.replace("duration: 2s", "duration: 60s")
    words = command("run", str(write(tmp_path, text)), "--out", str(tmp_path / "runs"), "--no-figures")
    process = subprocess.Popen(
        words, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    wait_for(lambda: bool(list(tmp_path.glob("runs/*/hosts/h1/client/progress.json"))))
    folder = next(tmp_path.glob("runs/*/run.json")).parent
    assert folder.name in registry.names()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to everything in the foreground
    process.communicate(timeout=60)
    told = record(folder)
    assert process.returncode == 1
    assert told["state"] == "interrupted"
    assert len(rows(folder)) == 1200
    assert folder.name not in registry.names()


@pytest.mark.ability("runs", "a run that is broken off keeps a row for every invocation")
@pytest.mark.parametrize(("number", "state"), [(signal.SIGTERM, "interrupted"), (signal.SIGKILL, "failed")])
def test_no_row_is_lost_however_the_run_is_killed(tmp_path: Path, number: signal.Signals, state: str) -> None:
    text = HELLO.replace("duration: 2s", "duration: 60s")
    words = command("run", str(write(tmp_path, text)), "--out", str(tmp_path / "runs"), "--no-figures")
    process = subprocess.Popen(words, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for(lambda: any(path.read_text().count(",ok,") > 10 for path in list(tmp_path.glob(OUTCOMES))))
    folder = next(tmp_path.glob("runs/*/run.json")).parent
    keeper = child(process.pid)
    os.kill(child(keeper) if number == signal.SIGKILL else process.pid, number)  # the arena's init, or the command
    process.communicate(timeout=60)
    told = record(folder)
    assert (process.returncode, told["state"], told["verdict"]["level"]) == (1, state, "invalid")
    found = Counter(row["status"] for row in rows(folder))
    assert found.total() == 1200
    assert found["ok"] > 0
    assert folder.name not in registry.names()


def test_captures_become_flows(tmp_path: Path) -> None:
    text = HELLO + "collect: {captures: [{link: h1-h2, node: h1}]}\n"
    folder, _ = run(tmp_path, text, "--no-figures")
    with (folder / "flows.csv").open() as file:
        found = list(csv.DictReader(file))
    ports = {row["destination_port"] for row in found}
    assert "10000" in ports  # the router on h1 calls the computer on h2
    assert list((folder / "captures").glob("*.pcap"))


def test_a_sweep_runs_each_point_and_writes_them_side_by_side(tmp_path: Path) -> None:
    text = HELLO + "sweep: {seed: [1, 2], workload.duration: [1s]}\n"
    folder, done = run(tmp_path, text)
    with (folder / "sweep.csv").open() as file:
        found = list(csv.DictReader(file))
    assert [row["seed"] for row in found] == ["1", "2"]
    assert all((folder / row["run_id"] / "run.json").exists() for row in found), done.stderr
    assert list((folder / "figures").glob("curve-*.svg"))
