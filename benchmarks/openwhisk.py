"""What an invocation costs at the role openwhisk, beside a bare server of the same library, in the same run.

    python benchmarks/openwhisk.py [--seconds 4] [--rounds 3]

Each server has a process of its own and is driven by wrk (C) over 16 connections. ``bare`` reads the JSON of the
request and answers JSON of the same size, after the same sleep of no length (``bare, a record``: of the size of a whole
record, written anew each time); ``role`` authenticates, throttles, finds
the action, runs the modelled function in a warm container, records the activation, and writes its row of the dataset.
Counted are requests for each second of processor time of the process in question; the servers take turns, the best
round of each is told.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

from roles.openwhisk.auth import PUBLIC, header
from roles.openwhisk.options import ServerOptions
from roles.openwhisk.server import Server
from roles.openwhisk.system import LIMITS, SYSTEM
from testbed.roles.api import Function, Site
from testbed.roles.live import LiveEnvironment
from testbed.roles.web import WEB, WebReply, WebRequest, told
from testbed.roles.web_wire import WebWire

HOST, PORT, CONNECTIONS = "127.7.31.1", 3233, 16
KINDS = ("bare", "role", "bare, a record", "role, whole record", "python")
PATHS = {
    "bare": "m?blocking=true&result=true",
    "role": "m?blocking=true&result=true",
    "bare, a record": "m?blocking=true",
    "role, whole record": "m?blocking=true",
    "python": "p?blocking=true&result=true",
}
RECORD = {
    "activationId": "0" * 32, "namespace": "guest", "name": "m", "subject": "guest", "version": "0.0.1",
    "publish": False, "start": 1_700_000_000_000, "end": 1_700_000_000_001, "duration": 1, "logs": [],
    "annotations": [{"key": key, "value": value} for key, value in (
        ("path", "guest/m"), ("waitTime", 0), ("kind", "model:default"), ("timeout", False), ("limits", {
            "timeout": 60000, "memory": 256, "logs": 10, "concurrency": 1}))],
}  # fmt: skip
LUA = f"""
wrk.method = "POST"
wrk.body = '{{"payload": "hello"}}'
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "{header(PUBLIC["guest"])}"
"""


async def serve_bare() -> None:
    """A server of the same library that does nothing."""
    async def answer(request: WebRequest) -> WebReply:
        data = json.loads(request.body)
        await asyncio.sleep(0)
        result = {"payload": "" if data["payload"] else None}
        return told(200, result if "result" in request.target else {**RECORD, "response": {"result": result}})

    wire = WebWire(LIMITS)
    await wire.serve(HOST, PORT, {WEB: answer})


async def serve_role(folder: Path) -> None:
    """The role, with a modelled function that takes no time, and without limits."""
    from testbed.roles.workers import Workers

    functions = {"m": Function(name="m", service_s=0.0, concurrency=1000, memory_bytes=32 << 20)}
    site = Site("h", "server", 1, {"h": HOST}, {"server": ("h",)}, functions)
    options = ServerOptions.model_validate({
        "limits": {"per_minute": None, "concurrent": None}, "cold_start": "1ms", "init": "1ms", "port": PORT,
    })  # fmt: skip
    env = LiveEnvironment(site, SYSTEM.wire(), folder, SYSTEM.tables, functions=Workers(folder))
    await Server(site, options).start(env)


async def serve(kind: str) -> None:
    """Be a server until somebody kills this process."""
    with tempfile.TemporaryDirectory() as folder:
        await (serve_bare() if kind.startswith("bare") else serve_role(Path(folder)))
        print("ready", flush=True)
        await asyncio.Event().wait()


@contextlib.contextmanager
def server(kind: str) -> Iterator[psutil.Process]:
    """A server in a process of its own."""
    process = subprocess.Popen([sys.executable, __file__, "--serve", kind], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def spent(process: psutil.Process) -> float:
    """Processor seconds of a process and its children so far."""
    all_ = [process, *process.children(recursive=True)]
    return sum(float(times.user + times.system) for each in all_ for times in [each.cpu_times()])


def drive(path: str, seconds: float) -> int:
    """Send requests; how many were answered well."""
    return answered(f"{HOST}:{PORT}", path, LUA, CONNECTIONS, seconds)


def answered(address: str, path: str, script: str, connections: int, seconds: float) -> int:
    """Invoke an action for so long with wrk; how many were answered well."""
    with tempfile.TemporaryDirectory() as folder:
        lua = Path(folder, "load.lua")
        lua.write_text(script)
        url = f"http://{address}/api/v1/namespaces/_/actions/{path}"
        argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "-s", str(lua), url]
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
    if "Socket errors" in done.stdout or "Non-2xx" in done.stdout:
        raise SystemExit(f"wrk saw errors:\n{done.stdout}")
    return int(re.findall(r"(\d+) requests in", done.stdout)[0])


def prepared(kind: str) -> None:
    """Make the Python action, and warm containers up."""
    if kind == "python":
        body = json.dumps({"exec": {"kind": "python:3", "code": "def main(p): return {'payload': ''}"}})
        url = f"http://{HOST}:{PORT}/api/v1/namespaces/_/actions/p"
        subprocess.run(["curl", "-sSf", "-o", "/dev/null", "-u", PUBLIC["guest"], "-X", "PUT", "-H",
                        "content-type: application/json", "-d", body, url], check=True)  # fmt: skip
    drive(PATHS[kind], 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", choices=KINDS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve))
        return
    best = dict.fromkeys(KINDS, 0.0)
    for kind in [*KINDS] * options.rounds:
        with server(kind) as process:
            prepared(kind)
            begun = spent(process)
            count = drive(PATHS[kind], options.seconds)
            best[kind] = max(best[kind], count / (spent(process) - begun))
    print("requests per processor second, and how many times the processor time of the bare server that is")
    for kind, rate in best.items():
        bare = best["bare, a record" if "record" in kind else "bare"]
        print(f"  {kind:<20} {rate:>10,.0f}   {bare / rate:6.2f}")


if __name__ == "__main__":
    main()
