"""gRPC: the messages of this system on real connections, with the original's services, methods and field numbers.

Nothing of gRPC is made before the first use, so that agents can be forked from a process that has imported this.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import grpc
from grpc import aio

from roles.serverless_on_edge.codec import Codec
from testbed.roles.api import CallFailed, Handler, Method, Service, StreamHandler

Request = TypeVar("Request")
Reply = TypeVar("Reply")

_COMMON = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", 5_000),  # a peer that vanished without a word is noticed within 13 seconds
    ("grpc.keepalive_timeout_ms", 8_000),
)
_CLIENT = (
    *_COMMON,
    ("grpc.enable_http_proxy", 0),  # an emulated host must never reach out through the machine's proxy
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),  # an agent that comes back is found again quickly
    ("grpc.min_reconnect_backoff_ms", 4_000),  # for how long a connection is tried: three lost SYN
    ("grpc.max_reconnect_backoff_ms", 1_000),
)
_SERVER = (
    *_COMMON,
    ("grpc.so_reuseport", 0),  # else a second server on a taken port would get half of the calls
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.max_ping_strikes", 0),
)
# On a connection in use, as a counting proxy saw it with grpcio 1.85: nine bytes for each frame's head, headers and
# trailers mostly from the compression table, five bytes before the message, and the window updates that go with it.
# Left out: the headers of a connection's first calls, and pings (17 bytes each, a few in a second).
_REQUEST, _STREAM_REQUEST, _REPLY, _STREAM_REPLY = 58, 44, 64, 14
_KINDS = {grpc.StatusCode.UNAVAILABLE: "unreachable", grpc.StatusCode.DEADLINE_EXCEEDED: "timeout"}


def failure(error: aio.AioRpcError) -> CallFailed:
    """What a failed RPC means: nobody there, no answer in time, or an answer that is not of this protocol."""
    kind: Any = _KINDS.get(error.code(), "protocol")
    return CallFailed(kind, error.details() or error.code().name)


class GrpcWire:
    """One agent's servers and its connections, one for each address that it calls."""

    def __init__(self) -> None:
        self._codec = Codec()
        self._servers: list[aio.Server] = []
        self._channels: dict[str, aio.Channel] = {}
        self._callables: dict[tuple[str, str], Callable[..., Any]] = {}

    def encode(self, message: Any) -> bytes:
        """The bytes of a message's body, without the framing of HTTP/2."""
        return self._codec.encode(message)

    def decode(self, kind: type[Any], data: bytes) -> Any:
        """The message of type ``kind`` in these bytes; raises ValueError where there is none."""
        return self._codec.decode(kind, data)

    def framing(self, method: Method[Any, Any], *, reply: bool) -> int:
        """Bytes of HTTP/2 and gRPC around one message, on a connection in use: the same whatever the message's size."""
        if method.streams:
            return _STREAM_REPLY if reply else _STREAM_REQUEST
        return _REPLY if reply else _REQUEST

    async def serve(self, host: str, port: int, service: Service) -> None:
        """Listen on this address only; raises OSError if it is taken."""
        server = aio.server(options=_SERVER)
        for method, handler in service.items():
            name, procedure = method.name[1:].split("/")
            handlers = {procedure: self._handler(method, handler)}
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            bound = server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}: {error}") from error
        if not bound:
            raise OSError(f"cannot listen on {address}")
        await server.start()
        self._servers.append(server)

    def _handler(self, method: Method[Any, Any], handler: Any) -> grpc.RpcMethodHandler:
        make = grpc.unary_stream_rpc_method_handler if method.streams else grpc.unary_unary_rpc_method_handler
        answer = _streaming(handler) if method.streams else _answering(handler)
        return make(answer, lambda data: self.decode(method.request, data), self.encode)

    async def call(self, address: str, method: Method[Request, Reply], message: Request, timeout: float) -> Reply:
        """Call ``host:port``, over one lasting connection for each address; raises CallFailed."""
        try:
            reply: Reply = await self._callable(address, method)(message, timeout=timeout)
        except aio.AioRpcError as error:
            raise failure(error) from error
        return reply

    async def stream(self, address: str, method: Method[Request, Reply], message: Request) -> AsyncIterator[Reply]:
        """The messages of a streaming method; raises CallFailed when the stream breaks."""
        try:
            async for reply in self._callable(address, method)(message):
                yield reply
        except aio.AioRpcError as error:
            raise failure(error) from error

    def _callable(self, address: str, method: Method[Any, Any]) -> Callable[..., Any]:
        found = self._callables.get((address, method.name))
        if found is None:
            channel = self._channels.get(address)
            if channel is None:
                channel = self._channels[address] = aio.insecure_channel(address, options=_CLIENT)
            make = channel.unary_stream if method.streams else channel.unary_unary
            found = make(method.name, self.encode, lambda data: self.decode(method.reply, data))
            self._callables[address, method.name] = found
        return found

    async def close(self) -> None:
        """End servers (calls under way get half a second) and connections."""
        await asyncio.gather(*(server.stop(0.5) for server in self._servers))
        await asyncio.gather(*(channel.close() for channel in self._channels.values()))
        self._servers.clear()
        self._channels.clear()
        self._callables.clear()


def _answering(handler: Handler) -> Callable[[Any, Any], Any]:
    async def answer(request: Any, _: Any) -> Any:
        # A server goes on with its work when its caller gives up, as the original does and as the twin does.
        return await asyncio.shield(handler(request))

    return answer


def _streaming(handler: StreamHandler) -> Callable[[Any, Any], Any]:
    async def answer(request: Any, _: Any) -> AsyncIterator[Any]:
        async for message in handler(request):
            yield message

    return answer
