"""Traffic beside the workload on a real network: started, counted, recorded, judged, and gone with the run."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import ORDINARY_USER, cli, record, write

pytestmark = [pytest.mark.alone, *map(pytest.mark.feature, ("netns", "relay", "iperf3"))]

EXPERIMENT = """
name: beside
topology:
  name: net
  nodes: {c: {}, r: {kind: router}, w: {tags: [far]}, x: {tags: [far]}}
  links:
    - {name: access, ends: [c, r], delay: 2ms, rate: 20Mbit, queue: 50p}
    - {name: w, ends: [r, w], delay: 1ms, rate: 20Mbit, queue: 50p}
    - {name: x, ends: [r, x], delay: 1ms, rate: 20Mbit, queue: 50p}
system: serverless_on_edge
place: {control: r, gateway: r, worker: w, client: c}
functions: {f: {service: 1ms, concurrency: 4}}
workload:
  duration: 6s
  timeout: 3s
  traffic: [{arrivals: {model: deterministic, rate: 10/s}}]
background:
  - {name: even, kind: packets, from: c, to: x, frequency: 200/s, payload: {model: uniform, least: 10B, most: 900B}}
  - {name: pings, kind: packets, protocol: icmp, from: c, to: "tag:far", frequency: 20/s, on: 500ms, off: 500ms}
  - {name: segments, kind: packets, protocol: tcp, from: w, to: r, frequency: 50/s, dscp: 46, arrivals: poisson}
  - {name: flood, kind: packets, from: x, to: w, start: 1s, for: 2s, rate: 40Mbit, payload: 1400B}
  - {name: bulk, kind: iperf3, from: r, to: c, start: 1s, until: 4s, rate: 4Mbit, connections: 2}
  - {name: back, kind: iperf3, protocol: udp, from: c, to: w, start: 3500ms, rate: 2Mbit, reverse: true}
  - {name: "off", kind: packets, from: c, to: x, rate: 0Mbit}
"""
Rows = dict[str, dict[str, str]]


def flows(folder: Path) -> Rows:
    """The rows of background.csv, by name."""
    with (folder / "background.csv").open(newline="", encoding="utf-8") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def events(folder: Path) -> list[dict[str, str]]:
    with (folder / "events.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def run(place: Path, text: str, *words: str) -> Path:
    """One run of an experiment; its folder."""
    done = cli("run", str(write(place, text)), "--no-figures", "-q", "--out", str(place / "runs"), *words, cwd=place)
    assert done.stdout.strip(), done.stderr
    folder = Path(done.stdout.splitlines()[-1])
    assert record(folder)["state"] == "done", record(folder)["error"]
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield run(tmp_path_factory.mktemp("background"), EXPERIMENT)


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield run(tmp_path_factory.mktemp("background-twin"), EXPERIMENT, "--substrate", "twin")


def test_all_flows_ran_and_one_that_is_off_is_none(folder: Path) -> None:
    rows = flows(folder)
    assert list(rows) == ["even", "pings:c>w", "pings:c>x", "segments", "flood", "bulk", "back"]
    assert {name: row["error"] for name, row in rows.items() if row["status"] != "ok"} == {}


def test_every_packet_that_finds_room_is_counted_at_its_goal(folder: Path) -> None:
    for name in ("pings:c>x", "segments", "even"):
        row = flows(folder)[name]
        # The run may be over, as all invocations are answered, a moment before the workload's time is.
        assert 0.9 * int(row["planned_packets"]) < int(row["sent_packets"]) <= int(row["planned_packets"])
        assert int(row["received_packets"]) > 0.9 * int(row["sent_packets"])
        assert int(row["received_bytes"]) <= int(row["sent_bytes"])


def test_more_than_a_link_allows_is_lost_and_that_is_no_reason_to_doubt(folder: Path) -> None:
    assert 0.3 < float(flows(folder)["flood"]["loss"]) < 0.7
    checks = [reason["check"] for reason in record(folder)["verdict"]["reasons"]]
    assert not {"unasked_drops", "background_failed"} & set(checks)


def test_iperf3_has_the_rate_that_was_asked_for(folder: Path) -> None:
    assert 2.5e6 < float(flows(folder)["bulk"]["rate_bps"]) < 4.5e6
    assert flows(folder)["bulk"]["retransmits"] != ""
    back = flows(folder)["back"]
    assert (back["from"], back["to"]) == ("w", "c")
    assert 1e6 < float(back["rate_bps"]) < 2.2e6


def test_beginnings_and_ends_are_events(folder: Path) -> None:
    found = {(row["kind"], row["subject"]): row for row in events(folder) if row["kind"].startswith("background")}
    assert {kind for kind, _ in found} == {"background", "background_end"}
    assert {subject for _, subject in found} == {"even", "pings", "segments", "flood", "bulk", "back"}
    assert float(found["background_end", "flood"]["t_planned"]) == 3.0
    for row in found.values():
        assert 0 <= float(row["t_actual"]) - float(row["t_planned"]) < 2


def test_what_the_generators_cost_is_measured_with_the_hosts(folder: Path) -> None:
    with (folder / "nodes.csv").open(newline="", encoding="utf-8") as file:
        roles = {(row["node"], row["role"]) for row in csv.DictReader(file)}
    assert {("x", "background flood"), ("w", "background counter"), ("r", "background bulk")} <= roles


def test_the_twin_sends_the_same_packets(folder: Path, twin: Path) -> None:
    live, model = flows(folder), flows(twin)
    assert list(live) == list(model)
    assert live["flood"]["planned_packets"] == model["flood"]["planned_packets"]
    for name in ("even", "segments", "flood", "pings:c>w"):
        assert abs(int(live[name]["sent_bytes"]) / int(model[name]["sent_bytes"]) - 1) < 0.1
    assert abs(float(live["flood"]["loss"]) - float(model["flood"]["loss"])) < 0.15


FAILING = EXPERIMENT.partition("background:")[0] + """
background:
  - {name: bulk, kind: iperf3, from: c, to: x, start: 3s, rate: 1Mbit}
  - {name: fine, kind: packets, from: c, to: x, frequency: 50/s}
timeline:
  - {at: 1s, do: cut, link: x}
"""


def test_a_flow_that_fails_is_an_event_and_a_reason_and_the_run_goes_on(tmp_path: Path) -> None:
    folder = run(tmp_path, FAILING.replace("duration: 6s", "duration: 5s"))
    rows = flows(folder)
    assert rows["bulk"]["status"] == "failed" and rows["bulk"]["error"]
    assert rows["fine"]["status"] == "ok"
    assert float(rows["fine"]["loss"]) > 0.5
    assert [row["subject"] for row in events(folder) if row["kind"] == "background_failed"] == ["bulk"]
    reasons = {reason["check"]: reason["what"] for reason in record(folder)["verdict"]["reasons"]}
    assert "bulk" in reasons["background_failed"]
    assert record(folder)["verdict"]["level"] == "invalid"


def test_an_ordinary_user_has_it_too(open_folder: Path) -> None:
    short = EXPERIMENT.replace("duration: 6s", "duration: 4500ms")
    if os.getuid() != 0:
        pytest.skip("the other tests are run by an ordinary user already")
    done = cli("run", str(write(open_folder, short)), "--no-figures", "-q", "--out", str(open_folder / "runs"),
               cwd=open_folder, user=ORDINARY_USER)  # fmt: skip
    assert done.stdout.strip(), done.stderr
    folder = Path(done.stdout.splitlines()[-1])
    assert {name: row["error"] for name, row in flows(folder).items() if row["error"]} == {}


def test_a_machine_without_iperf3_is_told_of_before_anything_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("testbed.substrate.programs.find", lambda name: None)
    from testbed.conduct import Quiet
    from testbed.errors import MachineLacks
    from testbed.experiment.load import load
    from testbed.run import perform
    from testbed.substrate import probe
    from testbed.substrate.find import named

    probe._features.cache_clear()
    try:
        with pytest.raises(MachineLacks, match="iperf3 for the background traffic"):
            perform(load(write(tmp_path, EXPERIMENT)), named("netns"), tmp_path / "runs", Quiet())
    finally:
        probe._features.cache_clear()
    assert not (tmp_path / "runs").exists()
