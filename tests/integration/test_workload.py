"""A client in a process of its own, over real sockets: complete after any crash, and as exact as it says."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from testbed.collect.invocations import collect
from testbed.places import PACKAGE
from testbed.workload import files
from testbed.workload.schedule import schedule
from testbed.workload.spec import Workload

CLIENT = '''
import asyncio, sys
from pathlib import Path
from testbed.roles.api import Client, Outcome, Site
from testbed.roles.http import HttpClient
from testbed.roles.live import LiveEnvironment
from testbed.roles.precise import precise_loop
from testbed.workload.client import drive

class Caller(Client):
    async def start(self, env):
        self.http = HttpClient()

    async def invoke(self, env, invocation, timeout):
        reply = await self.http.request("POST", sys.argv[2], "/f", invocation.payload.encode(), timeout=timeout)
        return Outcome("ok" if reply.status == 200 else "error", response_bytes=len(reply.body))

class NoWire:
    async def close(self): pass

async def main():
    folder = Path(sys.argv[1])
    env = LiveEnvironment(Site("c", "client", 1, {"c": "127.0.0.1"}, {}, {}), NoWire(), folder)
    role = Caller(env, None)
    await role.start(env)
    print("ready", flush=True)
    await drive(role, env, folder, env.now())
    await role.http.close()
    await env.close()

with asyncio.Runner(loop_factory=precise_loop) as runner:
    runner.run(main())
'''


class Server:
    """Answers each POST after a moment, in a process of its own."""

    PROGRAM = '''
import asyncio, re
async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            await reader.readexactly(int(re.search(rb"Content-Length: (\\d+)", head)[1]))
            await asyncio.sleep(0.03)
            writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
    except (EOFError, ConnectionError):
        writer.close()
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
'''

    def __init__(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", self.PROGRAM], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.address = f"127.0.0.1:{int(self.process.stdout.readline())}"

    def close(self) -> None:
        assert self.process.stdout is not None
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def begin(folder: Path, address: str, *traffic: dict[str, Any], **keys: Any) -> subprocess.Popen[str]:
    spec = Workload.model_validate({"duration": "2s", "traffic": list(traffic)} | keys)
    files.write(schedule(spec, ["c"], ["f"], 1)["c"], folder)
    process = subprocess.Popen([sys.executable, "-c", CLIENT, str(folder), address], stdout=subprocess.PIPE, text=True,
                               cwd=PACKAGE.parent)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


MIXED = (
    {"arrivals": {"model": "poisson", "rate": "150/s"}},
    {"arrivals": {"model": "closed", "users": 3, "pace": "50ms"}},
    {"arrivals": {"model": "closed", "users": 3, "think": "20ms"}},
)


def test_a_client_that_ends_well_has_a_row_for_each_invocation(tmp_path: Path) -> None:
    with closing(Server()) as server:
        process = begin(tmp_path, server.address, *MIXED)
        assert process.wait(60) == 0
    merged = collect([tmp_path])
    scheduled = len((tmp_path / "schedule.csv").read_text().splitlines()) - 1
    assert merged.refused == [] and len(merged.rows) == scheduled
    assert Counter(row["status"] for row in merged.rows)["ok"] > 0.9 * scheduled


@pytest.mark.parametrize("moment", [random.Random(n).uniform(0, 1.6) for n in range(8)])
def test_a_client_killed_at_any_moment_leaves_a_row_for_each_invocation(tmp_path: Path, moment: float) -> None:
    with closing(Server()) as server:
        process = begin(tmp_path, server.address, *MIXED)
        time.sleep(moment)
        process.kill()
        process.communicate()
    merged = collect([tmp_path])
    planned = files.read(tmp_path).count
    numbers = [row["invocation_id"] for row in merged.rows]
    assert merged.refused == [] and len(set(numbers)) == len(numbers)
    assert set(range(planned)) <= set(numbers)
    assert {row["status"] for row in merged.rows} <= {"ok", "lost", "unsent", "timeout"}


def test_a_server_that_dies_makes_rows_of_errors_and_the_client_goes_on(tmp_path: Path) -> None:
    with closing(Server()) as server:
        process = begin(tmp_path, server.address, {"arrivals": {"model": "poisson", "rate": "100/s"}})
        while not any(",ok," in path.read_text() for path in tmp_path.glob("outcomes.csv")):
            assert process.poll() is None
            time.sleep(0.01)
        server.close()
        assert process.wait(60) == 0
    found = collect([tmp_path]).rows
    counted = Counter(row["status"] for row in found)
    assert counted["ok"] > 0 and counted["error"] > 0 and counted["ok"] + counted["error"] == len(found)
    assert all(row["error"].startswith("unreachable: ") for row in found if row["status"] == "error")


def test_a_long_schedule_is_read_as_it_is_fired(tmp_path: Path) -> None:
    def first_row(rate: str) -> float:
        folder = tmp_path / rate[:-2]
        folder.mkdir()
        spec = Workload.model_validate({"duration": "100s", "traffic": [
            {"arrivals": {"model": "deterministic", "rate": rate}}]})
        files.write(schedule(spec, ["c"], ["f"], 1)["c"], folder)
        begun = time.perf_counter()
        next(iter(files.read(folder).invocations))
        return time.perf_counter() - begun

    first_row("20/s")
    assert min(map(first_row, ("500/s", "501/s", "502/s"))) < 10 * first_row("10/s")


def test_the_event_loop_of_agents_is_the_precise_one() -> None:
    from testbed.deploy.health import WatchedSelector
    from testbed.roles.precise import PreciseSelector

    assert issubclass(WatchedSelector, PreciseSelector)
    loop = asyncio.SelectorEventLoop(WatchedSelector())
    loop.close()
