"""Real actions in real workers, over real HTTP: what each outcome is told as, whatever the action does."""

from __future__ import annotations

import asyncio
import base64
import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from wsk_live import live, run

from testbed.roles.api import Function

HERE = Path(__file__).parent
PYTHON = "python:3"
NODE = pytest.param("nodejs:20", marks=pytest.mark.feature("node"))
FREE = {"limits": {"per_minute": None, "concurrent": None}}
GONE = "The action did not produce a valid response and exited unexpectedly."
HUNG = "The action exceeded its time limits of 1500 milliseconds."
ATE = "The action exhausted its memory and was aborted."
NONE = "The action did not produce a valid JSON or JSON Array response: "
PYTHONS = {
    "def main(p): return {'x': p}": ("success", None),
    "def main(p): return [1]": ("success", None),
    "def main(p): return {'error': 'no disk'}": ("application error", "no disk"),
    "def main(p): raise ValueError('no')": ("action developer error", "An error has occurred: ValueError: no"),
    "def main(p): return 3": ("action developer error", NONE + "3"),
    "def main(p): return None": ("action developer error", NONE + "null"),
    "def main(p): return {'x': float('nan')}": ("action developer error", "An error has occurred: ValueError: "),
    "def main(p): return {'x': {1}}": ("action developer error", "An error has occurred: TypeError: "),
    "import sys\ndef main(p): sys.exit(0)": ("action developer error", GONE),
    "import os, signal\ndef main(p): os.kill(os.getpid(), signal.SIGSEGV)": ("action developer error", GONE),
    "import os\ndef main(p): os.killpg(0, 9)": ("action developer error", GONE),
    "import time\ndef main(p): time.sleep(60)": ("action developer error", HUNG),
    "def main(p):\n    while True:\n        try: pass\n        except BaseException: pass": (
        "action developer error", HUNG),
    "def main(p): return {'x': len(bytearray(10**9))}": ("action developer error", ATE),
    "def main(p): return {'x': 'y' * 2**21}": (
        "action developer error", "The action produced a response that exceeded"),
    "def main(p:": ("action developer error", "The action failed during initialization: SyntaxError: "),
    "import nothing_of_this_name": ("action developer error", "The action failed during initialization: Module"),
    "x = 1": ("action developer error", "The action failed during initialization: NameError: "),
    "import time\ntime.sleep(60)": ("action developer error", HUNG[:-1] + " during initialization."),
    "import os\nos._exit(1)": ("action developer error", "The action did not initialize and exited unexpectedly."),
}  # fmt: skip
NODES = {
    "function main(p) { return { x: p } }": ("success", None),
    "exports.main = async p => ({ x: p })": ("success", None),
    "const main = p => [1]": ("success", None),
    "function main() {}": ("success", None),
    "function main() { return { error: 'no disk' } }": ("application error", "no disk"),
    "function main() { return Promise.reject({ why: 1 }) }": ("application error", {"why": 1}),
    "async function main() { throw new Error('no') }": ("application error", {"name": "Error", "message": "no"}),
    "function main() { throw new Error('no') }": ("action developer error", "An error has occurred: Error: no"),
    "function main() { return 3 }": ("action developer error", NONE + "3"),
    "function main() { const a = {}; a.a = a; return a }": ("action developer error", "An error has occurred: TypeErr"),
    "function main() { process.exit(0) }": ("action developer error", GONE),
    "function main() { for (;;) {} }": ("action developer error", HUNG),
    "function main() { return new Promise(() => {}) }": ("action developer error", HUNG),
    "function main() { const a = []; for (;;) a.push(new Array(1e6).fill(a.length + 0.5)) }": (
        "action developer error", ATE),
    "function main(": ("action developer error", "The action failed during initialization: SyntaxError: "),
    "const x = 1": ("action developer error", "The action failed during initialization: "),
}  # fmt: skip


async def _outcomes(folder: Path, host: str, kind: str, codes: list[str]) -> list[Any]:
    """The record of one invocation of each, all at once; afterwards all containers have gone or are well."""
    async with live(folder, host, memory="16GB", **FREE) as server:
        limits = {"timeout": 1500 if kind == PYTHON else 5000, "memory": 128}
        for number, code in enumerate(codes):
            made = await server.put(f"a{number}", code, kind, limits=limits)
            assert made.status == 200, made
        turns = asyncio.Semaphore(4)

        async def one(number: int) -> Any:
            async with turns:
                return (await server.invoke(f"a{number}", x=1)).data

        found = await asyncio.gather(*(one(number) for number in range(len(codes))))
        assert all(not box.dead for box in server.role.runner.boxes)
        assert server.role.runner.running == server.role.runner.waiting == 0
        return found


@pytest.mark.parametrize(
    ("kind", "codes", "host"),
    [
        (PYTHON, PYTHONS, "127.7.92.1"),
        pytest.param("nodejs:20", NODES, "127.7.92.2", marks=pytest.mark.feature("node")),
    ],
)
def test_whatever_an_action_does_its_record_says_it(
    kind: str, codes: dict[str, tuple[str, Any]], host: str, tmp_path: Path
) -> None:
    found = run(_outcomes(tmp_path, host, kind, list(codes)))
    for (code, (status, error)), record in zip(codes.items(), found, strict=True):
        if isinstance(record, list):  # a result that is an array stands alone
            assert (record, status) == ([1], "success"), code
            continue
        response = record["response"]
        said = response["result"].get("error")
        if isinstance(error, str):
            wanted = error.replace("1500", "1500" if kind == PYTHON else "5000")
            assert str(said).startswith(wanted), (code, said)
        else:
            assert said == error, (code, said)
        assert response["status"] == status, (code, response)


@pytest.mark.parametrize("kind", [PYTHON, NODE])
def test_what_an_action_writes_is_in_its_record_also_if_it_dies_then(kind: str, tmp_path: Path) -> None:
    python = ("import sys, os\ndef main(p):\n    print('one\\ntwo')\n    print('bad', file=sys.stderr, end='')\n"
              "    os._exit(1) if p['die'] else 0\n    return {}")  # fmt: skip
    node = ("function main(p) { console.log('one\\ntwo'); process.stderr.write('bad'); "
            "if (p.die) process.exit(1); return {} }")  # fmt: skip

    async def story() -> None:
        async with live(tmp_path, "127.7.92.3") as server:
            await server.put("say", python if kind == PYTHON else node, kind)
            lines = [line.split("Z ", 1)[1] for line in (await server.invoke("say", die=False)).data["logs"]]
            assert sorted(lines) == ["stderr: bad", "stdout: one", "stdout: two"]
            lines = [line.split("Z ", 1)[1] for line in (await server.invoke("say", die=True)).data["logs"]]
            assert lines[:2] == ["stdout: one", "stdout: two"]

    run(story())


def test_logs_end_at_their_limit(tmp_path: Path) -> None:
    async def story() -> None:
        async with live(tmp_path, "127.7.92.4") as server:
            await server.put("say", "def main(p):\n    for n in range(3): print('x' * 600_000)\n    return {}",
                             limits={"logs": 1})  # fmt: skip
            logs = (await server.invoke("say")).data["logs"]
            assert len(logs) == 2
            assert "Logs were truncated because the total bytes size exceeds the limit of 1048576 bytes." in logs[1]

    run(story())


@pytest.mark.parametrize("kind", [PYTHON, NODE])
def test_a_warm_container_keeps_globals_and_an_update_gets_another(kind: str, tmp_path: Path) -> None:
    python = "n = 0\ndef main(p):\n    global n\n    n += 1\n    return {'n': n, 'v': 1}"
    node = "let n = 0; function main() { n += 1; return { n, v: 1 } }"

    async def story() -> None:
        async with live(tmp_path, "127.7.92.5") as server:
            code = python if kind == PYTHON else node
            await server.put("count", code, kind)
            query = "blocking=true&result=true"
            found = [(await server.invoke("count", query)).data for _ in range(2)]
            assert found == [{"n": 1, "v": 1}, {"n": 2, "v": 1}]
            await server.put("count", code.replace("v': 1", "v': 2").replace("v: 1", "v: 2"), kind)
            assert (await server.invoke("count", query)).data == {"n": 1, "v": 2}

    run(story())


@pytest.mark.parametrize("kind", [PYTHON, NODE])
def test_an_action_is_told_where_it_is(kind: str, tmp_path: Path) -> None:
    python = "import os\ndef main(p): return {k: v for k, v in os.environ.items() if k.startswith('__OW')}"
    node = ("function main() { const all = Object.entries(process.env); "
            "return Object.fromEntries(all.filter(each => each[0].startsWith('__OW'))) }")  # fmt: skip

    async def story() -> None:
        async with live(tmp_path, "127.7.92.6") as server:
            await server.put("where", python if kind == PYTHON else node, kind)
            record = (await server.invoke("where")).data
            found = record["response"]["result"]
            assert found["__OW_ACTION_NAME"] == "/guest/where"
            assert found["__OW_NAMESPACE"] == "guest"
            assert found["__OW_ACTIVATION_ID"] == record["activationId"]
            assert 50_000 < int(found["__OW_DEADLINE"]) - record["start"] < 70_000
            assert "__OW_API_KEY" not in found

    run(story())


def test_a_zip_file_of_python_runs_with_what_it_imports(tmp_path: Path) -> None:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        archive.writestr("__main__.py", "import helper\ndef main(p): return {'x': helper.shout(p['x'])}")
        archive.writestr("helper.py", "def shout(text): return text.upper()")
    code = base64.b64encode(memory.getvalue()).decode()

    async def story() -> None:
        async with live(tmp_path, "127.7.92.7") as server:
            assert (await server.put("zip", code)).data["exec"]["binary"] is True
            assert (await server.invoke("zip", "blocking=true&result=true", x="a")).data == {"x": "A"}

    run(story())


def test_another_function_than_main_can_be_named(tmp_path: Path) -> None:
    async def story() -> None:
        async with live(tmp_path, "127.7.92.8") as server:
            body = {"exec": {"kind": PYTHON, "code": "def other(p): return {'x': 1}", "main": "other"}}
            assert (await server.ask("PUT", "_/actions/named", body)).data["exec"]["main"] == "other"
            assert (await server.invoke("named", "blocking=true&result=true")).data == {"x": 1}
            body["exec"]["main"] = "other();evil"
            assert (await server.ask("PUT", "_/actions/named?overwrite=true", body)).status == 400

    run(story())


def test_the_experiments_functions_are_there_from_the_start(tmp_path: Path) -> None:
    file = tmp_path / "upper.py"
    file.write_text("def code(ctx, payload):\n    return payload.upper()\n")
    functions = {"upper": Function(name="upper", code=str(file)), "model": Function(name="model", service_s=0.01)}

    async def story() -> None:
        async with live(tmp_path, "127.7.92.9", functions, cold_start="10ms", init="10ms") as server:
            assert [each["name"] for each in (await server.ask("GET", "_/actions")).data] == ["upper", "model"]
            query = "blocking=true&result=true"
            assert (await server.invoke("upper", query, payload="abc")).data == {"payload": "ABC"}
            assert (await server.invoke("upper", query, n=1)).data == {"N": 1}
            assert (await server.invoke("model", query)).data == {"payload": ""}

    run(story())


def test_a_prewarmed_worker_is_there_before_anybody_asks(tmp_path: Path) -> None:
    async def story() -> None:
        async with live(tmp_path, "127.7.92.10", prewarm=[{"kind": PYTHON, "count": 2}]) as server:
            await _until(lambda: len(server.role.runner._stems) == 2)
            before = set(server.role.runner.boxes)
            await server.put("hi", "def main(p): return {}")
            await server.invoke("hi")
            assert any(box.key for box in before)

    run(story())


async def _until(question: Any, seconds: float = 20.0) -> None:
    for _ in range(int(seconds / 0.02)):
        if question():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"not so after {seconds:g} s")


def test_no_worker_is_left_when_the_server_ends(tmp_path: Path) -> None:
    async def story() -> list[int]:
        async with live(tmp_path, "127.7.92.11") as server:
            await server.put("pid", "import os\ndef main(p): return {'pid': os.getpid()}")
            return [(await server.invoke("pid", "blocking=true&result=true")).data["pid"]]

    (pid,) = run(story())
    assert not Path(f"/proc/{pid}").exists()


