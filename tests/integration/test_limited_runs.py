"""Runs on hosts with limits: modelled and real work take as long as the limits say, and what was full is told."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from command import HELLO, cli, record, write

pytestmark = [pytest.mark.alone, pytest.mark.feature("netns")]
limit_cpu = pytest.mark.feature("limit-cpu")
limit_memory = pytest.mark.feature("limit-memory")

LIMITED = HELLO.replace(
    "topology: topologies/two-hosts.yaml",
    "topology: {nodes: {h1: {%s}, h2: {%s}}, links: [{ends: [h1, h2], delay: 1ms}]}",
)


def rows(folder: Path, table: str) -> list[dict[str, str]]:
    with (folder / f"{table}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def run(folder: Path, text: str, *words: str) -> Path:
    done = cli("run", str(write(folder, text)), "--out", str(folder / "runs"), "--no-figures", *words, cwd=folder)
    assert done.stdout.strip(), done.stderr
    return Path(done.stdout.splitlines()[-1])


@limit_cpu
@pytest.mark.feature("relay")
def test_a_modelled_function_on_half_a_core_takes_twice_as_long_in_emulation_and_in_the_twin(tmp_path: Path) -> None:
    text = LIMITED.replace("square: {service: 2ms}", "square: {service: 30ms}").replace("rate: 20/s", "rate: 5/s")
    for number, words in enumerate(((), ("--substrate", "twin"))):
        folder = tmp_path / str(number)
        folder.mkdir()
        made = run(folder, text % ("", "cpu: 0.5"), *words)
        assert record(made)["state"] == "done", record(made)["error"]
        took = [float(row["exec_s"]) for row in rows(made, "invocations") if row["status"] == "ok"]
        assert took
        assert sorted(took)[len(took) // 2] == pytest.approx(0.060, rel=0.1)
        nodes = rows(made, "nodes")
        assert {row["throttled_s"] for row in nodes if row["node"] == "h1"} == {""}
        if not words:
            assert all(float(row["throttled_s"]) >= 0 for row in nodes if row["node"] == "h2")
            assert record(made)["features"]["limit-cpu"].startswith("h2 0.5 (v")


@limit_cpu
@pytest.mark.feature("relay")
def test_what_a_real_function_computes_on_half_a_core_takes_twice_as_long_in_both_worlds(tmp_path: Path) -> None:
    code = "def code(ctx, payload):\n    ctx.compute(0.05)\n    ctx.sleep(0.02)\n    return payload\n"
    text = LIMITED.replace("square: {service: 2ms}", "square: {code: square.py}").replace("rate: 20/s", "rate: 3/s")
    took = []
    for number, words in enumerate(((), ("--substrate", "twin"))):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "square.py").write_text(code)
        made = run(folder, text % ("", "cpu: 0.5"), *words)
        took.append(sorted(float(row["exec_s"]) for row in rows(made, "invocations") if row["status"] == "ok"))
    emulated, told = took
    assert told == pytest.approx([0.120] * len(told), rel=0.01)
    assert min(emulated) > 0.100  # and more on a busy machine, or as the agent wants its part


@limit_cpu
@pytest.mark.feature("relay")
def test_a_client_that_is_held_back_makes_the_run_suspect(tmp_path: Path) -> None:
    made = run(tmp_path, LIMITED.replace("rate: 20/s", "rate: 100/s") % ("cpu: 0.1", ""))
    verdict = record(made)["verdict"]
    assert verdict["level"] in ("suspect", "invalid")
    assert "client_throttled" in {reason["check"] for reason in verdict["reasons"]}
    assert verdict["figures"]["client_throttled"] > 0.02


@limit_memory
@pytest.mark.feature("relay")
def test_a_run_says_which_host_was_out_of_memory(tmp_path: Path) -> None:
    events = "timeline:\n  - {at: 500ms, do: load, node: h2, memory: 200MB, cpu: 0, for: 1s}\n"
    made = run(tmp_path, LIMITED % ("", "memory: 100MB") + events)
    told = [row for row in rows(made, "events") if row["kind"] == "out_of_memory"]
    assert told, (record(made)["error"], rows(made, "events"))
    assert told[0]["subject"] == "h2"
    assert "since the host may hold 100MB" in told[0]["detail"]
