"""Real functions as the twin runs them: their code runs, their steps are added up, nobody waits."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from testbed.roles import reckon
from testbed.roles.api import Function
from testbed.roles.reckon import Reckoned, Reckoner
from testbed.roles.workers import Workers

MB = 1_000_000


@pytest.fixture
def reckoner() -> Iterator[Reckoner]:
    made = Reckoner()
    yield made
    made.close()


def function(tmp_path: Path, code: str, name: str = "sample", **limits: float) -> Function:
    path = tmp_path / f"{name}.py"
    path.write_text(code)
    return Function.model_validate({"name": name, "code": str(path)} | limits)


def ran(
    reckoner: Reckoner,
    sample: Function,
    payload: str = "",
    *,
    number: int = 0,
    node: str = "w1",
    limit: float | None = None,
    storage: int | None = 10 * MB,
    read: float | None = None,
    write: float | None = None,
) -> Reckoned:
    return reckoner.run(sample, payload, 1, number, node, limit, storage, read, write)


STEPS = """
def code(ctx, payload):
    ctx.sleep(1000); ctx.compute(500.5); ctx.compute(0.25)
    ctx.write("a", 2_000_000); ctx.read("a")
    return payload.upper()
"""


def test_the_time_of_a_call_is_the_sum_of_its_steps_and_nobody_waits(tmp_path: Path, reckoner: Reckoner) -> None:
    begun = time.perf_counter()
    done = ran(reckoner, function(tmp_path, STEPS), "grüße", write=1e6, read=4e6)
    assert time.perf_counter() - begun < 60
    assert (done.result.output, done.result.error) == ("GRÜSSE", "")
    assert done.spent_s == done.result.exec_s == 1000 + 500.75 + 2 + 0.5
    assert done.steps == (("sleep", 1000), ("compute", 500.75), ("write", 2 * MB), ("read", 2 * MB))
    assert ran(reckoner, function(tmp_path, STEPS)).spent_s == 1500.75  # without rates, files take no time


def test_pure_code_takes_no_time(tmp_path: Path, reckoner: Reckoner) -> None:
    done = ran(reckoner, function(tmp_path, "def code(ctx, payload): return sum(range(100_000))"))
    assert (done.result.output, done.spent_s, done.result.init_s) == ("4999950000", 0.0, 0.0)


@pytest.mark.parametrize(("limit", "error"), [(1.0, ""), (0.999, "timeout"), (None, ""), (0.0, ""), (-1.0, "")])
def test_the_time_limit_counts_reckoned_time(
    tmp_path: Path, reckoner: Reckoner, limit: float | None, error: str
) -> None:
    code = "def code(ctx, payload):\n    ctx.sleep(0.5); ctx.sleep(0.5)\n    return 'done'"
    done = ran(reckoner, function(tmp_path, code), limit=limit)
    assert (done.result.error, done.result.output) == (error, "" if error else "done")
    assert done.spent_s == (0.999 if error else 1.0)


@pytest.mark.parametrize("body", [
    "ctx.sleep(5)\n    except Exception: return 'never'", "ctx.sleep(5)\n    except BaseException: return 'never'",
    "ctx.sleep(5)\n    except BaseException: raise KeyError('x')",
])
def test_nothing_comes_out_of_a_call_whose_time_is_up(tmp_path: Path, reckoner: Reckoner, body: str) -> None:
    done = ran(reckoner, function(tmp_path, f"def code(ctx, payload):\n    try: {body}"), limit=2.0)
    assert (done.result.output, done.result.error, done.spent_s) == ("", "timeout", 2.0)
    assert done.result.detail == "no result within 2 s"


SAME = [
    ("def code(ctx, payload): return [ctx.function, ctx.node, ctx.invocation, ctx.rng.random()]", ""),
    ("def code(ctx, payload): raise KeyError(payload)", "exception"),
    ("def code(ctx, payload): ctx.sleep(-1)", "exception"),
    ("def code(ctx, payload): ctx.compute(float('inf'))", "exception"),
    ("def code(ctx, payload): ctx.write('a', 11_000_000)", "storage"),
    ("def code(ctx, payload): ctx.write('a', 6_000_000); ctx.write('b', 6_000_000)", "storage"),
    ("def code(ctx, payload): ctx.write('a', 6_000_000); ctx.write('a', 6_000_000)", ""),
    ("def code(ctx, payload): ctx.write('a/b', 1)", "exception"),
    ("def code(ctx, payload): return ctx.read('a').decode()", "exception"),
    ("def code(ctx, payload):\n    ctx.write('a', b'ab'); ctx.write('z', 2)\n"
     "    return [ctx.read('a').decode(), list(ctx.read('z')), (ctx.folder / 'z').stat().st_size]", ""),
    ("def code(ctx, payload):\n    ctx.write('a', 1)\n    return [path.name for path in ctx.folder.iterdir()]", ""),
    ("def code(ctx, payload): return len(bytearray(500_000_000))", "memory"),
    ("import os\ndef code(ctx, payload): os._exit(3)", "crash"),
    ("import sys\ndef code(ctx, payload): sys.exit(4)", "crash"),
    ("import nonexistent_thing\ndef code(ctx, payload): pass", "exception"),
    ("while True: pass\ndef code(ctx, payload): pass", "timeout"),
    ("def code(ctx, payload): return list({'a', 'b', 'c', 'd', 'e'})", ""),
]


@pytest.mark.parametrize(("code", "error"), SAME)
def test_a_function_gives_the_same_in_both_worlds(
    tmp_path: Path, reckoner: Reckoner, monkeypatch: pytest.MonkeyPatch, code: str, error: str
) -> None:
    monkeypatch.setattr(reckon, "GUARD_S", 1.0)
    sample = function(tmp_path, code, time_limit_s=1.0 if error == "timeout" else 20.0)

    async def lived() -> list[tuple[str, str]]:
        workers = Workers(tmp_path, "w1", 1)
        try:
            if error == "timeout" or "nonexistent" in code:  # its file cannot be loaded: there is no container
                results = [await workers.run(sample, "p") for _ in range(2)]
            else:
                container = await workers.container(sample, 10 * MB)
                results = [await container.run("p", 20.0) for _ in range(2)]
        finally:
            await workers.close()
        return [(result.output, result.error) for result in results]

    twice = [ran(reckoner, sample, "p", number=number, limit=20.0).result for number in range(2)]
    assert [(result.output, result.error) for result in twice] == asyncio.run(lived())
    assert twice[0].error == error


def test_each_call_has_its_own_node_quota_and_rates(tmp_path: Path, reckoner: Reckoner) -> None:
    sample = function(tmp_path, "def code(ctx, payload):\n    ctx.write('a', 4_000_000)\n    return ctx.node")
    done = [ran(reckoner, sample, node="a", write=1e6), ran(reckoner, sample, node="b", storage=MB),
            ran(reckoner, sample, node="c", storage=None, write=2e6)]
    assert [each.result.output for each in done] == ["a", "", "c"]
    assert [each.result.error for each in done] == ["", "storage", ""]
    assert [each.spent_s for each in done] == [4.0, 0.0, 2.0]


def test_a_call_that_never_ends_is_ended_by_a_clock_on_the_wall(
    tmp_path: Path, reckoner: Reckoner, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = function(tmp_path, "def code(ctx, payload):\n    while payload: pass\n    return 'well'")
    monkeypatch.setattr(reckon, "GUARD_S", 0.5)
    assert ran(reckoner, sample).result.output == "well"
    hung = ran(reckoner, sample, "x", limit=0.25)
    assert (hung.result.error, hung.spent_s) == ("timeout", 0.25)
    assert ran(reckoner, sample).result.output == "well"


def test_a_megabyte_both_ways(tmp_path: Path, reckoner: Reckoner) -> None:
    payload = "word " * 200_000
    sample = function(tmp_path, "def code(ctx, payload): return payload")
    assert ran(reckoner, sample, payload).result.output == payload


def test_one_worker_for_each_function_and_none_in_the_end(tmp_path: Path) -> None:
    code = "import os\ndef code(ctx, payload): return [os.getpid(), os.getppid()]"
    reckoner = Reckoner()
    one, other = function(tmp_path, code, "one"), function(tmp_path, code, "other")
    outputs = [ran(reckoner, each, node=node).result.output for each in (one, other) for node in ("a", "b")]
    assert outputs[0] == outputs[1] != outputs[2] == outputs[3]
    reckoner.close()
    deadline = time.monotonic() + 10
    for pid in {pid for output in outputs for pid in json.loads(output)}:
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline, f"process {pid} is still there"
            time.sleep(0.01)


def test_a_killed_template_is_replaced(tmp_path: Path, reckoner: Reckoner) -> None:
    sample = function(tmp_path, "import os\ndef code(ctx, payload): return os.getcwd() if payload else os.getppid()")
    folder = Path(ran(reckoner, sample, "x").result.output)
    os.kill(int(ran(reckoner, sample).result.output), signal.SIGKILL)
    deadline = time.monotonic() + 10
    while (done := ran(reckoner, sample)).result.error or folder.parent.exists():  # its worker may outlive it a moment
        assert done.result.error in ("crash", "") and time.monotonic() < deadline, done
    assert done.result.output.isdecimal()


def test_the_log_keeps_what_the_function_says(tmp_path: Path) -> None:
    reckoner = Reckoner(tmp_path)
    try:
        ran(reckoner, function(tmp_path, "def code(ctx, payload): ctx.log('seen', payload)"), "this", number=7)
    finally:
        reckoner.close()
    assert (tmp_path / "sample.log").read_text() == "[7] seen this\n"


def test_a_twin_that_is_killed_leaves_neither_processes_nor_folders(tmp_path: Path) -> None:
    sample = function(tmp_path, "import os\ndef code(ctx, payload): return [os.getpid(), os.getcwd()]")
    twin = ("import sys, time; from testbed.roles.api import Function; from testbed.roles.reckon import Reckoner\n"
            "sample = Function(name='sample', code=sys.argv[1]); reckoner = Reckoner()\n"
            "print(reckoner.run(sample, '', 1, 0, 'w1', None, None, None, None).result.output, flush=True)\n"
            "time.sleep(600)")
    with subprocess.Popen([sys.executable, "-c", twin, str(sample.code)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid, folder = json.loads(process.stdout.readline())
        process.kill()
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) or Path(folder).parent.exists():
        assert time.monotonic() < deadline, f"process {pid} or {folder} is still there"
        time.sleep(0.01)
