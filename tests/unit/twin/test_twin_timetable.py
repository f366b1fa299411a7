"""What each kind of event does in the twin, to the microsecond."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

from testbed.conduct import Quiet
from testbed.experiment.load import load
from testbed.run import perform
from testbed.store import read_record
from testbed.substrate.find import named

EXPERIMENT: dict[str, Any] = {
    "name": "small",
    "topology": {
        "nodes": {"c": {}, "e1": {"kind": "router"}, "e2": {"kind": "router"}, "w": {}},
        "links": [
            {"name": "near1", "ends": ["c", "e1"], "delay": "5ms"},
            {"name": "near2", "ends": ["c", "e2"], "delay": "30ms"},
            {"name": "core", "ends": ["e1", "e2"], "delay": "5ms"},
            {"name": "edge", "ends": ["e1", "w"], "delay": "1ms"},
        ],
    },
    "system": "serverless_on_edge",
    "place": {"control": "e1", "gateway": "e1", "worker": "w", "client": "c"},
    "functions": {"f": {"service": "1ms", "concurrency": 8}},
    "workload": {
        "duration": "6s", "timeout": "3s",
        "traffic": [{"arrivals": {"model": "deterministic", "rate": "20/s"}}],
    },
}  # fmt: skip


def run(folder: Path, *timeline: dict[str, Any]) -> Path:
    path = folder / "small.yaml"
    path.write_text(json.dumps({**EXPERIMENT, "timeline": timeline}))
    done = perform(load(path), named("twin"), folder / "runs", Quiet())
    assert read_record(done).state == "done", read_record(done).error
    return done


def table(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def answers(folder: Path) -> list[tuple[float, float]]:
    """When each answered invocation was sent, and its response time in ms."""
    rows = [row for row in table(folder, "invocations") if row["status"] == "ok"]
    return [(float(row["t_scheduled"]), round(float(row["response_time_s"]) * 1e3, 3)) for row in rows]


def between(found: list[tuple[float, float]], start: float, end: float) -> set[float]:
    return {took for sent, took in found if start <= sent < end}


def test_a_client_that_moves_takes_the_other_way_and_keeps_its_connections(tmp_path: Path) -> None:
    moves = [{"at": "2s", "do": "move", "node": "c", "from": "near1", "to": "near2"},
             {"at": "4s", "do": "move", "node": "c", "from": "near2", "to": "near1"}]  # fmt: skip
    folder = run(tmp_path, *moves)
    found = answers(folder)
    assert len(found) == len(table(folder, "invocations"))
    near, far = between(found, 0.5, 1.9), between(found, 2.3, 3.9)
    assert max(near) < 15
    assert min(far) - max(near) == 60  # 35 ms instead of 5 ms, there and back
    assert between(found, 4.3, 6) == near


def test_links_of_a_host_that_moves_are_up_one_at_a_time(tmp_path: Path) -> None:
    folder = run(tmp_path, {"at": "3s", "do": "move", "node": "c", "from": "near2", "to": "near1"})
    packets = {(row["link"], float(row["t"])): int(row["packets"]) for row in table(folder, "links")
               if row["node"] == "c"}  # fmt: skip
    assert packets["near1", 3.0] == 0
    assert packets["near2", 3.0] > 40
    assert packets["near1", 5.5] > 40


def test_a_paused_worker_answers_when_it_goes_on(tmp_path: Path) -> None:
    found = answers(run(tmp_path, {"at": "2s", "do": "pause", "node": "w", "for": "1s"}))
    assert len(found) == 120
    usual = between(found, 0.5, 1.9)
    for sent, took in found:
        if 2.0 <= sent < 2.9:
            assert took >= (3.0 - sent) * 1e3
            assert sent + took / 1e3 < 3.1
    assert between(found, 3.5, 6) == usual


def test_a_paused_client_sends_late_what_was_due_meanwhile_and_is_excused(tmp_path: Path) -> None:
    folder = run(tmp_path, {"at": "2s", "do": "pause", "node": "c", "for": "500ms"})
    rows = [row for row in table(folder, "invocations") if 2.01 < float(row["t_scheduled"]) < 2.5]
    assert {round(float(row["t_sent"]), 9) for row in rows} == {2.5}
    verdict = read_record(folder).verdict
    assert verdict is not None and verdict["level"] == "valid", verdict


def test_an_agent_killed_while_it_is_paused_is_gone(tmp_path: Path) -> None:
    folder = run(tmp_path, {"at": "2s", "do": "pause", "node": "w"}, {"at": "3s", "do": "kill", "node": "w"})
    assert not between(answers(folder), 2.0, 6.0)


def test_a_restarted_worker_answers_again(tmp_path: Path) -> None:
    folder = run(tmp_path, {"at": "2s", "do": "kill", "node": "w"}, {"at": "3s", "do": "restart", "node": "w"})
    found = answers(folder)
    assert between(found, 0.0, 1.9) and not between(found, 2.0, 2.9)
    assert between(found, 3.5, 6.0)
    events = [(row["kind"], float(row["t_actual"])) for row in table(folder, "events")]
    assert events[:2] == [("kill", 2.0), ("restart", 3.0)]
    assert events[2][0] == "agent_ready" and 3.0 <= events[2][1] < 3.2


def test_restarting_a_running_agent_kills_it_first(tmp_path: Path) -> None:
    folder = run(tmp_path, {"at": "2s", "do": "restart", "node": "w"})
    assert between(answers(folder), 2.5, 6.0)
    assert Counter(row["kind"] for row in table(folder, "events")) == {"restart": 1, "agent_ready": 1}


def test_a_crashed_host_is_silent_until_it_is_restored(tmp_path: Path) -> None:
    folder = run(tmp_path, {"at": "2s", "do": "crash", "node": "w", "for": "1s"})
    rows = table(folder, "invocations")
    lost = [row for row in rows if 2.0 < float(row["t_scheduled"]) < 2.2]
    assert {row["status"] for row in lost} <= {"timeout", "error", "rejected"}
    assert between(answers(folder), 4.5, 6.0)
    links = [row for row in table(folder, "links") if row["link"] == "edge" and row["node"] == "e1"]
    assert int(links[-1]["dropped_down"]) > 0


def test_a_partition_is_healed(tmp_path: Path) -> None:
    folder = run(tmp_path, {"at": "2s", "do": "partition", "groups": [["w"]], "for": "1s"})
    found = answers(folder)
    assert all(sent + took / 1e3 >= 3.0 for sent, took in found if 2.0 < sent < 3.0)
    assert between(found, 5.0, 6.0) == between(found, 0.5, 1.9)


def test_a_flapping_link_is_recorded_at_its_exact_times(tmp_path: Path) -> None:
    folder = run(tmp_path, {"at": "2s", "do": "flap", "link": "edge", "down": "10ms", "up": "90ms", "times": 20})
    events = table(folder, "events")
    assert len(events) == 40
    assert all(row["t_planned"] == row["t_actual"] for row in events)


def test_a_replayed_link_has_the_recorded_delays(tmp_path: Path) -> None:
    (tmp_path / "link.csv").write_text("time (s),delay (ms)\n0,11\n1,1\n")
    folder = run(tmp_path, {"at": "1s", "do": "trace", "link": "edge", "file": "link.csv", "loop": True, "until": "5s"})
    found = answers(folder)
    usual = between(found, 0.5, 0.9)
    assert {round(each + 20, 3) for each in usual} == between(found, 1.1, 1.9) == between(found, 3.1, 3.9)
    assert between(found, 2.1, 2.9) == usual


def test_a_load_is_noted_and_doubted(tmp_path: Path) -> None:
    folder = run(tmp_path, {"at": "1s", "do": "load", "node": "w", "cpu": 2, "for": "1s"})
    verdict = read_record(folder).verdict
    assert verdict is not None and verdict["level"] == "suspect"
    assert "the load on w" in verdict["reasons"][0]["what"]


def test_a_run_with_every_kind_of_event_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    timeline = [
        {"at": "1s", "do": "move", "node": "c", "from": "near1", "to": "near2"},
        {"at": "2s", "do": "pause", "node": "w", "for": "300ms"},
        {"at": "3s", "do": "crash", "node": "w", "for": "500ms"},
        {"at": "3500ms", "do": "skew", "node": "w", "by": "-2s", "for": "1s"},
        {"at": "4s", "do": "flap", "link": "core", "down": "50ms", "up": "50ms", "times": 5},
        {"at": "5s", "do": "restart", "node": "w"},
    ]
    first, second = run(tmp_path, *timeline), run(tmp_path, *timeline)
    assert first != second
    for name in ("invocations", "events", "links"):
        assert (first / f"{name}.csv").read_bytes() == (second / f"{name}.csv").read_bytes()
