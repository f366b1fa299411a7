"""The service's checks in emulation: namespaces, real images over shaped links, real code; compared with the twin.

Stages are a tenth of the reference platform's: an image has 10 MB. What does not depend on time must always agree;
dates must agree within 5 % or 50 ms in a run whose verdict is ``valid``. A noisy machine gets three attempts.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from testbed.places import home

pytestmark = [pytest.mark.feature("netns"), pytest.mark.feature("relay")]

ATTEMPTS = 3
PLATFORM = """
topology:
  name: ideal
  nodes: {r: {}, c: {}, h: {kind: router}, n1: {}, n2: {}}
  links:
    - {name: r-h, ends: [r, h], rate: 100Mbit}
    - [c, h]
    - [h, n1]
    - [h, n2]
system: serverless_compute
place: {control: r, gateway: h, worker: [n1, n2], client: c}
"""
DISK = "disk_read: 100MB/s, disk_write: 100MB/s"
STAGES = f"""
name: stages
functions:
  f: {{service: 500ms, image: one}}
  g: {{service: 500ms, image: one}}
  slow: {{service: 30s, time_limit: 1s, image: one}}
  a: {{service: 500ms}}
  b: {{service: 500ms}}
  work: {{code: work.py, image: one, storage: 50MB}}
settings:
  serverless_compute:
    head: {{cold_start: 500ms, idle_timeout: 4s, {DISK}}}
    node: {{slots: 2, {DISK}}}
"""
STAGES_CALLS = [
    (0.0, "f"), (0.0, "f"), (3.5, "f"), (4.5, "g"), (5.5, "slow"), (6.0, "a"), (6.4, "b"), (9.0, "f"),
    (9.8, "work", 7), (11.2, "work", 8), (12.0, "work", 9),
]  # fmt: skip
ROOM = f"""
name: room
functions:
  a: {{service: 200ms, storage: 1MB}}
  b: {{service: 200ms, storage: 1MB}}
  c: {{service: 200ms, storage: 1MB}}
  big: {{service: 200ms, storage: 50MB}}
settings:
  serverless_compute:
    head: {{cold_start: 300ms, idle_timeout: 0, storage: 15MB, processing: 100ms, {DISK}}}
    node: {{slots: 2, disk: 25MB, {DISK}}}
    node@n2: {{slots: 1, disk: 5MB}}
"""
ROOM_CALLS = [
    (0.0, "a"), (0.3, "b"), (3.0, "b"), (5.0, "c"), (7.0, "a"), (9.0, "c"), (10.0, "c"), (10.0, "c"), (10.0, "c"),
    (10.5, "big"),
]  # fmt: skip
FIRST_OF_TWO = "a#4"  # of two downloads: TCP gives it more than a fair share at first; the second ends as it should
WORK = '''
def code(ctx, payload):
    if len(payload) == 7:
        ctx.sleep(0.3)
        raise FileNotFoundError("nothing there")
    ctx.write("first", 30_000_000)
    if len(payload) == 8:
        ctx.write("second", 30_000_000)
    return "written"
'''
MOMENTS = ("t_schedulable", "t_dispatch", "t_start", "t_end")
Rows = list[dict[str, str]]


def written(folder: Path, text: str, calls: list[tuple[float | str | int, ...]]) -> Path:
    lines = [",".join(map(str, (*each, "")[:3])) for each in calls]
    (folder / "calls.csv").write_text("\n".join(["t_offset_s,function,payload_bytes", *lines]) + "\n")
    (folder / "work.py").write_text(WORK)
    path = folder / "checks.yaml"
    workload = "workload: {duration: 14s, timeout: 20s, traffic: [{arrivals: {model: trace, file: calls.csv}}]}\n"
    path.write_text(text + PLATFORM + workload)
    return path


def run(path: Path, substrate: str, out: str) -> Path:
    """Run the experiment as a user does; the run's folder."""
    words = ("run", str(path), "--substrate", substrate, "--out", str(path.parent / out), "--no-figures", "-q")
    env = {**os.environ, "PYTHONPATH": str(home())}
    done = subprocess.run(
        [sys.executable, "-m", "testbed", *words], cwd=path.parent, env=env, capture_output=True, text=True, timeout=150
    )
    assert done.stdout.strip(), done.stderr
    folder = Path(done.stdout.splitlines()[-1])
    told = json.loads((folder / "run.json").read_text())
    assert told["state"] == "done", told["error"]
    return folder


def rows(folder: Path, table: str) -> Rows:
    with (folder / f"{table}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def what(found: Rows) -> list[tuple[str, ...]]:
    """Of each invocation what does not depend on time, in order of its number."""
    names = ("registration", "node", "state", "cause", "start_kind")
    return [tuple(row[name] for name in names) for row in sorted(found, key=lambda row: int(row["number"]))]


def dates(row: dict[str, str]) -> dict[str, float]:
    """Seconds from the submission to each moment that an invocation reached."""
    return {name: float(row[name]) - float(row["t_submit"]) for name in MOMENTS if row[name]}


def late(emulated: Rows, twin: Rows) -> list[str]:
    """The dates that disagree."""
    found = []
    ordered = (sorted(each, key=lambda row: int(row["number"])) for each in (emulated, twin))
    for real, model in zip(*ordered, strict=True):
        for name, expected in dates(model).items():
            measured = dates(real)[name]
            tolerance, unfair = max(0.05 * expected, 0.05), real["registration"].startswith(FIRST_OF_TWO)
            if measured > expected + tolerance or (measured < expected - tolerance and not unfair):
                found.append(f"call {real['number']}: {name} {measured:.3f} s instead of {expected:.3f} s")
    return found


def agree(path: Path) -> tuple[Path, Path]:
    """The folders of a run in the twin and of one in emulation, in which the dates agree if a valid run can be had."""
    model = run(path, "twin", "twin")
    for attempt in range(ATTEMPTS):
        real = run(path, "netns", f"netns-{attempt}")
        assert what(rows(real, "sc_invocations")) == what(rows(model, "sc_invocations"))
        found = late(rows(real, "sc_invocations"), rows(model, "sc_invocations"))
        verdict = json.loads((real / "run.json").read_text())["verdict"]
        if not found:
            break
    if verdict["level"] == "valid":
        assert found == []
    return model, real


def moves(folder: Path) -> Counter[tuple[str, str, str]]:
    """How often each image was moved where."""
    return Counter((row["stage"], row["image"], row["node"]) for row in rows(folder, "sc_transfers"))


def carried(folder: Path, link: str, node: str) -> int:
    """Bytes that left one end of a link during the workload."""
    sizes = [int(row["size_bytes"]) for row in rows(folder, "links") if (row["link"], row["node"]) == (link, node)]
    return max(sizes) - min(sizes)


def test_cold_hot_shared_limited_and_failing_calls_are_as_in_the_twin(tmp_path: Path) -> None:
    model, real = agree(written(tmp_path, STAGES, STAGES_CALLS))
    assert moves(real) == moves(model)
    for link, node, images in (("r-h", "r", 3), ("h-n1", "h", 3), ("h-n2", "h", 0)):
        assert images * 10_000_000 < carried(real, link, node) < images * 10_600_000 + 100_000
        assert carried(real, link, node) == pytest.approx(carried(model, link, node), rel=0.06, abs=50_000)
    assert {key: count for key, count in moves(real).items() if key[0] == "fetch"} == {
        ("fetch", "one", "h"): 1, ("fetch", "a", "h"): 1, ("fetch", "b", "h"): 1,
    }  # fmt: skip
    kinds = [row[4] for row in what(rows(real, "sc_invocations"))]
    assert kinds == ["cold"] * 2 + ["hot"] + ["warm_image"] * 2 + ["cold"] * 2 + ["warm_image"] * 2 + ["hot"] * 2
    causes = [row[3] for row in what(rows(real, "sc_invocations"))]
    assert [each for each in causes if each] == ["invocation_timeout", "function_error", "ephemeral_storage_full"]
    outputs = [(row["function"], row["status"]) for row in rows(real, "invocations") if row["function"] == "work"]
    assert outputs == [("work", "error"), ("work", "error"), ("work", "ok")]


def test_refusals_evictions_and_turns_are_as_in_the_twin(tmp_path: Path) -> None:
    model, real = agree(written(tmp_path, ROOM, ROOM_CALLS))
    assert moves(real) == moves(model)
    copied = [row["image"] for row in rows(real, "sc_transfers") if row["stage"] == "copy"]
    assert copied == ["a", "b", "c", "a"]  # the least recently used image made room each time
    answers = [(row["function"], row["status"], row["error"].partition(":")[0]) for row in rows(real, "invocations")]
    assert answers[1] == ("b", "rejected", "cannot_admit_now")
    assert answers[-1] == ("big", "error", "not_allowed")
    assert [status for _, status, _ in answers].count("ok") == len(ROOM_CALLS) - 2
