"""A run whose command was killed can be completed afterwards; one that goes on, or has ended, is left alone."""

from __future__ import annotations

import csv
import json
import subprocess
import time
from pathlib import Path

import pytest
from command import HELLO, cli, command, environment, record, write

pytestmark = pytest.mark.feature("netns")
SOON_S = 60.0


def _answered(folder: Path) -> int:
    """How many answers the client has reported."""
    told = next(iter(folder.glob("hosts/h1/*/progress.json")), None)
    return int(json.loads(told.read_text())["done"]) if told else 0


def test_a_run_whose_command_was_killed_is_completed_with_every_row_and_an_invalid_verdict(tmp_path: Path) -> None:
    experiment = write(tmp_path, HELLO.replace("duration: 2s", "duration: 60s"))
    argv = command("run", str(experiment), "--quiet", "--no-figures", "--out", str(tmp_path / "runs"))
    with subprocess.Popen(argv, cwd=tmp_path, env=environment()) as program:
        deadline = time.monotonic() + SOON_S
        while not (folders := list(tmp_path.glob("runs/*"))) or _answered(folders[0]) < 10:
            assert program.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        still = cli("recover", cwd=tmp_path)
        assert still.returncode == 2
        assert "its command is at work" in still.stderr
        program.kill()
    assert record(folders[0])["state"] == "running"
    done = cli("recover", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).name == folders[0].name
    found = record(folders[0])
    assert found["state"] == "failed"
    assert "was killed while the run was running" in found["error"]
    assert found["verdict"]["level"] == "invalid"
    with (folders[0] / "invocations.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == found["summary"]["scheduled"] == 1200
    assert {row["verdict"] for row in rows} == {"invalid"}
    assert 10 <= sum(row["status"] == "ok" for row in rows) == found["summary"]["ok"] < 1200
    assert {row["status"] for row in rows} <= {"ok", "unsent", "lost"}
    again = cli("recover", cwd=tmp_path)
    assert again.returncode == 2
    assert "is failed and complete" in again.stderr
