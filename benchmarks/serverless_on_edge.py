"""What ServerlessOnEdge costs: a router's hop beside a bare echo, a pick from a table, a controller of very many.

    .venv/bin/python benchmarks/serverless_on_edge.py [hop] [pick] [controller]

All of one kind run in turn in one process tree, several times, and medians are printed: compare ratios, since absolute
figures are this machine's at this moment. A bare echo is a `grpc.aio` client and server of a few lines that pass bytes
on as they are; its CPU per call is that of both. A router's hop is the CPU of the router alone, which takes a call,
decodes it, picks a destination, calls, waits, learns and answers: a server's and a client's part, too.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from roles.serverless_on_edge.messages import OK, RUN_LAMBDA, LambdaRequest, LambdaResponse
from roles.serverless_on_edge.policies import make_policy
from roles.serverless_on_edge.tables import Key, RoutingTable, Smoothed

NET = "127.72.100"
AT_ONCE = 16
POLICIES = ("random", "least-impedance", "round-robin", "proportional-fairness")
Talk = Any  # one end of a pipe between processes

Pipe = multiprocessing.get_context("spawn")


def cpu_s() -> float:
    """CPU seconds of this process so far, its threads included."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def answer_questions(talk: Talk) -> None:
    """Say how much CPU was used each time somebody asks; end with the pipe."""
    loop = asyncio.get_running_loop()
    talk.send("ready")
    while await loop.run_in_executor(None, talk.recv) == "cpu":
        talk.send(cpu_s())


def echo(talk: Talk, address: str, reply: bytes) -> None:
    """A bare server: the same bytes to everybody."""

    async def serve() -> None:
        async def answer(_: bytes, __: Any) -> bytes:
            return reply

        server = grpc.aio.server()
        service, procedure = RUN_LAMBDA.name[1:].split("/")
        handlers = {procedure: grpc.unary_unary_rpc_method_handler(answer)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        server.add_insecure_port(address)
        await server.start()
        await answer_questions(talk)
        await server.stop(0)

    asyncio.run(serve())


def router(talk: Talk, host: str, destination: str) -> None:
    """A router with one destination."""
    from roles.serverless_on_edge.messages import Action, EdgeRouterConf
    from roles.serverless_on_edge.system import SYSTEM
    from testbed.roles.api import Site
    from testbed.roles.live import LiveEnvironment

    async def serve() -> None:
        kind = SYSTEM.roles["router"]
        options = {"num-threads": 50, "router-conf": {"max-pending-clients": 50},
                   "optimizer-conf": "type=async", "table-conf": "type=round-robin"}  # fmt: skip
        role = kind(Site("r", "router", 1, {"r": host}, {"router": ("r",)}, {}),
                    kind.parameters_model.model_validate(options))  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            env = LiveEnvironment(role.site, SYSTEM.wire_of(role, Path(folder)), Path(folder), SYSTEM.tables)
            await role.start(env)
            await role.configure(EdgeRouterConf(Action.CHANGE, "f", destination, 1.0, True))  # type: ignore[attr-defined]
            await answer_questions(talk)
            await env.close()

    asyncio.run(serve())


@contextmanager
def running(target: Callable[..., None], *arguments: Any) -> Iterator[Callable[[], float]]:
    """A process that serves; gives the question for its CPU seconds."""
    here, there = Pipe.Pipe()
    process = Pipe.Process(target=target, args=(there, *arguments))
    process.start()
    assert here.recv() == "ready"

    def asked() -> float:
        here.send("cpu")
        return float(here.recv())

    try:
        yield asked
    finally:
        here.send("end")
        process.join()


async def calls(address: str, count: int, request: bytes) -> None:
    """So many bare calls, AT_ONCE at a time."""
    async with grpc.aio.insecure_channel(address, options=(("grpc.enable_http_proxy", 0),)) as channel:
        call, left = channel.unary_unary(RUN_LAMBDA.name), iter(range(count))

        async def some() -> None:
            for _ in left:
                await call(request)

        await asyncio.gather(*(some() for _ in range(AT_ONCE)))


def hop(count: int, rounds: int) -> None:
    """Print CPU per call of a bare echo and of a router, and their ratio."""
    from roles.serverless_on_edge.wire import GrpcWire

    wire = GrpcWire()
    request = wire.encode(LambdaRequest("f", "A" * 100))
    reply = wire.encode(LambdaResponse(OK, "A" * 100, f"{NET}.1:10000", 10, hops=2))
    bare, through = [], []
    with running(echo, f"{NET}.1:10000", reply) as of_echo, running(router, f"{NET}.2", f"{NET}.1:10000") as of_router:
        for address in (f"{NET}.1:10000", f"{NET}.2:6473"):
            asyncio.run(calls(address, 500, request))  # connections are open, code is warm
        for _ in range(rounds):
            before, own = of_echo(), cpu_s()
            asyncio.run(calls(f"{NET}.1:10000", count, request))
            bare.append((of_echo() - before + cpu_s() - own) / count)
            before = of_router()
            asyncio.run(calls(f"{NET}.2:6473", count, request))
            through.append((of_router() - before) / count)
    echoed, routed = statistics.median(bare), statistics.median(through)
    for name, seconds in (("bare grpc.aio echo, client and server", echoed), ("router", routed)):
        print(f"hop: {name:38}  {seconds * 1e6:6.0f} us CPU a call, {1 / seconds:6.0f} calls/CPU s")
    ratio = statistics.median(way / straight for way, straight in zip(through, bare, strict=True))
    print(f"hop: router / echo                           {ratio:6.2f}, the median over rounds", flush=True)


def pick(count: int) -> None:
    """Print what a pick and a sample take with tables of more and more entries."""
    for policy in POLICIES:
        took = [_picked(policy, functions, 10, count) for functions in (1, 10, 100, 1000)]
        _show(policy, "functions of 10", took)
        sizes = (10, 100, 1000, 10_000)
        took = [_picked(policy, 1, destinations, max(200, count // destinations)) for destinations in sizes]
        _show(policy, "destinations of 1", took)


def _show(policy: str, of: str, took: list[float]) -> None:
    cells = "  ".join(f"{seconds * 1e6:8.2f}" for seconds in took)
    print(f"pick: {policy:22} 10 to 10,000 entries, {of:17} {cells} us, last / first {took[-1] / took[0]:7.1f}",
          flush=True)  # fmt: skip


def _picked(policy: str, functions: int, destinations: int, count: int) -> float:
    """Seconds for a pick with the sample that follows it."""
    rng = random.Random(1)
    table = RoutingTable(make_policy(policy, rng, 1.0, 1.0), Smoothed(0.95))
    for i in range(functions):
        for j in range(destinations):
            table.change(Key(f"f{i}", f"d{j}:1"), rng.uniform(0.5, 1.0), True, 0.0)
    begun, now = time.process_time(), 0.0
    for number in range(count):
        name = f"f{number % functions}"
        destination = table.pick(name, now)
        assert destination is not None
        now += 0.001
        table.sample(Key(name, destination), rng.uniform(0.5, 1.0), now)
    return (time.process_time() - begun) / count


def tables(talk: Talk, address: str) -> None:
    """The tables of all routers, behind one real server: counts messages and entries."""
    from roles.serverless_on_edge.messages import CONFIGURE, EdgeRouterConf, Return
    from roles.serverless_on_edge.wire import GrpcWire

    async def serve() -> None:
        counts = [0, 0]

        async def configure(change: EdgeRouterConf) -> Return:
            counts[0] += 1
            counts[1] += 1 + len(change.more)
            return Return(OK)

        wire, (host, port) = GrpcWire(), address.split(":")
        await wire.serve(host, int(port), {CONFIGURE: configure})
        talk.send("ready")
        while await asyncio.get_running_loop().run_in_executor(None, talk.recv) == "counts":
            talk.send(tuple(counts))
            counts[:] = 0, 0
        await wire.close()

    asyncio.run(serve())


def controller(routers: int, computers: int, many: bool) -> None:
    """Print how long a live controller takes to have all tables right when everybody joins, and what it sends."""
    here, there = Pipe.Pipe()
    process = Pipe.Process(target=tables, args=(there, f"{NET}.4:6474"))
    process.start()
    assert here.recv() == "ready"
    took, used = asyncio.run(_joined(routers, computers, many))
    here.send("counts")
    messages, entries = here.recv()
    here.send("end")
    process.join()
    assert entries == routers * computers, "every table has every computer"
    how = "many changes a message" if many else "one change a message, as the original"
    print(f"controller: {routers} routers, {computers} computers, {how}: tables right after {took:.1f} s "
          f"({used:.1f} s CPU), {messages} messages for {entries} entries", flush=True)  # fmt: skip


async def _joined(routers: int, computers: int, many: bool) -> tuple[float, float]:
    """Everybody announces, routers first; seconds and CPU seconds until the last announcement is answered."""
    from roles.serverless_on_edge.messages import ComputerInfo, Container, RouterInfo
    from roles.serverless_on_edge.system import SYSTEM
    from testbed.roles.api import Site
    from testbed.roles.live import LiveEnvironment

    kind = SYSTEM.roles["controller"]
    role: Any = kind(Site("c", "controller", 1, {"c": f"{NET}.3"}, {}, {}),
                     kind.parameters_model.model_validate({"expire-after": 0, "push-timeout": 600}))  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        env = LiveEnvironment(role.site, SYSTEM.wire_of(role, Path(folder)), Path(folder), SYSTEM.tables)
        await role.start(env)
        for i in range(routers):
            at = f"10.1.{i // 250}.{i % 250}:6473"
            await role.announce_router(RouterInfo(at, f"{NET}.4:6474", many=many))
        begun, before = time.perf_counter(), cpu_s()
        await asyncio.gather(*(
            role.announce_computer(ComputerInfo(f"10.2.{i // 250}.{i % 250}:10000", (Container("c", "cpu", "f", 1),)))
            for i in range(computers)
        ))
        took = time.perf_counter() - begun, cpu_s() - before
        await env.close()
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("what", nargs="*", default=["hop", "pick", "controller"])
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    if "hop" in options.what:
        hop(options.calls, options.rounds)
    if "pick" in options.what:
        pick(options.calls)
    if "controller" in options.what:
        for many in (True, False):
            controller(50, 200, many)
        controller(500, 2000, True)


if __name__ == "__main__":
    main()
