"""What gRPC adds to a message, as a proxy between two real ends counts it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from roles.serverless_on_edge.keys import AUTHORITY, CERTIFICATE, KEY, Keys, made
from roles.serverless_on_edge.messages import (
    GET_TABLE,
    RUN_LAMBDA,
    STREAM_UTIL,
    ForwardingTable,
    LambdaRequest,
    LambdaResponse,
    TableId,
    Utilization,
    Void,
)
from roles.serverless_on_edge.wire import GrpcWire
from testbed.roles.api import Method, Site

NET = "127.71.3"
MORE = 5.0  # bytes a call for pings (17 bytes) and window updates (13 bytes) of the connection, which come now and then
CALLS = 20
RECORD, RECORD_HOLDS = 22, 16_000  # bytes of TLS: of each further record, which holds about so many


class Counting:
    """A proxy that counts the bytes of both directions."""

    def __init__(self) -> None:
        self.up = self.down = 0

    async def join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(f"{NET}.1", 6000)
        await asyncio.gather(self._pump(reader, far_writer, "up"), self._pump(far_reader, writer, "down"))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str) -> None:
        while data := await reader.read(1 << 16):
            setattr(self, way, getattr(self, way) + len(data))
            writer.write(data)
        writer.close()


def sealed() -> GrpcWire:
    """A wire with TLS; its certificate is for the proxy's address, which it is reached by."""
    pem = next(iter(made([Site("a", "computer", 1, {"a": f"{NET}.2"}, {}, {})]).values()))
    return GrpcWire(True, lambda: Keys(*(pem[name].encode() for name in (AUTHORITY, CERTIFICATE, KEY))))


@asynccontextmanager
async def ends(
    method: Method[Any, Any], handler: Any, secure: GrpcWire | None = None
) -> AsyncIterator[tuple[GrpcWire, Counting]]:
    server, client, counting = secure or GrpcWire(), secure or GrpcWire(), Counting()
    await server.serve(f"{NET}.1", 6000, {method: handler})
    proxy = await asyncio.start_server(counting.join, f"{NET}.2", 6000)
    try:
        yield client, counting
    finally:
        await client.close()
        await server.close()
        proxy.close()


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize(("method", "request_", "reply"), [
    (RUN_LAMBDA, LambdaRequest("f", "x"), LambdaResponse("OK", "y")),
    (RUN_LAMBDA, LambdaRequest("f", "x" * 30_000), LambdaResponse("OK", "y" * 30_000)),
    (GET_TABLE, TableId(1), ForwardingTable()),
])
def test_a_call_adds_what_the_wire_says(method: Method[Any, Any], request_: Any, reply: Any, secure: bool) -> None:
    async def handler(_: Any) -> Any:
        return reply

    async def body() -> None:
        async with ends(method, handler, sealed() if secure else None) as (client, counting):
            for _ in range(10):  # the connection is in use
                await client.call(f"{NET}.2:6000", method, request_, 10.0)
            rounds = [await added(client, counting) for _ in range(5)]
            for number, message in enumerate((request_, reply)):
                more = MORE + (RECORD * (len(client.encode(message)) // RECORD_HOLDS) if secure else 0)
                beyond = min(each[number] for each in rounds) - client.framing(method, reply=bool(number))
                assert 0 <= beyond <= more, f"reply {bool(number)}: {rounds} bytes"  # a busy machine has more pings

    async def added(client: GrpcWire, counting: Counting) -> tuple[float, float]:
        await asyncio.sleep(0.2)
        up, down = counting.up, counting.down
        for _ in range(CALLS):
            await client.call(f"{NET}.2:6000", method, request_, 10.0)
        await asyncio.sleep(0.2)
        return ((counting.up - up) / CALLS - len(client.encode(request_)),
                (counting.down - down) / CALLS - len(client.encode(reply)))  # fmt: skip

    asyncio.run(body())


def test_a_message_of_a_stream_adds_less() -> None:
    async def handler(_: Any) -> AsyncIterator[Utilization]:
        for _number in range(50):
            yield Utilization()
            await asyncio.sleep(0.005)

    async def body() -> None:
        async with ends(STREAM_UTIL, handler) as (client, counting):
            counts = []
            async for _ in client.stream(f"{NET}.2:6000", STREAM_UTIL, Void()):
                counts.append(counting.down)
            framing = client.framing(STREAM_UTIL, reply=True)
            grown = counts[45] - counts[5] - 40 * len(client.encode(Utilization()))
            assert abs(grown - 40 * framing) <= 10 * framing  # pings, and what is under way

    asyncio.run(body())
