"""Whole experiments over two emulation servers: as on one machine, with events, and with a server that dies."""

from __future__ import annotations

import csv
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from in_arena import passes
from server_lab import Lab, lab

from testbed.places import home
from testbed.substrate.host import NetnsProcess

pytestmark = [pytest.mark.feature("netns"), pytest.mark.feature("sshd"), pytest.mark.feature("relay")]
EVENTS = (
    "{at: 2s, do: shape, link: near, change: {delay: 30ms}}", "{at: 2500ms, do: pause, node: w1, for: 200ms}",
    "{at: 3s, do: cut, link: core, for: 200ms}", "{at: 3500ms, do: kill, role: computer, node: w1}",
    "{at: 4s, do: restart, role: computer, node: w1}",
)  # fmt: skip
QUICKSTART = {"m1": ["c1", "a1", "e1", "ctl"], "m2": ["w1", "b1", "w2"]}


def begun(made: Lab, *changes: str) -> NetnsProcess:
    """``testbed run`` of the quickstart, with these changes, on the driver."""
    argv = [sys.executable, "-m", "testbed", "run", str(home() / "experiments" / "quickstart.yaml"), "--quiet",
            "--no-figures", "--substrate", f"machines:{made.inventory(QUICKSTART)}", "--out", str(made.place / "runs")]
    return made.driver.start([*argv, *(word for change in changes for word in ("--set", change))], made.place / "run")


def recorded(made: Lab) -> tuple[Path, dict[str, Any]]:
    """The only run folder and its run.json; an empty one where there is none yet."""
    for path in made.place.glob("runs/*/run.json"):
        return path.parent, json.loads(path.read_text())
    return made.place, {}


@pytest.mark.ability("runs", "an experiment runs to its end, with a row for every invocation", on="servers")
@pytest.mark.ability("runs", "events of the timeline are in force, and recorded with their times", on="servers")
def test_an_experiment_runs_over_two_servers_as_on_one() -> None:
    def work() -> None:
        with lab() as made:
            process = begun(made, "workload.duration=5s", "workload.warmup=1s", f"timeline=[{', '.join(EVENTS)}]",
                            "collect.captures=[{link: core, node: b1}]")  # fmt: skip
            status = process.wait(200)
            folder, record = recorded(made)
            verdict = record["verdict"]["level"]
            assert record["state"] == "done"
            assert status == (1 if verdict == "invalid" else 0), (process.folder / "stderr").read_text()
            assert record["features"]["trunks"].startswith("udp for 2 links")
            assert set(record["machines"]) == {"m1", "m2"}
            asked = {(row["link"], row["from"]): row for row in record["calibration"] if row["link"]}
            assert asked
            for row in record["calibration"]:
                assert row["measured_p50_s"] is not None, row
                most = 0.005 if verdict == "valid" else 0.015  # on a machine that says that it was busy
                assert -0.001 < row["measured_p50_s"] - row["asked_delay_s"] < most, row
            rows = (folder / "invocations.csv").read_text().splitlines()
            assert sum(",ok," in row for row in rows) > 0.75 * (len(rows) - 1)  # one of two workers is away for a while
            with (folder / "events.csv").open() as file:
                events = list(csv.DictReader(file))
            planned = [event for event in events if event["t_planned"]]
            kinds = [event["kind"] for event in planned]
            assert kinds == ["shape", "pause", "resume", "cut", "mend", "kill", "restart"]
            assert all(0 <= float(event["t_actual"]) - float(event["t_planned"]) < 1 for event in planned)
            assert "agent_ready" in [event["kind"] for event in events]
            assert "core,b1,tcp" in (folder / "flows.csv").read_text()
            with (folder / "links.csv").open() as file:
                passed = {(row["link"], row["node"]) for row in csv.DictReader(file) if int(row["packets"])}
            assert {("near", "e1"), ("near", "w1"), ("core", "e1"), ("core", "b1")} <= passed

    passes(work)


@pytest.mark.ability("runs", "a run that is broken off keeps a row for every invocation", on="servers")
def test_a_run_whose_server_dies_fails_with_its_name_and_keeps_every_row() -> None:
    def work() -> None:
        with lab() as made:
            process = begun(made, "workload.duration=60s", "timeline=[]")
            deadline = time.monotonic() + 120
            while recorded(made)[1].get("state") != "running":
                assert process.poll() is None and time.monotonic() < deadline, (process.folder / "stderr").read_text()
                time.sleep(0.1)
            made.kill("m2")
            assert process.wait(120) == 1
            folder, record = recorded(made)
            assert record["state"] == "failed"
            assert "Machine 'm2' is lost" in record["error"]
            assert record["verdict"]["level"] == "invalid"
            rows = (folder / "invocations.csv").read_text().splitlines()
            assert len(rows) > 1000  # 20 a second for a minute: also those that were never sent

    passes(work)
