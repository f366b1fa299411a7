"""How exactly the load generator fires, and what a request costs it, beside wrk and a bare aiohttp loop.

    .venv/bin/python benchmarks/generator.py [--seconds 5]

All speak to the same raw asyncio server, one after the other in one run, each in a process of its own. "Recording on"
is what clients do in an experiment: the schedule is read from its file, and every invocation becomes a row on disk.
Compare ratios: absolute figures are this machine's, at this moment. Where others use the machine too, the firing error
is theirs; `chrt -f 10` before the command (as root) keeps them away, at their cost.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[1]))

from testbed.collect.invocations import collect  # noqa: E402
from testbed.roles.api import Client, Environment, Invocation, Outcome, Site  # noqa: E402
from testbed.roles.http import HttpClient  # noqa: E402
from testbed.roles.live import LiveEnvironment  # noqa: E402
from testbed.roles.precise import precise_loop  # noqa: E402
from testbed.workload import files  # noqa: E402
from testbed.workload.client import drive  # noqa: E402
from testbed.workload.schedule import schedule  # noqa: E402
from testbed.workload.spec import Workload  # noqa: E402

CONNECTIONS = 32
ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{"ok":true}'
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"ours": precise_loop, "stock": asyncio.new_event_loop}


# In the child processes.


class Raw(asyncio.Protocol):
    """Answers whatever ends with an empty line; requests here have no body."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._waiting = transport, b""

    def data_received(self, data: bytes) -> None:
        *requests, self._waiting = (self._waiting + data).split(b"\r\n\r\n")
        self._transport.write(ANSWER * len(requests))  # type: ignore[attr-defined]


async def serve() -> None:
    """A server that answers every request with the same bytes, in a process of its own."""
    server = await asyncio.get_running_loop().create_server(Raw, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


class Caller(Client):
    """Invokes by a GET."""

    address = ""

    async def start(self, env: Environment) -> None:
        self.http = HttpClient(CONNECTIONS)

    async def invoke(self, env: Environment, invocation: Invocation, timeout: float) -> Outcome:
        reply = await self.http.request("GET", self.address, "/", timeout=timeout)
        return Outcome("ok" if reply.status == 200 else "error", response_bytes=len(reply.body))


class NoWire:
    """The client above has its own connections."""

    async def close(self) -> None: ...


def cpu_s() -> float:
    """CPU seconds of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def fire(address: str, folder: Path) -> dict[str, float]:
    """Drive the plan in ``folder``."""
    env = LiveEnvironment(Site("c", "client", 1, {}, {}, {}), NoWire(), folder)  # type: ignore[arg-type]
    role = Caller(env, None)  # type: ignore[arg-type]
    role.address = address
    await role.start(env)
    begun = cpu_s()
    await drive(role, env, folder, env.now() + 0.1)
    used = cpu_s() - begun
    await role.http.close()
    await env.close()
    return {"cpu_s": used}


async def in_loops(one: Callable[[], Any], seconds: float) -> dict[str, float]:
    """Ask in CONNECTIONS closed loops without a pause."""
    loop, count, begun = asyncio.get_running_loop(), 0, cpu_s()
    end = loop.time() + seconds

    async def ask() -> None:
        nonlocal count
        while loop.time() < end:
            await one()
            count += 1

    await asyncio.gather(*(ask() for _ in range(CONNECTIONS)))
    return {"requests": count, "cpu_s": cpu_s() - begun}


async def bare_ours(address: str, seconds: float) -> dict[str, float]:
    """Our HTTP client alone, without schedule and record."""
    with_client = HttpClient(CONNECTIONS)
    result = await in_loops(lambda: with_client.request("GET", address, "/"), seconds)
    await with_client.close()
    return result


async def bare_aiohttp(address: str, seconds: float) -> dict[str, float]:
    """aiohttp's client, as its documentation shows it."""
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as session:
        async def one() -> None:
            async with session.get(f"http://{address}/") as reply:
                await reply.read()

        return await in_loops(one, seconds)


def child(words: list[str]) -> None:
    """Be one of the processes; print its figures as JSON."""
    match words:
        case ["serve"]:
            asyncio.run(serve())
        case ["fire", loop, address, folder]:
            with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
                print(json.dumps(runner.run(fire(address, Path(folder)))))
        case ["ours", address, seconds]:
            with asyncio.Runner(loop_factory=precise_loop) as runner:
                print(json.dumps(runner.run(bare_ours(address, float(seconds)))))
        case ["aiohttp", address, seconds]:
            print(json.dumps(asyncio.run(bare_aiohttp(address, float(seconds)))))


# In the parent.


class Server:
    """The raw server in its own process."""

    def __init__(self) -> None:
        argv = [sys.executable, str(HERE), "--child", "serve"]
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.address = f"127.0.0.1:{int(self.process.stdout.readline())}"

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def ask(*words: str) -> dict[str, float]:
    """The figures of a child process."""
    done = subprocess.run([sys.executable, str(HERE), "--child", *words], stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def fired(loop: str, address: str, seconds: float, **arrivals: object) -> dict[str, float]:
    """Fire by one arrival model and read what was recorded."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spec = Workload.model_validate({"duration": f"{seconds}s", "traffic": [{"arrivals": arrivals}]})
        files.write(schedule(spec, ["c"], ["f"], 1)["c"], folder)
        used = ask("fire", loop, address, str(folder))["cpu_s"]
        rows = collect([folder]).rows
    late = sorted(row["t_sent"] - row["t_scheduled"] for row in rows if row.get("t_sent") is not None)
    return {"scheduled": len(rows), "issued": len(late), "requests": sum(row["status"] == "ok" for row in rows),
            "p50": late[len(late) // 2], "p99": late[int(len(late) * 0.99)], "max": late[-1], "cpu_s": used}


def wrk(address: str, seconds: float) -> dict[str, float]:
    """wrk with one thread."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{round(seconds)}s", f"http://{address}/"],
                          stdout=subprocess.PIPE, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    requests = int(next(line for line in done.stdout.splitlines() if " requests in " in line).split()[0])
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"requests": requests, "cpu_s": used}


def precision(address: str, seconds: float) -> None:
    """Print how exactly schedules are fired, on our event loop and on asyncio's own."""
    print("Firing (Poisson, one HTTP request each, recording on)")
    print("  rate/s  loop   issued/scheduled  send error p50 ms   p99 ms   max ms   CPU share")
    for rate in (100, 500, 1000):
        for loop in LOOPS:
            got = fired(loop, address, seconds, model="poisson", rate=f"{rate}/s")
            print(f"  {rate:6}  {loop:5}  {got['issued']:7.0f} /{got['scheduled']:7.0f}  {got['p50'] * 1e3:17.3f}"
                  f"  {got['p99'] * 1e3:7.3f}  {got['max'] * 1e3:7.3f}  {got['cpu_s'] / seconds:9.1%}")


def speed(got: dict[str, float]) -> float:
    """Requests per CPU second."""
    return got["requests"] / got["cpu_s"]


def cost(address: str, seconds: float) -> None:
    """Print requests per CPU second of all contenders: each one's best of three rounds, the least disturbed one."""
    contenders: dict[str, Callable[[], dict[str, float]]] = {
        f"our client, {CONNECTIONS} closed loops, recording on":
            lambda: fired("ours", address, seconds, model="closed", users=CONNECTIONS, think="0s"),
        "our client, open loop at 1,000/s, recording on":
            lambda: fired("ours", address, seconds, model="poisson", rate="1000/s"),
        f"our HTTP client alone, {CONNECTIONS} closed loops": lambda: ask("ours", address, str(seconds)),
        f"aiohttp alone, {CONNECTIONS} closed loops": lambda: ask("aiohttp", address, str(seconds)),
    }
    if shutil.which("wrk"):
        contenders[f"wrk (C), {CONNECTIONS} connections"] = lambda: wrk(address, seconds)
    best = dict.fromkeys(contenders, 0.0)
    for _ in range(3):
        for name, measure in contenders.items():
            best[name] = max(best[name], speed(measure()))
    mine = next(iter(best.values()))
    print("\nRequests per CPU second                                        ours / it")
    for name, each in best.items():
        print(f"  {name:48} {each:10,.0f}  {mine / each:6.2f} times")
    if not shutil.which("wrk"):
        print("  wrk is not installed: no comparison with it")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each measurement")
    parser.add_argument("--child", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child)
        return
    print(f"Load average at the start: {Path('/proc/loadavg').read_text().split()[0]}\n")
    with closing(Server()) as server:
        precision(server.address, options.seconds)
        cost(server.address, options.seconds)


if __name__ == "__main__":
    main()
