"""What benchmarks/twin_speed.py runs on our side: a queue of eight servers, and a FaaS path through the whole twin."""

from __future__ import annotations

import csv
import json
import random
import resource
import sys
import tempfile
import time
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from testbed.roles.api import (
    Client,
    Environment,
    Function,
    Invocation,
    Method,
    Outcome,
    Parameters,
    Role,
    Service,
    Site,
    System,
)
from testbed.seeds import stream
from testbed.topology.load import parse
from testbed.twin.loop import VirtualLoop
from testbed.twin.slots import Slots
from testbed.twin.world import World
from testbed.workload import files
from testbed.workload.client import drive
from testbed.workload.progress import Progress
from testbed.workload.schedule import Plan
from testbed.workload.spec import Workload

RATE = 480.0  # invocations per second of the path
PORT = 9000


# Eight servers, one queue: Poisson arrivals at 6.4 per second, exponential services of mean 1 s.


def ours(count: int) -> list[tuple[float, float, float]]:
    """Arrival, begin and end of each invocation; a task for each."""
    loop, rng, rows = VirtualLoop(), random.Random(1), list[tuple[float, float, float]]()
    slots, sleep = Slots(8), loop.sleep

    async def invocation(arrived: float, service: float) -> None:
        async with slots:
            begun = loop.now
            await sleep(service)
        rows.append((arrived, begun, loop.now))

    async def main() -> None:
        for _ in range(count):
            await sleep(rng.expovariate(6.4))
            loop.create_task(invocation(loop.now, rng.expovariate(1.0)))
        while len(rows) < count:
            await sleep(1.0)

    loop.run(main())
    return rows


# A FaaS platform: a client, a gateway that prefers warm containers, nodes with slots, cold starts and keep-alive.


@dataclass(frozen=True, slots=True)
class Invoke:
    """Run this function."""

    function: str
    payload: str


@dataclass(frozen=True, slots=True)
class Done:
    """Where it ran, and whether its container had to be started first."""

    node: str
    cold: bool


INVOKE: Method[Invoke, Done] = Method("invoke", Invoke, Done)


class TextWire:
    """Two fields with a tab between them, and the headers of a short HTTP exchange."""

    def encode(self, message: Any) -> bytes:
        if isinstance(message, Invoke):
            return f"{message.function}\t{message.payload}".encode()
        return f"{message.node}\t{'cold' if message.cold else ''}".encode()

    def decode(self, kind: type[Any], data: bytes) -> Any:
        first, _, second = data.decode().partition("\t")
        return Invoke(first, second) if kind is Invoke else Done(first, second == "cold")

    def framing(self, method: Method[Any, Any], *, reply: bool) -> int:
        return 150

    async def serve(self, host: str, port: int, service: Service) -> None:
        raise NotImplementedError("this wire is for the twin alone")

    async def call(self, address: str, method: Any, message: Any, timeout: float) -> Any:
        raise NotImplementedError("this wire is for the twin alone")

    def stream(self, address: str, method: Any, message: Any) -> AsyncIterator[Any]:
        raise NotImplementedError("this wire is for the twin alone")

    async def close(self) -> None: ...


class NodeParameters(Parameters):
    """Seconds; ``slots`` invocations run at a time."""

    slots: int = 4
    service_s: float = 0.1
    cold_s: float = 0.4
    keep_alive_s: float = 60.0


class Node(Role):
    """Runs functions in containers that stay warm for a while."""

    parameters_model = NodeParameters

    async def start(self, env: Environment) -> None:
        self._env, self._slots = env, Slots(self.parameters.slots)
        self._rng = env.rng("service")
        self._idle: defaultdict[str, deque[float]] = defaultdict(deque)
        await env.serve(PORT, {INVOKE: self._invoke})

    async def _invoke(self, request: Invoke) -> Done:
        env, known = self._env, self.parameters
        async with self._slots:
            idle = self._idle[request.function]
            while idle and idle[0] < env.now():
                idle.popleft()
            cold = not idle
            if cold:
                await env.sleep(known.cold_s)
            else:
                idle.pop()
            await env.sleep(self._rng.expovariate(1.0) * known.service_s)
            idle.append(env.now() + known.keep_alive_s)
        return Done(env.node, cold)

    def warm(self) -> int:
        """Containers that are kept for another invocation."""
        return sum(map(len, self._idle.values()))


class Balancer:
    """Chooses the node whose container of the function has been idle longest, or else the least loaded one."""

    def __init__(self, site: Site) -> None:
        self._load = dict.fromkeys(site.places["node"], 0)
        self._at = {node: site.endpoint(node, PORT) for node in self._load}
        self._warm: defaultdict[str, deque[str]] = defaultdict(deque)

    async def send(self, env: Environment, request: Invoke, timeout: float) -> Done:
        """Call the chosen node."""
        load, warm = self._load, self._warm[request.function]
        node = warm.popleft() if warm else min(load, key=load.__getitem__)
        load[node] += 1
        try:
            done = await env.call(self._at[node], INVOKE, request, timeout)
        finally:
            load[node] -= 1
        warm.append(node)
        return done


class Gateway(Role):
    """A node of its own between client and nodes."""

    async def start(self, env: Environment) -> None:
        self._env, self._balancer = env, Balancer(self.site)
        await env.serve(PORT, {INVOKE: self._invoke})

    async def _invoke(self, request: Invoke) -> Done:
        return await self._balancer.send(self._env, request, 60.0)


class Caller(Client):
    """Asks the gateway if there is one, else the node that it chooses itself."""

    async def start(self, env: Environment) -> None:
        self._balancer = Balancer(self.site)
        self._gateway = self.site.endpoint("gateway", PORT) if self.site.places["gateway"] else ""

    async def invoke(self, env: Environment, invocation: Invocation, timeout: float) -> Outcome:
        request = Invoke(invocation.function, invocation.payload)
        if self._gateway:
            done = await env.call(self._gateway, INVOKE, request, timeout)
        else:
            done = await self._balancer.send(env, request, timeout)
        return Outcome("ok", node=done.node, cold=done.cold)


class Platform(System):
    """The system of this benchmark."""

    name = "platform"
    roles = {"node": Node, "gateway": Gateway, "client": Caller}  # noqa: RUF012 - class variables by their contract
    duties = {"worker": "node", "gateway": "gateway", "client": "client"}  # noqa: RUF012

    def wire(self) -> Any:
        return TextWire()


def zipf(count: int, functions: int) -> Iterator[Invocation]:
    """Poisson arrivals for functions whose popularity falls with their rank."""
    gaps, which = stream(1, "gaps"), stream(1, "functions")
    names = [f"f{rank}" for rank in range(1, functions + 1)]
    weights = list(accumulate(1 / rank for rank in range(1, functions + 1)))
    now = 0.0
    for number in range(count):
        now += gaps.expovariate(RATE)
        name = which.choices(names, cum_weights=weights)[0]
        yield Invocation(number, round(now, 9), "client", name, "x" * 100)


def world_of(nodes: int, *, gateway: bool) -> World:
    """A client, 10 ms away from it a gateway if there is one, and 1 ms away from that the nodes; 1 Gbit/s each."""
    lines = ["name: path", "nodes:", "  client: {}", "  gateway: {kind: router}" if gateway else ""]
    lines += [f"  n{number}: {{}}" for number in range(nodes)]
    lines += ["links:"]
    hub = "gateway" if gateway else "client"
    if gateway:
        lines += ["  - {ends: [client, gateway], delay: 10ms, rate: 1Gbit}"]
    lines += [f"  - {{ends: [{hub}, n{number}], delay: 1ms, rate: 1Gbit}}" for number in range(nodes)]
    return World(parse("\n".join(lines), "path.yaml"), Platform())


def path(
    count: int, nodes: int = 20, functions: int = 50, gateway: bool = False, **known: float
) -> dict[str, float]:
    """Run the platform as a run does, with the client's own recording; counted from first start to last row."""
    world = world_of(nodes, gateway=gateway)
    places = {"node": tuple(f"n{number}" for number in range(nodes)), "gateway": ("gateway",) if gateway else (),
              "client": ("client",)}  # fmt: skip
    workload = Workload.model_validate({"duration": f"{count / RATE:.0f}s", "in_flight": 100_000, "timeout": "60s",
                                        "traffic": [{"arrivals": {"model": "poisson", "rate": f"{RATE:.0f}/s"}}]})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files.write(Plan("client", count, zipf(count, functions), (), workload), folder)
        agents = [world.agent(world.site(node, role, places, dict[str, Function]()),
                              NodeParameters(**known) if role == "node" else None, folder)
                  for role in places for node in places[role]]  # fmt: skip
        client = agents[-1]

        async def story() -> None:
            for agent in agents:
                await world.start(agent)
            await client.begin(drive(client.role, client.env, folder, world.loop.now, Progress()))  # type: ignore[arg-type]

        begun = time.process_time()
        world.run(story())
        used = time.process_time() - begun
        with (folder / "outcomes.csv").open(newline="", encoding="utf-8") as file:
            tally = Counter(value for row in csv.DictReader(file) for value in (row["status"], "cold " + row["cold"]))
    assert tally["ok"] == count, tally
    return {"cpu_s": used, "warm": sum(agent.role.warm() for agent in agents if isinstance(agent.role, Node)),
            "cold": count - tally["cold 0"]}  # fmt: skip


def main() -> None:
    """Run one of the models; print its figures as JSON."""
    what, count, *rest = sys.argv[1:]
    begun = time.process_time()
    if what == "path":
        result = path(int(count), **json.loads(*rest))
    else:
        rows = ours(int(count))
        used = time.process_time() - begun
        result = {"cpu_s": used, "wait": sum(start - arrived for arrived, start, _ in rows) / len(rows)}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({**result, "count": int(count), "peak_mb": peak}))


if __name__ == "__main__":
    main()
