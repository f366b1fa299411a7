"""What is collected from a whole run: all rows whatever crashes, samples of links and agents, captures and flows."""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path
from typing import Any

import watched_run
from in_arena import each_user, passes
from watched_run import forks

from testbed.deploy.fleet import Fleet


def rows(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_client_killed_in_the_middle_leaves_a_row_for_every_scheduled_invocation() -> None:
    def work() -> None:
        killed: list[float] = []

        def kill(fleet: Fleet, t: float) -> None:
            if t > 1.0 and not killed:
                fleet.kill("c1", "caller")
                killed.append(t)

        with tempfile.TemporaryDirectory() as folder, forks(Path(folder)) as server:
            told = watched_run.run(Path(folder) / "run", server, meanwhile=kill, rate=100)
            scheduled = rows(told.folder / "schedule.csv")
        found = told.invocations.rows
        assert [row["invocation_id"] for row in found] == sorted(int(row["invocation_id"]) for row in scheduled)
        assert told.invocations.refused == []
        unsent = [row["t_scheduled"] for row in found if row["status"] == "unsent"]
        answered = [row["t_scheduled"] for row in found if row["status"] == "ok"]
        assert answered
        assert len(unsent) > len(found) / 3
        assert min(unsent) > max(answered)
        assert {reason.check for reason in told.verdict.reasons} >= {"shortfall"}
        assert told.verdict.level == "invalid"

    passes(work)


@each_user
def test_links_agents_and_captured_flows_tell_the_same_story(user: str) -> None:
    def work() -> None:
        with tempfile.TemporaryDirectory() as folder, forks(Path(folder)) as server:
            told = watched_run.run(Path(folder) / "run", server, captures=[("r1-w1", "w1"), ("c1-r1", "r1")])
            links, nodes = rows(told.folder / "links.csv"), rows(told.folder / "nodes.csv")
            flows = rows(told.folder / "flows.csv")
            machine = rows(told.folder / "machine.csv")
        done = [row for row in told.invocations.rows if row["status"] == "ok"]
        dropped = {each.link: each.dropped for each in told.captures.done}  # by a machine that is too busy, and told
        assert dropped.keys() == {"r1-w1", "c1-r1"}
        assert {(row["node"], row["role"]) for row in nodes} == {("c1", "caller"), ("w1", "server")}
        assert all(float(row["span_s"]) > 0 for row in machine)

        last = {(row["link"], row["node"]): row for row in links}
        assert int(last["r1-w1", "r1"]["packets"]) >= 3 * len(done)
        assert int(last["c1-r1", "c1"]["dropped_loss"]) > 0

        to_worker = [row for row in flows if row["node"] == "w1" and row["destination_port"] == "7000"]
        assert len(to_worker) >= len(done) - dropped["r1-w1"]
        assert {row["protocol"] for row in to_worker} == {"tcp"}
        first, ended = (min(float(row["t_first"]) for row in to_worker), max(float(row["t_last"]) for row in to_worker))
        sent = [row["t_sent"] for row in told.invocations.rows]
        assert min(sent) < first
        assert ended < max(sent) + 30

    passes(work, user)
