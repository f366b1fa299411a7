"""A server and one that asks it, over gRPC that the fork server has imported: whether gRPC survives the fork."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, ClassVar

import grpc
import grpc.aio

from testbed.roles.api import Duty, Environment, Parameters, Role, System, Wire


class Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]
    def service(self, details: Any) -> Any:
        async def once(request: bytes, _: Any) -> bytes:
            return request.upper()

        async def often(request: bytes, _: Any) -> AsyncIterator[bytes]:
            for letter in request.decode():
                yield letter.encode()

        if details.method == "/pair/once":
            return grpc.unary_unary_rpc_method_handler(once)
        return grpc.unary_stream_rpc_method_handler(often)


class PairParameters(Parameters):
    port: int


class Answering(Role):
    parameters_model = PairParameters

    async def start(self, env: Environment) -> None:
        self.server = grpc.aio.server(handlers=(Handlers(),))
        self.server.add_insecure_port(f"127.0.0.1:{self.parameters.port}")
        await self.server.start()

    async def stop(self, env: Environment) -> None:
        await self.server.stop(0.1)


class Asking(Role):
    parameters_model = PairParameters

    async def start(self, env: Environment) -> None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.parameters.port}") as channel:
            print((await channel.unary_unary("/pair/once")(b"word", timeout=30)).decode())
            print([letter.decode() async for letter in channel.unary_stream("/pair/often")(b"word", timeout=30)])


class NoWire:
    async def close(self) -> None:
        pass


class Pair(System):
    name: ClassVar[str] = "pair"
    roles: ClassVar[Mapping[str, type[Role]]] = {"answering": Answering, "asking": Asking}
    duties: ClassVar[Mapping[Duty, str]] = {}

    def wire(self) -> Wire:
        return NoWire()  # type: ignore[return-value]


SYSTEM = Pair()
