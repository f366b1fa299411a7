"""What a request costs with the wire of HTTP, beside aiohttp and beside bare asyncio, in the same run.

    python benchmarks/web.py [--seconds 3] [--rounds 3]

Servers have a process each and are driven by wrk (C) over 32 connections; clients drive the bare server, 32 loops each.
Counted are requests for each second of processor time of the process in question, so a second core that is busy with
something else matters little; the best of the rounds, which take turns, is told. ``new heads``: each request has
another target, so that nothing that is remembered helps. ``large``: 20 MB a reply, as bytes for a processor second.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import aiohttp
import psutil
from aiohttp import web

from testbed.roles.http import HttpClient
from testbed.roles.web import WEB, WebReply, WebRequest, said
from testbed.roles.web_wire import WebWire

HOST = "127.7.30.1"
CONNECTIONS = 32
LARGE = b"x" * 20_000_000
SHORT = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 5\r\n\r\nhello"
NEW_HEADS = """
local count = 0
request = function()
  count = count + 1
  return wrk.format("POST", "/f?n=" .. count, {["X-Session"] = "{\\"session\\":\\"" .. count .. "\\"}"}, "some body")
end
"""
KINDS = ("wire", "aiohttp", "bare")


# Servers, each in a process of its own.


async def serve_wire() -> int:
    """The wire of HTTP."""
    async def handler(request: WebRequest) -> WebReply:
        return WebReply(200, (), (LARGE,)) if request.path == "/large" else said(200, "hello")

    wire = WebWire()
    await wire.serve(HOST, 0, {WEB: handler})
    return wire.server.ports()[0]


async def serve_aiohttp() -> int:
    """aiohttp.web, without its access log."""
    async def handler(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=LARGE) if request.path == "/large" else web.Response(text="hello")

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, HOST, 0)
    await site.start()
    found: int = runner.addresses[0][1]
    return found


class Bare(asyncio.Protocol):
    """Answers each piece of data with the same bytes: what asyncio itself costs."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """A request, of which nothing is read but whether it is for the large reply."""
        if data.startswith(b"GET /large"):
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(LARGE))
            self._transport.write(LARGE)
        else:
            self._transport.write(SHORT)


async def serve_bare() -> int:
    """Bare asyncio."""
    server = await asyncio.get_running_loop().create_server(Bare, HOST, 0)
    found: int = server.sockets[0].getsockname()[1]
    return found


async def serve(kind: str) -> None:
    """Be a server until somebody kills this process; the first line says its port."""
    port = await {"wire": serve_wire, "aiohttp": serve_aiohttp, "bare": serve_bare}[kind]()
    print(port, flush=True)
    await asyncio.Event().wait()


@contextlib.contextmanager
def server(kind: str) -> Iterator[tuple[psutil.Process, int]]:
    """A server in a process of its own, and its port."""
    process = subprocess.Popen([sys.executable, __file__, "--serve", kind], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield psutil.Process(process.pid), int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


def spent(process: psutil.Process) -> float:
    """Processor seconds of a process so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


def under_load(kind: str, path: str, script: str, seconds: float) -> tuple[float, float]:
    """Requests and bytes of a server for each second of its processor time."""
    with server(kind) as (process, port), tempfile.TemporaryDirectory() as folder:
        lua = Path(folder, "load.lua")
        lua.write_text(script)
        command = ["wrk", "-t1", f"-c{2 if path == '/large' else CONNECTIONS}", f"-d{seconds:g}s", "-s", str(lua)]
        begun = spent(process)
        done = subprocess.run([*command, f"http://{HOST}:{port}{path}"], capture_output=True, text=True, check=True)
        used = spent(process) - begun
    if "Socket errors" in done.stdout or "Non-2xx" in done.stdout:
        raise SystemExit(f"wrk saw errors at {kind}:\n{done.stdout}")
    requests = int(re.findall(r"(\d+) requests in", done.stdout)[0])
    return requests / used, requests * len(LARGE) / used


# Clients, in this process.


async def loops(one: Callable[[], Awaitable[object]], seconds: float) -> float:
    """Requests for each second of this process's processor time, in closed loops."""
    end, count = time.monotonic() + seconds, 0

    async def loop() -> None:
        nonlocal count
        while time.monotonic() < end:
            await one()
            count += 1

    begun = time.process_time()
    await asyncio.gather(*(loop() for _ in range(CONNECTIONS)))
    return count / (time.process_time() - begun)


async def ask_wire(port: int, seconds: float) -> float:
    """The wire's own call."""
    wire, request = WebWire(), WebRequest("POST", "/f", (("x-session", "{}"),), b"some body")
    try:
        return await loops(lambda: wire.call(f"{HOST}:{port}", WEB, request, 10), seconds)
    finally:
        await wire.close()


async def ask_http(port: int, seconds: float) -> float:
    """The lean client, which load generators use."""
    client = HttpClient()
    headers = {"x-session": "{}"}
    try:
        return await loops(lambda: client.request("POST", f"{HOST}:{port}", "/f", b"some body", headers), seconds)
    finally:
        await client.close()


async def ask_aiohttp(port: int, seconds: float) -> float:
    """The client of aiohttp."""
    async with aiohttp.ClientSession() as session:
        async def one() -> None:
            url = f"http://{HOST}:{port}/f"
            async with session.post(url, data=b"some body", headers={"x-session": "{}"}) as answer:
                await answer.read()

        return await loops(one, seconds)


# The whole.


def table(title: str, unit: float, found: dict[str, float], beside: str) -> None:
    """Print figures and their ratio to one of them."""
    print(f"\n{title}")
    for name, figure in found.items():
        print(f"  {name:<12} {figure / unit:>12,.0f}   {figure / found[beside]:6.2f} times {beside}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", choices=KINDS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve))
        return
    for title, path, script in (("same heads", "/", ""), ("new heads", "/", NEW_HEADS), ("large", "/large", "")):
        best = dict.fromkeys(KINDS, 0.0)
        for kind in [*KINDS] * options.rounds:
            requests, size = under_load(kind, path, script, options.seconds)
            best[kind] = max(best[kind], size if path == "/large" else requests)
        what = "MB" if path == "/large" else "requests"
        table(f"servers, {title}: {what} per processor second", 1e6 if what == "MB" else 1, best, "aiohttp")
    with server("bare") as (_, port):
        asking = {"wire": ask_wire, "HttpClient": ask_http, "aiohttp": ask_aiohttp}
        best = dict.fromkeys(asking, 0.0)
        for name in [*asking] * options.rounds:
            best[name] = max(best[name], asyncio.run(asking[name](port, options.seconds)))
        table("clients: requests per processor second", 1, best, "aiohttp")


if __name__ == "__main__":
    main()
