"""Every kind of event on a real network: namespaces, agents, packets."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import cli, record, write

pytestmark = [pytest.mark.feature("netns"), pytest.mark.feature("relay")]

EXPERIMENT = """
name: everything
topology:
  name: net
  nodes: {c1: {}, c2: {}, e1: {kind: router}, e2: {kind: router}, w1: {tags: [leaf]}}
  links:
    - {name: near1, ends: [c1, e1], delay: 5ms}
    - {name: near2, ends: [c1, e2], delay: 40ms}
    - {name: c2, ends: [c2, e1], delay: 5ms}
    - {name: core, ends: [e1, e2], delay: 5ms}
    - {name: edge1, ends: [e1, w1], delay: 1ms}
system: serverless_on_edge
place: {control: e1, gateway: e1, worker: w1, client: [c1, c2]}
functions: {f: {code: f.py, concurrency: 4}}
workload:
  duration: 10s
  timeout: 1s
  traffic:
    - {clients: [c1], arrivals: {model: deterministic, rate: 20/s}}
    - {clients: [c2], arrivals: {model: deterministic, rate: 20/s}}
timeline:
  - {at: 1s, do: move, node: c1, from: near1, to: near2}
  - {at: 2s, do: move, node: c1, from: near2, to: near1}
  - {at: 3s, do: pause, node: "tag:leaf", for: 500ms}
  - {at: 4s, do: crash, node: w1, for: 500ms}
  - {at: 6s, do: restart, node: w1}
  - {at: 7s, do: flap, link: "edge*", down: 50ms, up: 50ms, times: 3}
  - {at: 7500ms, do: partition, groups: [[c2]], for: 300ms}
  - {at: 8s, do: trace, link: c2, file: link.csv}
  - {at: 9s, do: load, node: w1, cpu: 1, share: 20%, memory: 20MB, for: 500ms}
"""
LINK = "time (s),delay (ms)\n0,60\n0.5,5\n"
CODE = "def code(ctx, payload):\n    return payload\n"
Rows = list[dict[str, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One run with all of them."""
    place = tmp_path_factory.mktemp("timetable")
    (place / "link.csv").write_text(LINK)
    (place / "f.py").write_text(CODE)
    done = cli("run", str(write(place, EXPERIMENT)), "--out", str(place / "runs"), cwd=place)
    assert done.stdout.strip(), done.stderr
    found = Path(done.stdout.splitlines()[-1])
    assert record(found)["state"] == "done", record(found)["error"]
    yield found


def rows(folder: Path, name: str) -> Rows:
    with (folder / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def times(folder: Path, client: str, start: float, end: float) -> list[float]:
    """Response times of what a client sent in a stretch and got an answer to, shortest first."""
    return sorted(float(row["response_time_s"]) for row in rows(folder, "invocations")
                  if row["client"] == client and row["status"] == "ok" and start <= float(row["t_scheduled"]) < end)


def median(found: list[float]) -> float:
    return found[len(found) // 2]


@pytest.mark.ability("runs", "events of the timeline are in force, and recorded with their times")
def test_every_event_is_recorded_with_its_time(folder: Path) -> None:
    planned = [row for row in rows(folder, "events") if row["t_planned"]]
    assert Counter(row["kind"] for row in planned) == {
        "move": 2, "pause": 1, "resume": 1, "crash": 1, "restore": 1, "restart": 1, "cut": 3, "mend": 3,
        "partition": 1, "heal": 1, "trace": 2, "load": 1,
    }  # fmt: skip
    late = sorted(float(row["t_actual"]) - float(row["t_planned"]) for row in planned)
    assert late[0] >= 0
    assert median(late) < 0.02


def test_a_client_that_moves_takes_the_other_way_and_back(folder: Path) -> None:
    near, far, again = (median(times(folder, "c1", t, t + 0.8)) for t in (0.1, 1.15, 2.15))
    assert 0.07 < far - near < 0.12  # 40 ms instead of 5 ms there and back
    assert abs(again - near) < 0.03


def test_calls_outlive_a_move(folder: Path) -> None:
    moving = [row for row in rows(folder, "invocations")
              if row["client"] == "c1" and 0.8 <= float(row["t_scheduled"]) < 2.6]  # fmt: skip
    assert Counter(row["status"] for row in moving)["ok"] > 0.9 * len(moving)


def test_a_paused_worker_answers_when_it_goes_on(folder: Path) -> None:
    assert max(times(folder, "c2", 3.0, 3.2)) > 0.25
    assert times(folder, "c2", 3.0, 3.2)[0] > 0.2
    assert median(times(folder, "c2", 3.6, 3.95)) < 0.1


def test_a_crashed_host_comes_back(folder: Path) -> None:
    assert not times(folder, "c2", 4.0, 4.4)
    assert times(folder, "c2", 5.6, 5.95)


def test_a_restarted_agent_says_when_it_is_ready(folder: Path) -> None:
    ready = [row for row in rows(folder, "events") if row["kind"] == "agent_ready"]
    assert [row["subject"] for row in ready] == ["computer on w1", "computer on w1"]
    assert times(folder, "c2", float(ready[1]["t_actual"]), 10.0)


def test_a_parted_client_reaches_nobody_until_it_is_healed(folder: Path) -> None:
    lost = times(folder, "c2", 7.52, 7.7)
    assert not lost or lost[0] > 0.1


def test_a_link_follows_its_recording(folder: Path) -> None:
    assert times(folder, "c2", 8.1, 8.45)[0] > 0.12
    assert times(folder, "c2", 8.8, 9.9)[0] < 0.1


def test_a_load_ends_and_leaves_its_status(folder: Path) -> None:
    assert (folder / "hosts" / "w1" / "load-1" / "exit").read_text().strip() == "0"


def test_health_of_agents_that_lived_twice_is_one_table(folder: Path) -> None:
    text = (folder / "hosts" / "w1" / "computer" / "health.csv").read_text()
    assert text.count("lag_max_s") == 1
