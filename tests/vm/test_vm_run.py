"""Whole runs inside the VM, as a user has them: the folder outside is complete, also when the run is broken off."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
from pathlib import Path

import pytest
from command import HELLO, ORDINARY_USER, cli, command, environment, record, write

pytestmark = pytest.mark.feature("uml")
QUICKSTART = ("run", "experiments/quickstart.yaml", "--set", "workload.duration=2s", "--no-figures",
              "--set", "workload.timeout=60s")  # fmt: skip  # on a busy machine, the VM takes its time


def rows(folder: str) -> list[dict[str, str]]:
    with (Path(folder) / "invocations.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.ability("runs", "an experiment runs to its end, with a row for every invocation", on="vm")
def test_an_ordinary_user_runs_the_quickstart_with_netem(open_folder: Path) -> None:
    user = ORDINARY_USER if os.geteuid() == 0 else None
    done = cli(*QUICKSTART, "--substrate", "vm", "--out", str(open_folder), cwd=open_folder, user=user, timeout=280)
    assert done.returncode in (0, 1) and done.stdout, done.stderr
    folder = done.stdout.split()[-1]
    found = record(folder)
    assert found["state"] == "done", done.stderr
    assert found["substrate"] == "vm"
    assert found["mechanisms"]["far"] == "netem"
    assert "User-Mode Linux" in found["features"]["vm"]
    assert sum(row["phase"] == "measure" for row in rows(folder)) == found["summary"]["scheduled"] > 0
    assert sum(row["status"] == "ok" for row in rows(folder)) > 0.9 * len(rows(folder)), done.stderr
    assert done.returncode == (0 if found["verdict"]["level"] != "invalid" else 1)
    assert "quickstart: workload" in done.stderr


@pytest.mark.ability("runs", "a run that is broken off keeps a row for every invocation", on="vm")
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_a_signal_reaches_the_run_inside_and_ends_it_with_all_its_rows(tmp_path: Path, number: int) -> None:
    experiment = write(tmp_path, HELLO.replace("duration: 2s", "duration: 60s"))
    argv = command("run", str(experiment), "--substrate", "vm", "--no-figures", "--out", str(tmp_path / "runs"))
    with subprocess.Popen(
        argv, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as program:  # fmt: skip
        assert program.stderr is not None
        while "workload" not in program.stderr.readline():
            assert program.poll() is None
        if number == signal.SIGINT:
            os.killpg(program.pid, number)  # as a terminal does
        else:
            program.terminate()
        out, _ = program.communicate(timeout=120)
    assert program.returncode == 1
    found = record(out.split()[-1])
    assert found["state"] == "interrupted"
    assert len(rows(out.split()[-1])) == found["summary"]["scheduled"] == 1200


@pytest.mark.long
@pytest.mark.feature("ovs-vswitchd")
@pytest.mark.parametrize("option", ["mininet", "ovs", "flows"])
def test_the_quickstart_runs_on_mininet_in_the_vm(tmp_path: Path, option: str) -> None:
    done = cli(*QUICKSTART, "--substrate", f"vm:{option}", "--out", str(tmp_path), cwd=tmp_path, timeout=280)
    found = record(done.stdout.split()[-1])
    assert found["state"] == "done", done.stderr
    switches = "Linux bridges" if option == "mininet" else "in the kernel"
    assert switches in found["features"]["switches"]
