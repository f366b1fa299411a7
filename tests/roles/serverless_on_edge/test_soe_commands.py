"""``testbed soe``: tables, utilisation, calls, traces and outputs, as a user types them."""

from __future__ import annotations

import asyncio
import csv
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from soe_live import loopback

from roles.serverless_on_edge import outputs, traces
from testbed.cli import main
from testbed.errors import InputError
from testbed.roles.api import Function
from testbed.workload.arrivals.trace import read_trace

FUNCTIONS = {"f": Function(name="f", service_s=0.02)}


def soe(*words: str) -> int:
    return main(["soe", *words])


def typed(folder: Path, people: Any) -> Any:
    """What people get who type while a router and a computer live at 127.71.10.2 and .3."""

    async def story() -> Any:
        async with loopback(folder, "127.71.10", FUNCTIONS, router="h1", computer="h2") as net:
            await net.start("router", "h1")
            await net.start("computer", "h2", controller_endpoint="none")
            return await asyncio.to_thread(people)

    return asyncio.run(story())


def test_tables_are_changed_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def people() -> list[int]:
        router = "127.71.10.2"
        return [soe(*words) for words in (
            ("change", router, "f", "h2:10000", "--weight", "0.5", "--final"),
            ("change", router, "f", "h2:10000", "--weight", "0"),
            ("change", f"{router}:6474", "f", "h2:1", "--weight", "inf"),
            ("tables", router), ("remove", router, "f", "h2:10000"), ("flush", router), ("tables", router),
        )]  # fmt: skip

    assert typed(tmp_path, people) == [0, 1, 1, 0, 0, 0, 0]
    assert capsys.readouterr().out == (
        "OK\nError: the weight of 'h2:10000' is 0; it must be above zero and finite\n"
        "Error: the weight of 'h2:1' is inf; it must be above zero and finite\n"
        "Table#0\nf [0.5] h2:10000 (F)\nTable#1\nf [0.5] h2:10000 (F)\nOK\nOK\nTable#0\nTable#1\n"
    )


def test_functions_are_called_and_a_computer_is_watched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def people() -> list[int]:
        soe("change", "127.71.10.2", "f", "127.71.10.3:10000", "--final")
        return [soe(*words) for words in (
            ("call", "127.71.10.2", "f", "--count", "2"), ("call", "127.71.10.2", "f", "--input", "hello", "--show"),
            ("call", "127.71.10.2", "g"), ("call", "127.71.10.3:10000", "f", "--dry"),
            ("utilization", "127.71.10.3", "--count", "1"))]  # fmt: skip

    assert typed(tmp_path, people) == [0, 0, 1, 0, 0]
    said = capsys.readouterr()
    lines = [line.split() for line in said.out.splitlines()[1:]]
    assert [line[2:] for line in lines[:2]] == [["0", "127.71.10.3:10000", "f", "2"]] * 2
    assert lines[2] == ["hello"]
    assert lines[3][1] == "0.020000" and lines[3][3:] == ["127.71.10.3:10000", "f", "1"]
    assert lines[4][1] == "cpu" and 0 <= float(lines[4][2]) <= 1
    assert "No destinations found for the entry 'g'" in said.err


def test_agents_that_do_not_answer_and_wrong_words_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert soe("tables", "127.71.10.9") == 1
    assert "No answer: unreachable" in capsys.readouterr().err
    assert soe("convert", "/nowhere/trace") == 2
    assert soe("convert", "/nowhere/trace", "--client", "h1") == 2
    assert soe("trace", "--rate", "0") == 2
    assert soe("call", "127.71.10.9", "f", "--authority", "/nowhere.pem") == 2
    assert soe("nothing") == 2


def test_a_trace_is_poisson_and_equal_for_equal_seeds() -> None:
    load = traces.Load(20.0, 10, 100.0, 5.0, (100, 500))
    calls = traces.generated(load, ("f", "g"), ("h1:1", "h2:2"), 7)
    assert calls == sorted(calls) == traces.generated(load, ("f", "g"), ("h1:1", "h2:2"), 7)
    assert calls != traces.generated(load, ("f", "g"), ("h1:1", "h2:2"), 8)
    assert len(calls) == pytest.approx(20 * 10 * 100, rel=0.05) and calls[0].t >= 5 and calls[-1].t < 105
    assert {call.function for call in calls} == {"f", "g"} and {call.endpoint for call in calls} == {"h1:1", "h2:2"}
    assert min(call.size for call in calls) == 100 and max(call.size for call in calls) == 500


def test_a_trace_of_the_original_becomes_one_that_experiments_replay(tmp_path: Path) -> None:
    made, replayed = tmp_path / "made", tmp_path / "trace.csv"
    assert soe("trace", "--functions", "f,g", "--endpoints", "10.0.0.2:6473,10.0.0.3:6473", "--seed", "3",
               "--starting-time", "100", "-o", str(made)) == 0  # fmt: skip
    assert soe("convert", str(made), "--client", "10.0.0.2:6473=c1", "-o", str(replayed)) == 0
    calls, rows = traces.read(made), read_trace(replayed, ("c1",), ("f", "g"))
    assert len(calls) == len(rows) > 10 and rows[0].t == 0
    assert Counter(row.client for row in rows)["c1"] == sum(call.endpoint == "10.0.0.2:6473" for call in calls)
    assert [row.payload_bytes for row in rows] == [call.size for call in calls]


@pytest.mark.parametrize("line", ["1 f h1", "x f h1 10", "-1 f h1 10", "nan f h1 10", "1 f h1 -3", "1 f h1 1.5"])
def test_lines_that_are_no_call_are_all_told(tmp_path: Path, line: str) -> None:
    path = tmp_path / "trace"
    path.write_text(f"0.5 f h1 10\n\n{line}\n{line}\n")
    with pytest.raises(InputError) as refused:
        traces.read(path)
    assert [problem.line for problem in refused.value.problems] == [3, 4]


def test_a_run_has_the_originals_output_files(tmp_path: Path) -> None:
    measured = ("t_done", "status", "service_latency_s", "response_time_s", "node", "hops", "load")
    with (tmp_path / "invocations.csv").open("w", newline="") as file:
        csv.writer(file).writerows((
            ("invocation_id", "client", "function", *measured),
            ("0", "c1", "f", "0.5", "ok", "0.1", "0.1", "w1", "2", "0.25"),
            ("1", "c1", "f", "", "timeout", "", "", "", "", ""),
            ("2", "c2", "g", "0.7", "ok", "", "0.2", "", "", ""),
            ("3", "c2", "chain", "0.9", "ok", "0.3", "0.3", "w1", "6", "0"),
        ))  # fmt: skip
    (tmp_path / "soe_chains.csv").write_text("invocation_id,functions\n3,f-g-f\n")
    (tmp_path / "soe_utilization.csv").write_text("t,node,processor,load\n1.0,w1,cpu,0.5\n")
    written = outputs.write(tmp_path, tmp_path / "original")
    assert {path.name: path.read_text() for path in written} == {
        "edgeclient-c1.dat": "0.5 0.1 25 w1 f 2\n",
        "edgeclient-c2.dat": "0.7 0.2 0 - g 0\n0.9 0.3 0 w1 f-g-f 6\n",
        "edgecomputer-w1.dat": "1.0 cpu 0.5\n",
        "loss.dat": "c1 0.5\nc2 0\n",
    }
    assert soe("outputs", str(tmp_path / "nowhere")) == 2
