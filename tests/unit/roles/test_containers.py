"""Containers: workers that are kept for one function, with a private folder under a quota."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from testbed.roles.api import ContainerFailed, Function, FunctionResult
from testbed.roles.workers import LiveContainer, Workers

T = TypeVar("T")
Body = Callable[[LiveContainer], Awaitable[T]]
MB = 1_000_000
CAN_MOUNT = "from testbed.roles.worker_storage import _own_mounts; raise SystemExit(not _own_mounts())"


def function(tmp_path: Path, code: str, **limits: float) -> Function:
    path = tmp_path / "sample.py"
    path.write_text(code)
    return Function.model_validate({"name": "sample", "code": str(path), "time_limit_s": 20.0} | limits)


def live(tmp_path: Path, code: str, body: Body[T], *, quota: int = 10 * MB, mount: bool = True, **rates: float) -> T:
    """Run ``body`` with a container that is closed whatever happens."""
    async def main() -> T:
        workers = Workers(tmp_path, "w1", 1, mount=mount)
        try:
            container = await workers.container(function(tmp_path, code), quota, **rates)
            assert isinstance(container, LiveContainer)
            return await body(container)
        finally:
            await workers.close()

    return asyncio.run(main())


def runs(*payloads: str, limit: float | None = 20.0) -> Body[list[FunctionResult]]:
    async def body(container: LiveContainer) -> list[FunctionResult]:
        return [await container.run(payload, limit) for payload in payloads]

    return body


@pytest.fixture(params=["mounted", "counted"])
def mount(request: pytest.FixtureRequest) -> bool:
    """Both ways to keep a quota; the first where this machine lets a process mount."""
    if request.param == "mounted" and subprocess.run([sys.executable, "-c", CAN_MOUNT], check=False).returncode:
        pytest.skip("this process may not mount, not even in a user namespace of its own")
    return bool(request.param == "mounted")


def test_a_worker_that_is_kept_is_warm_in_each_run(tmp_path: Path) -> None:
    code = "calls = 0\ndef code(ctx, payload):\n    global calls; calls += 1\n    return [calls, ctx.invocation]"
    results = live(tmp_path, code, runs("", "", ""))
    assert [result.output for result in results] == ["[1, 0]", "[2, 1]", "[3, 2]"]
    assert all(result.exec_s > 0 for result in results)
    assert [result.init_s > 0 for result in results] == [True, False, False]  # it was started for the first


@pytest.mark.parametrize(("code", "said"), [
    ("def code(ctx, payload) return 1", "exception: SyntaxError"),
    ("import os; os._exit(5)", "crash: its worker ended by itself with status 5"),
    ("hog = bytearray(500_000_000)\ndef code(ctx, payload): pass", "memory: it needed more than its 128 MB of memory"),
])
def test_a_function_that_cannot_be_loaded_gets_no_container(tmp_path: Path, code: str, said: str) -> None:
    with pytest.raises(ContainerFailed, match=said):
        live(tmp_path, code, runs())
    assert list((tmp_path / "functions" / "scratch").glob("*")) == []


def test_a_modelled_function_gets_no_container(tmp_path: Path) -> None:
    with pytest.raises(ContainerFailed, match="'f' has no code"):
        asyncio.run(Workers(tmp_path).container(Function(name="f", service_s=1.0), MB))


LEAVES = """
import os
from pathlib import Path
def code(ctx, payload):
    before = sorted(path.name for path in ctx.folder.iterdir())
    ctx.write("a", 1000)
    Path("deep/er").mkdir(parents=True)
    Path("deep/er/b").write_text("left")
    Path("deep").chmod(0)
    os.chdir("/")
    if payload == "raise": raise KeyError("x")
    if payload == "sleep": ctx.sleep(60)
    return before
"""


def test_the_folder_is_empty_before_each_run_whatever_became_of_the_last(tmp_path: Path, mount: bool) -> None:
    async def body(container: LiveContainer) -> list[FunctionResult]:
        return [await container.run(payload, 1.0) for payload in ("", "raise", "", "sleep", "")]

    results = live(tmp_path, LEAVES, body, mount=mount)
    assert [result.error for result in results] == ["", "exception", "", "timeout", ""]
    assert {result.output for result in results} == {"[]", ""}
    assert list((tmp_path / "functions").glob("scratch")) == []


FILLS = """
def code(ctx, payload):
    kind, size = payload.split()
    size = int(size)
    if kind == "ctx": ctx.write("a", size)
    if kind == "bytes": ctx.write("a", bytes(size))
    if kind == "again": ctx.write("a", size); ctx.write("a", size)
    if kind == "two": ctx.write("a", size // 2); ctx.write("b", size - size // 2)
    if kind == "plain": open(ctx.folder / "a", "wb").write(bytes(size))
    if kind == "mixed":
        open("b", "wb").write(bytes(size // 2)); ctx.write("a", size - size // 2)
    return "fits"
"""


@pytest.mark.parametrize("kind", ["ctx", "bytes", "again", "two", "plain", "mixed"])
def test_a_run_may_use_its_quota_to_the_last_byte_and_no_more(tmp_path: Path, kind: str, mount: bool) -> None:
    quota = 3 * MB + 1
    full, over, after = live(
        tmp_path, FILLS, runs(f"{kind} {quota}", f"{kind} {quota + 1}", f"{kind} {quota}"), quota=quota, mount=mount
    )
    assert (full.output, full.error) == (after.output, after.error) == ("fits", "")
    assert (over.output, over.error) == ("", "storage")
    assert "3000001 bytes of private storage" in over.detail and after.init_s == 0


def test_a_plain_write_meets_a_full_disk_where_the_folder_is_a_file_system(tmp_path: Path, mount: bool) -> None:
    code = ("import errno\ndef code(ctx, payload):\n    try: open('a', 'wb').write(bytes(50_000_000))\n"
            "    except OSError as error:\n        open('a', 'wb').close()\n"
            "        return errno.errorcode[error.errno]\n    return 'written'")

    async def body(container: LiveContainer) -> tuple[bool, FunctionResult]:
        return container.mounted, await container.run("", 20.0)

    mounted, result = live(tmp_path, code, body, mount=mount)
    assert mounted is mount
    assert (result.output, result.error) == (("ENOSPC", "") if mount else ("", "storage"))


def test_a_function_can_see_that_a_file_does_not_fit_and_go_on(tmp_path: Path, mount: bool) -> None:
    code = ("import errno\ndef code(ctx, payload):\n    try: ctx.write('big', 20_000_000)\n"
            "    except OSError as error:\n"
            "        return [errno.errorcode[error.errno], [str(path) for path in ctx.folder.iterdir()]]")
    [result] = live(tmp_path, code, runs(""), mount=mount)
    assert (result.output, result.error) == ('["ENOSPC", []]', "")


def test_large_files_are_limited_by_the_quota_alone(tmp_path: Path) -> None:
    code = "def code(ctx, payload):\n    with open('a', 'wb') as file: file.truncate(300_000_000)\n    return 'fits'"
    [result] = live(tmp_path, code, runs(""), quota=400 * MB)
    assert (result.output, result.error) == ("fits", "")


@pytest.mark.parametrize("name", ["", "a/b", "..", "a\0b"])
def test_files_of_the_private_folder_lie_in_it(tmp_path: Path, name: str) -> None:
    [result] = live(tmp_path, "import json\ndef code(ctx, payload): ctx.write(json.loads(payload), 1)",
                    runs(json.dumps(name)))
    assert result.error == "exception" and "cannot be called" in result.detail


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    code = ("def code(ctx, payload):\n    ctx.write('a', payload.encode()); ctx.write('z', 3)\n"
            "    return [ctx.read('a').decode(), list(ctx.read('z'))]")
    missing = "def code(ctx, payload): ctx.read('nothing')"
    assert live(tmp_path, code, runs("text"))[0].output == '["text", [0, 0, 0]]'
    assert "FileNotFoundError" in live(tmp_path, missing, runs(""))[0].detail


def test_writing_and_reading_take_what_the_rates_give(tmp_path: Path) -> None:
    code = ("from time import monotonic\ndef code(ctx, payload):\n    t = [monotonic()]\n"
            "    ctx.write('a', 2_000_000); t.append(monotonic())\n    ctx.read('a'); t.append(monotonic())\n"
            "    return [t[1] - t[0], t[2] - t[1]]")
    [result] = live(tmp_path, code, runs(""), write_rate=4e6, read_rate=20e6)
    wrote, read = json.loads(result.output)
    assert wrote >= 0.5 and 0.1 <= read < wrote


def test_computing_uses_the_processor_and_sleeping_does_not(tmp_path: Path) -> None:
    code = ("from time import process_time\ndef code(ctx, payload):\n    t = process_time()\n"
            "    getattr(ctx, payload)(0.2)\n    return process_time() - t")
    computed, slept = live(tmp_path, code, runs("compute", "sleep"))
    assert float(computed.output) >= 0.2 and computed.exec_s >= 0.2
    assert float(slept.output) < 0.1 and slept.exec_s >= 0.2


@pytest.mark.parametrize(("fault", "error"), [
    ("while True: pass", "timeout"), ("import os; os._exit(3)", "crash"), ("bytearray(10**9)", "memory"),
])
def test_after_a_fault_the_next_run_starts_a_worker_which_init_tells(tmp_path: Path, fault: str, error: str) -> None:
    code = f"def code(ctx, payload):\n    if payload:\n        {fault}\n    return 'well'"
    first, failed, after, warm = live(tmp_path, code, runs("", "x", "", "", limit=2.0))
    assert (first.output, failed.error) == ("well", error)
    assert (after.output, after.error) == ("well", "") and after.init_s > 0
    assert (warm.output, warm.init_s) == ("well", 0)


@pytest.mark.parametrize("killed", ["getpid", "getppid"])
def test_a_worker_that_died_while_idle_is_replaced_also_with_the_template(
    tmp_path: Path, mount: bool, killed: str
) -> None:
    async def body(container: LiveContainer) -> FunctionResult:
        pid = int((await container.run("getpid", 20.0)).output)
        os.kill(int((await container.run(killed, 20.0)).output), signal.SIGKILL)
        deadline = time.monotonic() + 10
        while psutil.pid_exists(pid):
            assert time.monotonic() < deadline, f"process {pid} is still there"
            await asyncio.sleep(0.01)
        return await container.run("getpid", 20.0)

    result = live(tmp_path, "import os\ndef code(ctx, payload): return getattr(os, payload)()", body, mount=mount)
    assert result.error == "" and result.init_s > 0


def test_an_abandoned_run_leaves_a_container_that_works(tmp_path: Path) -> None:
    async def body(container: LiveContainer) -> FunctionResult:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await container.run("long", None)
        return await container.run("", 20.0)

    result = live(tmp_path, "def code(ctx, payload):\n    if payload: ctx.sleep(60)\n    return 'free'", body)
    assert result.output == "free" and result.init_s > 0


@pytest.mark.parametrize("limit", [None, 0.0, -1.0])
def test_no_limit_or_none_above_zero_is_no_limit(tmp_path: Path, limit: float | None) -> None:
    [result] = live(tmp_path, "def code(ctx, payload):\n    ctx.sleep(0.3)\n    return 'late'", runs("", limit=limit))
    assert result.output == "late"


def test_the_time_limit_covers_the_code_and_not_the_start(tmp_path: Path) -> None:
    code = "import time\ntime.sleep(0.6)\ndef code(ctx, payload):\n    if payload: ctx.sleep(60)\n    return 'well'"
    timeout, after = live(tmp_path, code, runs("x", "", limit=0.5))
    assert timeout.error == "timeout" and "within 0.5 s" in timeout.detail
    assert after.output == "well" and after.init_s >= 0.6


def test_closing_ends_a_run_that_would_never_end(tmp_path: Path) -> None:
    async def body(container: LiveContainer) -> tuple[FunctionResult, FunctionResult, set[Path]]:
        running = asyncio.create_task(container.run("", None))
        waiting = asyncio.create_task(container.run("", None))
        await asyncio.sleep(0.2)
        await container.close()
        folders = set((tmp_path / "functions" / "scratch").glob("*"))
        return await running, await waiting, folders

    running, waiting, folders = live(tmp_path, "def code(ctx, payload): ctx.sleep(600)", body)
    assert running.error == waiting.error == "crash" and folders == set()


def test_closing_during_a_restart_leaves_no_worker(tmp_path: Path) -> None:
    async def body(container: LiveContainer) -> tuple[FunctionResult, set[Path]]:
        assert (await container.run("x", 20.0)).error == "crash"
        running = asyncio.create_task(container.run("", None))
        await asyncio.sleep(0.2)
        await container.close()
        return await running, set((tmp_path / "functions" / "scratch").glob("*"))

    code = "import os, time\ntime.sleep(0.5)\ndef code(ctx, payload): os._exit(1)"
    result, folders = live(tmp_path, code, body)
    assert (result.error, result.detail, folders) == ("crash", "its container was closed", set())


def test_runs_of_one_container_happen_one_after_the_other(tmp_path: Path) -> None:
    code = ("from time import monotonic\ndef code(ctx, payload):\n    t = monotonic()\n    ctx.sleep(0.1)\n"
            "    return [t, monotonic()]")

    async def body(container: LiveContainer) -> list[list[float]]:
        results = await asyncio.gather(*(container.run("", 20.0) for _ in range(3)))
        return sorted(json.loads(result.output) for result in results)

    spans = live(tmp_path, code, body)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))


def test_functions_outside_containers_have_a_folder_without_a_quota(tmp_path: Path) -> None:
    async def main() -> FunctionResult:
        workers = Workers(tmp_path, "w1", 1)
        sample = function(tmp_path, "def code(ctx, payload):\n    ctx.write('a', 7)\n    return len(ctx.read('a'))")
        try:
            return await workers.run(sample, "")
        finally:
            await workers.close()

    assert asyncio.run(main()).output == "7"
