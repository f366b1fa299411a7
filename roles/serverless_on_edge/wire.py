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
from roles.serverless_on_edge.keys import Keys
from roles.serverless_on_edge.standard import Standard, services_of
from testbed.roles.api import CallFailed, Handler, Method, Service, StreamHandler

Request = TypeVar("Request")
Reply = TypeVar("Reply")

MOST_BYTES = 64 * 2**20  # of one message: who sends more is told so, and nothing of it is kept
MOST_CALLS = 10_000  # at one server at a time, those that wait included; what comes beyond is refused
# Services that stay in the clear, as in the original: what controllers, tables and loads are told by.
_CLEAR = tuple(f"/uiiit.rpc.{service}/" for service in ("EdgeController", "EdgeRouter", "EdgeComputer"))

_COMMON = (
    ("grpc.max_receive_message_length", MOST_BYTES),
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
_RECORD = 22  # of a TLS 1.3 record around one message: head 5, kind 1, tag 16
_KINDS = {grpc.StatusCode.UNAVAILABLE: "unreachable", grpc.StatusCode.DEADLINE_EXCEEDED: "timeout"}


def failure(error: aio.AioRpcError) -> CallFailed:
    """What a failed RPC means: nobody there, no answer in time, or an answer that is not of this protocol."""
    kind: Any = _KINDS.get(error.code(), "protocol")
    return CallFailed(kind, error.details() or error.code().name)


class GrpcWire:
    """One agent's servers and its connections, one for each address that it calls.

    ``secure``: the data path is TLS. The ``keys`` are then asked for when the first server or connection needs them.
    """

    def __init__(self, secure: bool = False, keys: Callable[[], Keys] | None = None) -> None:
        self._codec = Codec()
        self._secure, self._keys = secure, keys
        self._servers: list[tuple[aio.Server, Standard]] = []
        self._channels: dict[tuple[str, bool], aio.Channel] = {}
        self._callables: dict[tuple[str, str], Callable[..., Any]] = {}

    def encode(self, message: Any) -> bytes:
        """The bytes of a message's body, without the framing of HTTP/2."""
        return self._codec.encode(message)

    def decode(self, kind: type[Any], data: bytes) -> Any:
        """The message of type ``kind`` in these bytes; raises ValueError where there is none."""
        return self._codec.decode(kind, data)

    def framing(self, method: Method[Any, Any], *, reply: bool) -> int:
        """Bytes of HTTP/2 and gRPC around one message, on a connection in use: the same whatever the message's size."""
        sealed = _RECORD if self._sealed(method) else 0
        if method.streams:
            return sealed + (_STREAM_REPLY if reply else _STREAM_REQUEST)
        return sealed + (_REPLY if reply else _REQUEST)

    def _sealed(self, method: Method[Any, Any]) -> bool:
        return self._secure and not method.name.startswith(_CLEAR)

    async def serve(self, host: str, port: int, service: Service) -> None:
        """Listen on this address only; raises OSError if it is taken."""
        server = aio.server(options=_SERVER, maximum_concurrent_rpcs=MOST_CALLS)
        standard = Standard(services_of(tuple(service)))
        for method, handler in service.items():
            name, procedure = method.name[1:].split("/")
            handlers = {procedure: self._handler(method, handler)}
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
        server.add_generic_rpc_handlers(standard.handlers())  # last: they are asked in this order at every call
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if any(self._sealed(method) for method in service):
                bound = server.add_secure_port(address, self._server_credentials())
            else:
                bound = server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}: {error}") from error
        if not bound:
            raise OSError(f"cannot listen on {address}")
        await server.start()
        self._servers.append((server, standard))

    def _own_keys(self) -> Keys:
        if self._keys is None:
            raise ValueError("this wire is to be secure and has no keys")
        return self._keys()

    def _server_credentials(self) -> grpc.ServerCredentials:
        keys = self._own_keys()
        return grpc.ssl_server_credentials([(keys.key, keys.certificate)])

    def _handler(self, method: Method[Any, Any], handler: Any) -> grpc.RpcMethodHandler:
        make = grpc.unary_stream_rpc_method_handler if method.streams else grpc.unary_unary_rpc_method_handler
        answer = _streaming(handler) if method.streams else _answering(handler)
        return make(answer(lambda data: self.decode(method.request, data)), None, self.encode)

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
            channel = self._channel(address, self._sealed(method))
            make = channel.unary_stream if method.streams else channel.unary_unary
            found = make(method.name, self.encode, lambda data: self.decode(method.reply, data))
            self._callables[address, method.name] = found
        return found

    def _channel(self, address: str, sealed: bool) -> aio.Channel:
        found = self._channels.get((address, sealed))
        if found is None and sealed:
            credentials = grpc.ssl_channel_credentials(self._own_keys().authority)
            found = self._channels[address, sealed] = aio.secure_channel(address, credentials, options=_CLIENT)
        elif found is None:
            found = self._channels[address, sealed] = aio.insecure_channel(address, options=_CLIENT)
        return found

    async def close(self) -> None:
        """End servers (calls under way get half a second) and connections."""
        for _, standard in self._servers:
            standard.leave()
        await asyncio.gather(*(server.stop(0.5) for server, _ in self._servers))
        await asyncio.gather(*(channel.close() for channel in self._channels.values()))
        self._servers.clear()
        self._channels.clear()
        self._callables.clear()


Decode = Callable[[bytes], Any]


def _answering(handler: Handler) -> Callable[[Decode], Any]:
    def made(decode: Decode) -> Any:
        async def answer(data: bytes, context: Any) -> Any:
            request = await _understood(decode, data, context)
            # A server goes on with its work when its caller gives up, as the original does and as the twin does.
            return await asyncio.shield(handler(request))

        return answer

    return made


def _streaming(handler: StreamHandler) -> Callable[[Decode], Any]:
    def made(decode: Decode) -> Any:
        async def answer(data: bytes, context: Any) -> AsyncIterator[Any]:
            async for message in handler(await _understood(decode, data, context)):
                yield message

        return answer

    return made


async def _understood(decode: Decode, data: bytes, context: Any) -> Any:
    """The request; a caller whose bytes are none is told so."""
    try:
        return decode(data)
    except ValueError as error:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
