"""A host's calendar that is wrong for a while: what its roles read, beside the times of the datasets."""

from __future__ import annotations

import csv
import shutil
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import echo_command
import pytest
from command import environment, record, write
from in_arena import passes
from machine_yard import Yard, in_yard
from server_lab import lab

from testbed import linux

EXPERIMENT = """
name: skewed
topology: {nodes: {c: {}, w: {}}, links: [{ends: [c, w]}]}
system: echo
place: {server: [c, w], caller: c}
functions: {f: {service: 1ms}}
workload: {duration: 9500ms, timeout: 1s, traffic: [{arrivals: {model: deterministic, rate: 40/s}}]}
timeline:
  - {at: 1s, do: skew, node: w, by: 1h}
  - {at: 1500ms, do: restart, node: w}
  - {at: 5s, do: skew, node: w, by: -30s, for: 1s}
  - {at: 7s, do: skew, node: w, by: 100s, drift: 999999ppm}
"""
STEPS = (("", 0.0, 0.0, 0.0), ("skew", 1.0, 3600.0, 0.0), ("skew", 5.0, -30.0, 0.0), ("sync", 6.0, 0.0, 0.0),
         ("skew", 7.0, 100.0, 0.999999))  # fmt: skip
Call = tuple[str, float, float]  # whom, when, and what the calendar there had over the datasets' clock
NEAR_S = 1.0  # between one look at two clocks and another, on a busy machine
needs_sshd = pytest.mark.skipif(
    shutil.which("sshd", path="/usr/sbin:/sbin") is None, reason="needs the OpenSSH server (Debian: openssh-server)"
)


def argv(folder: Path, substrate: str, *words: str) -> list[str]:
    """``testbed run`` of the experiment, with the echo system."""
    return [sys.executable, echo_command.__file__, "run", str(write(folder, EXPERIMENT)), "--substrate", substrate,
            "--quiet", "--no-figures", "--out", str(folder / "runs"), *words]  # fmt: skip


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def follows_its_timeline(out: Path, said: str) -> None:
    """Assert that w's calendar was what the timeline of the only run says, and c's right, by the datasets' clock.

    The verdict is no matter: a busy machine makes a run invalid, and no calendar wrong.
    """
    folders = [path.parent for path in out.glob("runs/*/run.json")]
    assert [record(folder)["state"] for folder in folders] == ["done"], said
    folder = folders[0]
    events = {(row["kind"], float(row["t_planned"])): float(row["t_actual"])
              for row in rows(folder / "events.csv") if row["t_planned"]}  # fmt: skip
    assert list(events) == [("skew", 1.0), ("restart", 1.5), ("skew", 5.0), ("sync", 6.0), ("skew", 7.0)]
    calls = [(row["node"], float(row["t"]), float(row["wall"]) - float(row["t"])) for row in rows(folder / "calls.csv")]
    right = statistics.median(less for node, _, less in calls if node == "c")
    assert max(abs(less - right) for node, _, less in calls if node == "c") < NEAR_S
    for step, number in read(calls, right, events).items():
        assert number > 0, f"nobody read w's calendar in step {step} of {STEPS}"


def read(calls: list[Call], right: float, events: Mapping[tuple[str, float], float]) -> dict[int, int]:
    """How often w's calendar was read in each step, each time rightly."""
    begun = [events.get((kind, planned), planned) for kind, planned, _, _ in STEPS]
    counts = dict.fromkeys(range(len(STEPS)), 0)
    for _, t, less in (each for each in calls if each[0] == "w"):
        if any(planned - NEAR_S / 5 <= t <= actual for (_, planned, _, _), actual in zip(STEPS, begun, strict=True)):
            continue  # while it changes
        step = max(number for number, at in enumerate(begun) if at <= t)
        _, _, by, drift = STEPS[step]
        assert abs(less - right - by - drift * (t - begun[step])) < NEAR_S, (step, t, less - right)
        counts[step] += 1
    return counts


@pytest.mark.substrates("netns")
@pytest.mark.ability("runs", "a host's calendar is wrong for its roles alone, and right again")
def test_roles_read_a_calendar_that_is_wrong_and_datasets_stay_right(tmp_path: Path, substrate: str) -> None:
    done = subprocess.run(argv(tmp_path, substrate), env=environment(), capture_output=True, text=True, timeout=150)
    follows_its_timeline(tmp_path, done.stderr)


@needs_sshd
@pytest.mark.feature("netns")
def test_the_order_finds_its_way_by_ssh(tmp_path: Path) -> None:
    ssh = argv(tmp_path, "netns", "--set", "access=ssh")
    done = subprocess.run(ssh, env=environment(), capture_output=True, text=True, timeout=150)
    follows_its_timeline(tmp_path, done.stderr)


@pytest.mark.ability("runs", "a host's calendar is wrong for its roles alone, and right again", on="twin")
def test_the_twin_has_calendars_of_its_own(tmp_path: Path) -> None:
    done = subprocess.run(argv(tmp_path, "twin"), env=environment(), capture_output=True, text=True, timeout=150)
    follows_its_timeline(tmp_path, done.stderr)


@needs_sshd
@pytest.mark.feature("netns")
@pytest.mark.ability("runs", "a host's calendar is wrong for its roles alone, and right again", on="machines")
def test_real_machines_keep_their_own_calendars_and_roles_read_others() -> None:
    def body(yard: Yard) -> None:
        inventory = yard.inventory({"c": "m1", "w": "m2"})
        with linux.entered(yard.network.host("d").net):
            words = argv(yard.out, f"machines:{inventory}")
            done = subprocess.run(words, env={**environment(), "HOME": str(yard.out)}, capture_output=True, text=True,
                                  timeout=200)  # fmt: skip
        follows_its_timeline(yard.out, done.stderr)

    in_yard(body, skews={"m1": 1000.0, "m2": 77.0})


@needs_sshd
@pytest.mark.feature("netns")
@pytest.mark.ability("runs", "a host's calendar is wrong for its roles alone, and right again", on="servers")
def test_emulation_servers_put_calendars_wrong_in_their_parts() -> None:
    def work() -> None:
        with lab() as made:
            words = argv(made.place, f"machines:{made.inventory({'m1': ['c'], 'm2': ['w']})}")
            process = made.driver.start(words, made.place / "run", env=environment())
            assert process.wait(200) is not None
            follows_its_timeline(made.place, (process.folder / "stderr").read_text())

    passes(work)
