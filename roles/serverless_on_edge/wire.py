"""gRPC: the messages of this system on real connections, with the original's services, methods and field numbers.

Nothing of gRPC is made before the first use, so that agents can be forked from a process that has imported this.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
from grpc import aio

from roles.serverless_on_edge.codec import Codec
from roles.serverless_on_edge.counter import Counter
from roles.serverless_on_edge.keys import Keys
from roles.serverless_on_edge.limits import MOST_BYTES, MOST_CALLS
from roles.serverless_on_edge.standard import Standard, services_of
from testbed.roles.api import CallFailed, Method, Service

Request = TypeVar("Request")
Reply = TypeVar("Reply")

MOST_CHANNELS = 2_000  # connections of one agent; those that nobody uses go first
MOST_DEAD = 100  # of them those where nobody was: each is tried again every second
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
# Counter refuses calls in words. Should there be more at once than it can look at, gRPC refuses them without.
_AT_LAST = 2 * MOST_CALLS
_SERVER = (
    *_COMMON,
    ("grpc.server.max_pending_requests", _AT_LAST),  # beyond 1000, it would cancel some by chance
    ("grpc.server.max_pending_requests_hard_limit", _AT_LAST),
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


@dataclass(slots=True, eq=False)
class _Line:
    """A connection, what calls each method over it, and how many do so now."""

    channel: aio.Channel
    methods: dict[str, Callable[..., Any]] = field(default_factory=dict)
    busy: int = 0


class GrpcWire:
    """One agent's servers and its connections, one for each address that it calls.

    ``secure``: the data path is TLS. The ``keys`` are then asked for when the first server or connection needs them.
    """

    def __init__(self, secure: bool = False, keys: Callable[[], Keys] | None = None) -> None:
        self._codec = Codec()
        self._secure, self._keys = secure, keys
        self._servers: list[tuple[aio.Server, Standard]] = []
        self._channels: dict[tuple[str, bool], _Line] = {}
        self._dead: dict[tuple[str, bool], None] = {}
        self._closing: set[asyncio.Task[None]] = set()

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
        server = aio.server(options=_SERVER, maximum_concurrent_rpcs=_AT_LAST)
        standard = Standard(services_of(tuple(service)))
        counter = Counter(self.decode, self.encode)
        for method, handler in service.items():
            name, procedure = method.name[1:].split("/")
            handlers = {procedure: counter.handler(method, handler)}
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

    async def call(self, address: str, method: Method[Request, Reply], message: Request, timeout: float) -> Reply:
        """Call ``host:port``, over one lasting connection for each address; raises CallFailed."""
        where = address, self._sealed(method)
        sent = self._request(method, message)
        line = self._line(*where)
        line.busy += 1
        try:
            data = await _callable(line, method)(sent, timeout=timeout)
        except aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                self._dead[where] = None
            raise failure(error) from error
        finally:
            line.busy -= 1
        if self._dead:
            self._dead.pop(where, None)
        return self._reply(address, method, data)

    async def stream(self, address: str, method: Method[Request, Reply], message: Request) -> AsyncIterator[Reply]:
        """The messages of a streaming method; raises CallFailed when the stream breaks."""
        sent = self._request(method, message)
        line = self._line(address, self._sealed(method))
        line.busy += 1
        try:
            async for data in _callable(line, method)(sent):
                yield self._reply(address, method, data)
        except aio.AioRpcError as error:
            raise failure(error) from error
        finally:
            line.busy -= 1

    def _request(self, method: Method[Request, Any], message: Request) -> bytes:
        try:
            return self.encode(message)
        except ValueError as error:  # text that is no Unicode, as functions may give it
            raise CallFailed("protocol", f"this {method.request.__name__} cannot be sent: {error}") from error

    def _reply(self, address: str, method: Method[Any, Reply], data: bytes) -> Reply:
        try:
            reply: Reply = self.decode(method.reply, data)
        except ValueError as error:
            raise CallFailed("protocol", f"{address} answers with what is no answer: {error}") from error
        return reply

    def _line(self, address: str, sealed: bool) -> _Line:
        found = self._channels.get((address, sealed))
        if found is None:
            if len(self._channels) >= MOST_CHANNELS:
                self._leave(self._channels, MOST_CHANNELS - 1)
            if len(self._dead) > MOST_DEAD:
                self._leave(self._dead, MOST_DEAD)
            found = self._channels[address, sealed] = _Line(self._channel(address, sealed))
        return found

    def _leave(self, among: dict[tuple[str, bool], Any], most: int) -> None:
        """Close connections that nobody uses, the oldest first, until ``most`` are left."""
        for where in tuple(among):
            if len(among) <= most:
                return
            if not self._channels[where].busy:
                self._dead.pop(where, None)
                closing = asyncio.ensure_future(self._channels.pop(where).channel.close())
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)

    def _channel(self, address: str, sealed: bool) -> aio.Channel:
        if sealed:
            credentials = grpc.ssl_channel_credentials(self._own_keys().authority)
            return aio.secure_channel(address, credentials, options=_CLIENT)
        return aio.insecure_channel(address, options=_CLIENT)

    async def close(self) -> None:
        """End servers (calls under way get half a second) and connections."""
        for _, standard in self._servers:
            standard.leave()
        await asyncio.gather(*(server.stop(0.5) for server, _ in self._servers))
        await asyncio.gather(*(line.channel.close() for line in self._channels.values()), *self._closing)
        self._servers.clear()
        self._channels.clear()
        self._dead.clear()


def _callable(line: _Line, method: Method[Any, Any]) -> Callable[..., Any]:
    found = line.methods.get(method.name)
    if found is None:
        make = line.channel.unary_stream if method.streams else line.channel.unary_unary
        found = line.methods[method.name] = make(method.name)
    return found
