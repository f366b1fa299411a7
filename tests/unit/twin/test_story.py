"""Runs in the twin: as complete as any run, and the same bytes whenever and wherever they are told."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from testbed.collect.schema import EVENTS, INVOCATIONS, LINKS, MACHINE, NODES, SUMMARY
from testbed.conduct import Quiet
from testbed.experiment.load import load
from testbed.places import home
from testbed.run import perform
from testbed.store import read_record
from testbed.substrate.find import named
from testbed.sweep import perform_sweep

TOPOLOGY = """
name: net
nodes: {c1: {}, c2: {}, sw: {kind: switch}, gw: {}, w1: {}, w2: {}, ctl: {}}
links:
  - {name: c1, ends: [c1, sw], delay: 5ms, jitter: 1ms, loss: 1%, rate: 10Mbit}
  - {name: c2, ends: [c2, sw], delay: 5ms}
  - {name: gw, ends: [gw, sw], delay: 1ms}
  - {name: w1, ends: [w1, sw], delay: 1ms}
  - {name: w2, ends: [w2, sw], delay: 2ms}
  - {name: ctl, ends: [ctl, sw], delay: 1ms}
"""
EXPERIMENT = """
name: small
topology: net.yaml
system: serverless_on_edge
place: {control: ctl, gateway: gw, worker: [w1, w2], client: [c1, c2]}
functions: {f: {service: 10ms, concurrency: 2}, words: {code: words.py}}
workload:
  duration: 8s
  timeout: 2s
  traffic:
    - {clients: [c1], arrivals: {model: poisson, rate: 20/s}, functions: {f: 3, words: 1}, payload: {size: 2kB}}
    - {clients: [c2], arrivals: {model: closed, users: 3, think: 100ms}, functions: {f: 1}}
timeline:
  - {at: 3s, do: shape, link: w1, change: {delay: 30ms}}
  - {at: 5s, do: cut, link: c2}
  - {at: 6s, do: mend, link: c2}
"""
WORDS = "def code(ctx, payload):\n    ctx.compute(0.005)\n    return str(len(set(payload)))\n"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return written(tmp_path)


def written(folder: Path, **changes: str) -> Path:
    topology, experiment = TOPOLOGY, EXPERIMENT
    for old, new in changes.items():
        topology, experiment = topology.replace(old, new), experiment.replace(old, new)
    (folder / "net.yaml").write_text(topology)
    (folder / "words.py").write_text(WORDS)
    (folder / "small.yaml").write_text(experiment)
    return folder / "small.yaml"


def run(path: Path, out: str = "runs", *sets: str) -> Path:
    return perform(load(path, sets), named("twin"), path.parent / out, Quiet())


def tables(folder: Path) -> Mapping[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.csv"))}


def rows(folder: Path, table: str = "invocations") -> list[dict[str, str]]:
    with (folder / f"{table}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.ability("runs", "an experiment runs to its end, with a row for every invocation", on="twin")
def test_a_run_has_every_dataset_and_a_row_for_every_invocation(small: Path) -> None:
    folder = run(small)
    record = read_record(folder)
    assert record.state == "done", record.error
    assert set(tables(folder)) >= {f"{each.name}.csv" for each in (INVOCATIONS, EVENTS, LINKS, NODES, MACHINE, SUMMARY)}
    found = rows(folder)
    identifiers = [int(row["invocation_id"]) for row in found]
    assert identifiers == sorted(set(identifiers))
    schedules = [csv.DictReader(path.open(newline="")) for path in folder.glob("hosts/*/client/schedule.csv")]
    assert {int(row["invocation_id"]) for schedule in schedules for row in schedule} <= set(identifiers)
    assert {row["status"] for row in found} >= {"ok"}
    assert {row["substrate"] for row in found} == {"twin"}


@pytest.mark.ability("runs", "events of the timeline are in force, and recorded with their times", on="twin")
def test_events_act_at_their_exact_time(small: Path) -> None:
    assert [(float(row["t_planned"]), float(row["t_actual"])) for row in rows(run(small), "events")] == [
        (3.0, 3.0), (5.0, 5.0), (6.0, 6.0),
    ]  # fmt: skip


def test_the_verdict_doubts_what_nobody_measured_and_nothing_else(small: Path) -> None:
    verdict = read_record(run(small)).verdict
    assert verdict is not None
    assert verdict["level"] == "suspect"
    assert [reason["check"] for reason in verdict["reasons"]] == ["uncalibrated"]
    assert "words" in verdict["reasons"][0]["what"]


def test_the_same_run_twice_gives_the_same_bytes(small: Path) -> None:
    first, second = run(small), run(small)
    assert first != second
    assert tables(first) == tables(second)


def test_another_seed_gives_other_bytes(small: Path) -> None:
    assert tables(run(small))["invocations.csv"] != tables(run(small, "runs", "seed=2"))["invocations.csv"]


def test_the_same_files_elsewhere_give_the_same_bytes(tmp_path: Path) -> None:
    folders = [tmp_path / "here", tmp_path / "quite" / "somewhere else"]
    for folder in folders:
        folder.mkdir(parents=True)
    first, second = (run(written(folder)) for folder in folders)
    assert tables(first) == tables(second)


def test_other_code_of_a_function_is_another_input(small: Path) -> None:
    before = load(small).digest
    (small.parent / "words.py").write_text(WORDS.replace("0.005", "0.006"))
    assert load(small).digest != before


def command(python: str, path: Path, out: Path, hash_seed: str) -> Path:
    """The folder of a run by a command of its own."""
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(home())}
    done = subprocess.run(
        [python, "-m", "testbed", "run", str(path), "--substrate", "twin", "-q", "--no-figures", "--out", str(out)],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip().splitlines()[-1])


def test_the_order_of_hashes_changes_nothing(small: Path) -> None:
    runs = [command(sys.executable, small, small.parent / seed, seed) for seed in ("1", "2", "77")]
    assert tables(runs[0]) == tables(runs[1]) == tables(runs[2])


def others() -> list[str]:
    """Interpreters of other versions that have the libraries."""
    found = []
    for name in ("python3.12", "python3.13", "python3.14"):
        path = shutil.which(name)
        if path is not None:
            tried = subprocess.run([path, "-c", "import pydantic, ruamel.yaml, grpc, pandas"], check=False)
            found += [path] if tried.returncode == 0 else []
    return found


@pytest.mark.skipif(not others(), reason="no other version of Python with the libraries is installed here")
def test_another_version_of_python_gives_the_same_bytes(small: Path) -> None:
    here = tables(command(sys.executable, small, small.parent / "here", "0"))
    for python in others():
        assert tables(command(python, small, small.parent / Path(python).name, "0")) == here


def of_client(folder: Path, client: str) -> list[tuple[str, str, str]]:
    return [(row["t_scheduled"], row["function"], row["status"]) for row in rows(folder) if row["client"] == client]


def of_link(folder: Path, link: str) -> list[list[str]]:
    columns = ("t", "node", "packets", "size_bytes", "dropped_loss")
    return [[row[name] for name in columns] for row in rows(folder, "links") if row["link"] == link]


def test_a_further_host_leaves_the_draws_of_the_others_alone(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    alone = run(written(tmp_path / "a"))
    further = "links:\n  - {name: more, ends: [more, sw], delay: 3ms, loss: 5%}\n"
    beside = run(written(tmp_path / "b", **{"ctl: {}}": "ctl: {}, more: {}}", "links:\n": further}))
    assert of_client(alone, "c1") == of_client(beside, "c1")
    assert of_link(alone, "c1") == of_link(beside, "c1")


def test_a_failing_agent_ends_the_run_with_its_error_and_all_rows(small: Path) -> None:
    folder = run(small, "runs", "settings.serverless_on_edge.router.controller-endpoint=10.9.9.9:1", "timeline=[]")
    record = read_record(folder)
    assert record.state in ("done", "failed")
    assert len(rows(folder)) > 100


@pytest.mark.ability("runs", "a run that is broken off keeps a row for every invocation", on="twin")
def test_a_killed_client_leaves_a_row_for_each_of_its_invocations(small: Path) -> None:
    events = json.dumps([{"at": "4s", "do": "kill", "node": "c1", "role": "client"}])
    folder = run(small, "runs", f"timeline={events}")
    mine = [row for row in rows(folder) if row["client"] == "c1"]
    assert read_record(folder).state == "done"
    assert {row["status"] for row in mine if float(row["t_scheduled"]) > 4.0} == {"unsent"}
    assert {row["status"] for row in mine if float(row["t_scheduled"]) < 3.0} == {"ok"}


def test_a_sweep_runs_its_points_beside_each_other_and_keeps_their_order(small: Path) -> None:
    experiment = load(small, ['sweep={"workload.traffic[0].arrivals.rate": [5/s, 10/s, 20/s]}'])
    done: list[Path] = []
    folder = perform_sweep(experiment, named("twin"), small.parent / "runs", Quiet(), done.append)
    with (folder / "sweep.csv").open(newline="") as file:
        rates = [row["workload.traffic[0].arrivals.rate"] for row in csv.DictReader(file)]
    assert rates == ["5/s", "10/s", "20/s"]
    assert len(done) == 3
