"""Real functions in real worker processes: what they may do, and what becomes of those that misbehave."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from testbed.roles.api import Function, FunctionResult
from testbed.roles.workers import Workers

T = TypeVar("T")
Body = Callable[[Workers], Awaitable[T]]


def live(tmp_path: Path, body: Body[T], seed: int = 1) -> T:
    """Run ``body`` with workers that are closed whatever happens."""
    async def main() -> T:
        workers = Workers(tmp_path, "w1", seed)
        try:
            return await body(workers)
        finally:
            await workers.close()

    return asyncio.run(main())


def function(tmp_path: Path, code: str, **limits: float) -> Function:
    path = tmp_path / "sample.py"
    path.write_text(code)
    return Function.model_validate({"name": "sample", "code": str(path), "time_limit_s": 20.0} | limits)


def once(tmp_path: Path, code: str, payload: str = "", **limits: float) -> FunctionResult:
    sample = function(tmp_path, code, **limits)
    return live(tmp_path, lambda workers: workers.run(sample, payload))


def test_gives_back_a_text_as_it_is(tmp_path: Path) -> None:
    result = once(tmp_path, "def code(ctx, payload): return payload.upper() + ' ✓'", "grüße")
    assert (result.output, result.error) == ("GRÜSSE ✓", "")


@pytest.mark.parametrize("name", ["/guest/copy", "../x", "a b"])
def test_a_function_may_have_any_name_and_its_log_stays_in_the_folder(name: str, tmp_path: Path) -> None:
    sample = function(tmp_path, "def code(ctx, payload): print('said', flush=True); return payload").model_copy(
        update={"name": name}
    )
    (tmp_path / "agent").mkdir()
    assert live(tmp_path / "agent", lambda workers: workers.run(sample, "x")).output == "x"
    (log,) = (tmp_path / "agent").rglob("*.log")
    assert log.read_text() == "said\n"


@pytest.mark.parametrize(("returned", "output"), [
    ("{'a': [1, 2.5, None]}", '{"a": [1, 2.5, null]}'), ("None", "null"), ("3", "3"), ("True", "true"),
])
def test_gives_back_anything_else_as_json(tmp_path: Path, returned: str, output: str) -> None:
    assert once(tmp_path, f"def code(ctx, payload): return {returned}").output == output


@pytest.mark.parametrize("returned", ["{1, 2}", "b'raw'", "object()", "'\\ud800'"])
def test_refuses_a_result_that_is_neither_text_nor_json(tmp_path: Path, returned: str) -> None:
    result = once(tmp_path, f"def code(ctx, payload): return {returned}")
    assert result.error == "exception" and result.output == "" and result.detail


def test_carries_payloads_of_a_megabyte_both_ways(tmp_path: Path) -> None:
    payload = "word " * 200_000
    assert once(tmp_path, "def code(ctx, payload): return payload", payload).output == payload


def test_the_first_call_starts_a_worker_and_the_second_finds_it_warm(tmp_path: Path) -> None:
    sample = function(tmp_path, "import os\ndef code(ctx, payload): return str(os.getpid())")

    async def body(workers: Workers) -> list[FunctionResult]:
        return [await workers.run(sample, ""), await workers.run(sample, "")]

    first, second = live(tmp_path, body)
    assert first.init_s > 0 and second.init_s == 0
    assert first.output == second.output


def test_the_start_of_a_worker_includes_what_the_file_does_when_loaded(tmp_path: Path) -> None:
    result = once(tmp_path, "import time\ntime.sleep(0.2)\ndef code(ctx, payload): time.sleep(0.1)")
    assert result.init_s >= 0.2
    assert result.exec_s >= 0.1


def test_names_kind_text_and_line_of_an_exception_and_keeps_the_worker(tmp_path: Path) -> None:
    sample = function(tmp_path, "import os\ndef code(ctx, payload):\n    if payload:\n        raise KeyError(payload)\n"
                                "    return str(os.getpid())")

    async def body(workers: Workers) -> list[FunctionResult]:
        return [await workers.run(sample, payload) for payload in ("", "nothing", "")]

    before, failed, after = live(tmp_path, body)
    assert (failed.error, failed.detail) == ("exception", "KeyError: 'nothing' (sample.py, line 4)")
    assert before.output == after.output and after.init_s == 0
    assert "Traceback" in (tmp_path / "functions" / "sample.log").read_text()


@pytest.mark.parametrize(("code", "limits", "error", "detail"), [
    ("import os\ndef code(ctx, payload): os._exit(3)", {}, "crash", "status 3"),
    ("import sys\ndef code(ctx, payload): sys.exit(4)", {}, "crash", "status 4"),
    ("import os\ndef code(ctx, payload): os.kill(os.getpid(), 11)", {}, "crash", "SIGSEGV"),
    ("import os\ndef code(ctx, payload): os.kill(os.getpid(), 9)", {}, "crash", "SIGKILL"),
    ("def code(ctx, payload):\n    while True: pass", {"time_limit_s": 2}, "timeout", "within 2 s"),
    ("import signal\nsignal.signal(15, signal.SIG_IGN)\ndef code(ctx, payload): ctx.sleep(60)",
     {"time_limit_s": 2}, "timeout", "within 2 s"),
    ("def code(ctx, payload): return len(bytearray(200_000_000))", {"memory_bytes": 100_000_000}, "memory", "100 MB"),
    ("def code(ctx, payload):\n    hog = []\n    while True: hog.append(bytearray(1_000_000))",
     {"memory_bytes": 60_000_000}, "memory", "60 MB"),
    ("import os\ndef code(ctx, payload):\n    for n in range(3, 64):\n"
     "        try: os.write(n, b'\\0\\0\\0\\2zz')\n        except OSError: pass\n    ctx.sleep(60)",
     {}, "crash", "unreadable"),
])
def test_a_fault_is_told_and_the_next_call_gets_a_fresh_worker(
    tmp_path: Path, code: str, limits: dict[str, float], error: str, detail: str
) -> None:
    before = "def code(ctx, payload):\n    return 'well' if payload else fault(ctx, payload)\n"
    sample = function(tmp_path, code.replace("def code", "def fault") + "\n" + before, **limits)

    async def body(workers: Workers) -> list[FunctionResult]:
        return [await workers.run(sample, payload) for payload in ("x", "", "x", "x")]

    first, failed, after, warm = live(tmp_path, body)
    assert (first.output, failed.error, failed.output) == ("well", error, "")
    assert detail in failed.detail
    assert (after.output, after.error) == ("well", "") and after.init_s > 0
    assert (warm.output, warm.init_s) == ("well", 0)


@pytest.mark.parametrize(("code", "error", "detail"), [
    ("def code(ctx, payload) return 1", "exception", "SyntaxError"),
    ("import nonexistent_thing\ndef code(ctx, payload): pass", "exception", "nonexistent_thing' (sample.py, line 1)"),
    ("def other(ctx, payload): pass", "exception", "sample.py defines no function code(ctx, payload)"),
    ("hog = bytearray(500_000_000)\ndef code(ctx, payload): pass", "memory", "128 MB"),
    ("while True: pass", "timeout", "no worker that was ready within 2 s"),
    ("import os; os._exit(5)", "crash", "status 5"),
])
def test_a_file_that_cannot_be_loaded_is_told_at_each_call(tmp_path: Path, code: str, error: str, detail: str) -> None:
    sample = function(tmp_path, code, time_limit_s=2.0 if error == "timeout" else 20.0)

    async def body(workers: Workers) -> list[FunctionResult]:
        return [await workers.run(sample, ""), await workers.run(sample, "")]

    for result in live(tmp_path, body):
        assert result.error == error and detail in result.detail


def test_runs_as_many_calls_at_a_time_as_the_function_allows(tmp_path: Path) -> None:
    code = ("from time import monotonic\ndef code(ctx, payload):\n    t = monotonic()\n    ctx.sleep(0.5)\n"
            "    return [t, monotonic()]")
    sample = function(tmp_path, code, concurrency=2)

    async def body(workers: Workers) -> list[FunctionResult]:
        return list(await asyncio.gather(*(workers.run(sample, "") for _ in range(4))))

    spans = [tuple(map(float, result.output.strip("[]").split(","))) for result in live(tmp_path, body)]
    most = max(sum(begin <= t < end for begin, end in spans) for t, _ in spans)
    assert most == 2


def test_an_abandoned_call_frees_its_worker(tmp_path: Path) -> None:
    sample = function(tmp_path, "def code(ctx, payload):\n    if payload: ctx.sleep(60)\n    return 'free'")

    async def body(workers: Workers) -> FunctionResult:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await workers.run(sample, "long")
        return await workers.run(sample, "")

    assert live(tmp_path, body).output == "free"


def test_the_random_numbers_of_a_call_follow_from_the_seed(tmp_path: Path) -> None:
    code = "def code(ctx, payload): return [ctx.function, ctx.node, ctx.invocation, ctx.rng.random()]"
    sample = function(tmp_path, code)

    async def body(workers: Workers) -> list[str]:
        return [(await workers.run(sample, "")).output for _ in range(3)]

    first, again, other = live(tmp_path, body, 1), live(tmp_path, body, 1), live(tmp_path, body, 2)
    assert first == again and len(set(first)) == 3 and not set(first) & set(other)
    assert first[2].startswith('["sample", "w1", 2, ')


def test_the_log_keeps_what_the_function_says(tmp_path: Path) -> None:
    once(tmp_path, "def code(ctx, payload):\n    ctx.log('seen', payload)\n    print('plain', flush=True)", "this")
    assert (tmp_path / "functions" / "sample.log").read_text() == "[0] seen this\nplain\n"


def test_each_worker_has_a_scratch_folder_that_is_gone_in_the_end(tmp_path: Path) -> None:
    code = "import os\ndef code(ctx, payload):\n    open('x', 'w').close()\n    return os.getcwd()"
    result = once(tmp_path, code)
    assert Path(result.output).is_relative_to(tmp_path / "functions")
    assert not Path(result.output).exists()


def test_files_and_processes_are_limited(tmp_path: Path) -> None:
    code = ("import resource as r\ndef code(ctx, payload):\n"
            "    return [r.getrlimit(k)[0] for k in (r.RLIMIT_NOFILE, r.RLIMIT_CORE, r.RLIMIT_FSIZE, r.RLIMIT_NPROC)]")
    files, core, size, processes = map(int, once(tmp_path, code).output.strip("[]").split(","))
    assert 0 < files <= 256 and core == 0 and 0 < size <= 256_000_000 and 0 < processes <= 4096


def test_the_memory_limit_counts_what_is_used_and_not_what_is_reserved(tmp_path: Path) -> None:
    code = ("import mmap\ndef code(ctx, payload):\n    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS\n"
            "    return len(mmap.mmap(-1, 2**33, flags=flags, prot=mmap.PROT_READ))")
    assert once(tmp_path, code).output == str(2**33)


def test_a_function_may_import_what_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "helper_of_sample.py").write_text("WORD = 'helped'")
    code = "import helper_of_sample\ndef code(ctx, payload): return helper_of_sample.WORD"
    assert once(tmp_path, code).output == "helped"


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_nothing_is_left_running_after_the_end_not_even_what_a_function_started(tmp_path: Path) -> None:
    code = ("import os, subprocess\ndef code(ctx, payload):\n    child = subprocess.Popen(['sleep', '600'])\n"
            "    return [os.getpid(), os.getppid(), child.pid]")
    output = once(tmp_path, code).output
    assert all(gone(int(pid)) for pid in output.strip("[]").split(","))


def test_a_killed_template_is_replaced_and_its_workers_die_with_it(tmp_path: Path) -> None:
    sample = function(tmp_path, "import os\ndef code(ctx, payload): return [os.getpid(), os.getppid()]")

    async def body(workers: Workers) -> tuple[str, FunctionResult]:
        worker, template = (await workers.run(sample, "")).output.strip("[]").split(", ")
        os.kill(int(template), signal.SIGKILL)
        assert await asyncio.to_thread(gone, int(worker))
        return worker, await workers.run(sample, "")

    before, after = live(tmp_path, body)
    assert after.error == "" and before not in after.output and after.init_s > 0
