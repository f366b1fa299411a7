"""Every kind of event on a real network: namespaces, agents, packets."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

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
  duration: 11s
  timeout: 1s
  traffic:
    - {clients: [c1], arrivals: {model: deterministic, rate: 20/s}}
    - {clients: [c2], arrivals: {model: deterministic, rate: 20/s}}
timeline:
  - {at: 1s, do: move, node: c1, from: near1, to: near2}
  - {at: 2s, do: move, node: c1, from: near2, to: near1}
  - {at: 3s, do: pause, node: "tag:leaf", for: 500ms}
  - {at: 4s, do: crash, node: w1, for: 500ms}
  - {at: 7s, do: restart, node: w1}
  - {at: 8s, do: flap, link: "edge*", down: 50ms, up: 50ms, times: 3}
  - {at: 8500ms, do: partition, groups: [[c2]], for: 300ms}
  - {at: 9s, do: trace, link: c2, file: link.csv}
  - {at: 10s, do: load, node: w1, cpu: 1, share: 20%, memory: 20MB, for: 500ms}
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


class Moment(NamedTuple):
    """Of an event: what it changes is not so before ``begun`` and is so from ``done`` on; a busy machine takes long."""

    begun: float
    done: float


def moments(folder: Path, kind: str) -> list[Moment]:
    """The planned events of this kind."""
    found = [row for row in rows(folder, "events") if row["kind"] == kind]
    return [Moment(float(row["t_planned"] or row["t_actual"]), float(row["t_actual"])) for row in found]


def answered(folder: Path, client: str, start: float, end: float) -> Rows:
    """What a client sent in a stretch and got an answer to."""
    return [row for row in rows(folder, "invocations") if row["client"] == client and row["status"] == "ok"
            and start <= float(row["t_sent"]) < end]  # fmt: skip


def quickest(folder: Path, client: str, start: float, end: float) -> float:
    """The shortest response time of what a client sent in a stretch: what the way takes, and not what else went on."""
    return min(float(row["response_time_s"]) for row in answered(folder, client, start, end))


@pytest.mark.ability("runs", "events of the timeline are in force, and recorded with their times")
def test_every_event_is_recorded_with_its_time(folder: Path) -> None:
    planned = [row for row in rows(folder, "events") if row["t_planned"]]
    assert Counter(row["kind"] for row in planned) == {
        "move": 2, "pause": 1, "resume": 1, "crash": 1, "restore": 1, "restart": 1, "cut": 3, "mend": 3,
        "partition": 1, "heal": 1, "trace": 2, "load": 1,
    }  # fmt: skip
    late = sorted(float(row["t_actual"]) - float(row["t_planned"]) for row in planned)
    assert late[0] >= 0
    in_time = late[len(late) // 2] < 0.02
    assert in_time or record(folder)["verdict"]["level"] != "valid", late  # else it was too busy


def test_a_client_that_moves_takes_the_other_way_and_back(folder: Path) -> None:
    away, back = moments(folder, "move")
    stretches = (0.1, away.begun), (away.done, back.begun), (back.done, moments(folder, "pause")[0].begun)
    near, far, again = (quickest(folder, "c1", start + 0.1, end - 0.1) for start, end in stretches)
    assert 0.06 < far - near < 0.12  # 40 ms instead of 5 ms there and back
    assert abs(again - near) < 0.03


def test_calls_outlive_a_move(folder: Path) -> None:
    moving = [row for row in rows(folder, "invocations")
              if row["client"] == "c1" and 0.8 <= float(row["t_scheduled"]) < 2.6]  # fmt: skip
    assert Counter(row["status"] for row in moving)["ok"] > 0.9 * len(moving)


def test_a_paused_worker_answers_when_it_goes_on(folder: Path) -> None:
    (paused,), (resumed,), (crashed,) = (moments(folder, kind) for kind in ("pause", "resume", "crash"))
    meanwhile = answered(folder, "c2", paused.done, resumed.begun)
    assert meanwhile
    assert min(float(row["t_done"]) for row in meanwhile) > resumed.begun
    assert quickest(folder, "c2", resumed.done, crashed.begun) < max(float(row["response_time_s"]) for row in meanwhile)


def test_a_crashed_host_comes_back(folder: Path) -> None:
    (crashed,), (restored,) = moments(folder, "crash"), moments(folder, "restore")
    assert not answered(folder, "c2", crashed.done, restored.begun - 0.1)
    assert answered(folder, "c2", moments(folder, "agent_ready")[0].done, moments(folder, "restart")[0].begun)


def test_a_restarted_agent_says_when_it_is_ready(folder: Path) -> None:
    ready = [row for row in rows(folder, "events") if row["kind"] == "agent_ready"]
    assert [row["subject"] for row in ready] == ["computer on w1", "computer on w1"]
    assert answered(folder, "c2", float(ready[1]["t_actual"]), 11.0)


def test_a_parted_client_reaches_nobody_until_it_is_healed(folder: Path) -> None:
    (parted,), (healed,) = moments(folder, "partition"), moments(folder, "heal")
    assert not [row for row in answered(folder, "c2", parted.done, healed.begun) if float(row["t_done"]) < healed.begun]


def test_a_link_follows_its_recording(folder: Path) -> None:
    slow, fast = moments(folder, "trace")
    assert quickest(folder, "c2", slow.done, fast.begun - 0.07) > 0.12  # 60 ms each way; an answer may meet the change
    assert quickest(folder, "c2", fast.done, 11.0) < 0.1


def test_a_load_ends_and_leaves_its_status(folder: Path) -> None:
    assert (folder / "hosts" / "w1" / "load-1" / "exit").read_text().strip() == "0"


def test_health_of_agents_that_lived_twice_is_one_table(folder: Path) -> None:
    text = (folder / "hosts" / "w1" / "computer" / "health.csv").read_text()
    assert text.count("lag_max_s") == 1
