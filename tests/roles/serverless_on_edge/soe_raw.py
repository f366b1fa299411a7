"""Raw bytes to each gRPC server of a whole system on loopback addresses, in one loop that lasts."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import grpc
from grpc import aio
from soe_live import Loopback, until

from roles.serverless_on_edge import messages
from roles.serverless_on_edge.codec import Codec
from roles.serverless_on_edge.messages import OK, RUN_LAMBDA, LambdaRequest, LambdaResponse
from testbed.roles.api import Function, Method

T = TypeVar("T")
CODEC = Codec()
FUNCTIONS = {"f": Function(name="f", service_s=0.001, concurrency=5), "up": Function(name="up", code="/nowhere/up.py")}
PLACES = {"controller": "h0", "router": "h1", "computer": "h2", "client": "h4"}  # and a dispatcher
OPTIONS = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1), ("grpc.enable_http_proxy", 0))
METHODS = [each for each in vars(messages).values() if isinstance(each, Method)]
_PORTS = {
    "EdgeController": ("h0 6475",),
    "EdgeServer": ("h1 6473", "h2 10000", "h5 6473"),
    "EdgeRouter": ("h1 6474", "h5 6474"),
    "EdgeComputer": ("h2 20000",),
    "StateServer": ("h2 30000", "h4 6481"),
    "CallbackServer": ("h4 6480",),
}


class Town:
    """Controller, router, dispatcher, computer and client, which keep states; ``run`` lets their time go on."""

    def __init__(self, folder: Path, prefix: str, runner: asyncio.Runner) -> None:
        self.prefix, self.runner = prefix, runner
        self.net = Loopback(folder, prefix, FUNCTIONS, **PLACES)
        self.channels: dict[str, aio.Channel] = {}
        self.servers = [(method, self.at(*where.split())) for method in METHODS
                        for where in _PORTS[method.name.split("/")[1].split(".")[-1]]]  # fmt: skip

    def run(self, story: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(asyncio.wait_for(story, 120))

    async def begin(self) -> None:
        await self.net.start("controller", "h0")
        await self.net.start("router", "h1")
        await self.net.start("dispatcher", "h5")
        await self.net.start("computer", "h2", asynchronous=True, state_endpoint=30000)
        await self.net.start("client", "h4", execution_model="state-local", state_endpoint=6481)
        await self.is_well()

    def at(self, node: str, port: int | str) -> str:
        return f"{self.net.addresses[node]}:{port}"

    async def send(
        self, address: str, method: str, data: bytes, timeout: float = 30, **options: Any
    ) -> tuple[str, Any]:
        """The status, and the bytes of the answer or what is said."""
        channel = self.channels.get(address)
        if channel is None:
            channel = self.channels[address] = aio.insecure_channel(address, options=OPTIONS)
        try:
            if method.endswith("/StreamUtil"):
                call = channel.unary_stream(method)(data, timeout=timeout, **options)
                first = await call.read()
                call.cancel()
                return "OK", first
            return "OK", await channel.unary_unary(method)(data, timeout=timeout, **options)
        except aio.AioRpcError as error:
            return error.code().name, error.details() or ""

    async def ask(self, address: str, method: Method[Any, Any], message: Any) -> Any:
        """The answer, or ``STATUS: what is said``."""
        code, said = await self.send(address, method.name, CODEC.encode(message))
        return CODEC.decode(method.reply, said) if code == "OK" else f"{code}: {said}"

    async def retcode(self, address: str, request: LambdaRequest) -> str:
        answer = await self.ask(address, RUN_LAMBDA, request)
        return answer.retcode if isinstance(answer, LambdaResponse) else answer

    async def is_well(self, within_s: float = 40) -> None:
        """Router and dispatcher have calls answered, their tables are what they were, and nobody has failed."""
        for node in ("h1", "h5"):

            async def code(node: str = node) -> str:
                return await self.retcode(self.at(node, 6473), LambdaRequest("f", "x"))

            await until(code, lambda found: found == OK, within_s)
        for (role, node), (_, env) in self.net.agents.items():
            assert not env.failed.done(), f"{role} on {node}: {env.failed}"

    def tables(self) -> list[set[tuple[str, str]]]:
        """The entries of the router and the dispatcher."""
        roles: list[Any] = [self.net.agents["router", "h1"][0], self.net.agents["dispatcher", "h5"][0]]
        return [{tuple(key) for key in table.weights()} for role in roles for table in role.tables]

    async def end(self) -> None:
        for channel in self.channels.values():
            await channel.close()
        await self.net.close()


@contextmanager
def town(folder: Path) -> Iterator[Town]:
    """A town that is closed at the end. Several processes may have one at a time: each has a net of its own."""
    process = os.getpid()
    with asyncio.Runner() as runner:
        made = Town(folder, f"127.{100 + process // 250 % 100}.{process % 250}", runner)
        try:
            made.run(made.begin())
            yield made
        finally:
            made.run(made.end())


def resident_mib() -> int:
    """What this process has in memory."""
    line = next(each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("VmRSS"))
    return int(line.split()[1]) // 1024


REFUSED = grpc.StatusCode.INVALID_ARGUMENT.name
TOO_MUCH = grpc.StatusCode.RESOURCE_EXHAUSTED.name
UNKNOWN_METHOD = grpc.StatusCode.UNIMPLEMENTED.name


@contextmanager
def unharmed(place: Town) -> Iterator[None]:
    """Nothing is evicted, nobody has failed."""
    before = place.tables()
    assert all(before)
    yield
    place.run(place.is_well())

    async def all_there() -> bool:
        return all(was <= now for was, now in zip(before, place.tables(), strict=True))

    place.run(until(all_there, bool, 40))  # a flush that was meant so is put right when tables are compared
