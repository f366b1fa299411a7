"""The wire of the system: HTTP for the method WEB, gRPC for everything else. One agent may speak both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from functools import cached_property
from typing import Any, TypeVar, cast

from roles.serverless_on_edge.wire import GrpcWire
from testbed.roles.api import Method, Service
from testbed.roles.web import WEB, WebReply, WebRequest
from testbed.roles.web_wire import WebWire

Request = TypeVar("Request")
Reply = TypeVar("Reply")


class EdgeWire:
    """One agent's servers and connections, of both kinds. ``web`` is made when HTTP is first spoken."""

    def __init__(self, grpc: GrpcWire | None = None, web: WebWire | None = None) -> None:
        self.grpc = grpc or GrpcWire()
        if web is not None:
            self.web = web

    @cached_property
    def web(self) -> WebWire:
        """The part that speaks HTTP."""
        return WebWire()

    def _part(self, method: Method[Any, Any]) -> GrpcWire | WebWire:
        return self.web if method.name == WEB.name else self.grpc

    def encode(self, message: Any) -> bytes:
        """The bytes of a message, as its own part sends them; raises ValueError for what cannot be sent."""
        return (self.web if type(message) in (WebRequest, WebReply) else self.grpc).encode(message)

    def decode(self, kind: type[Any], data: bytes) -> Any:
        """The message of type ``kind`` in these bytes; raises ValueError where there is none."""
        return (self.web if kind in (WebRequest, WebReply) else self.grpc).decode(kind, data)

    def framing(self, method: Method[Any, Any], *, reply: bool) -> int:
        """Bytes that travel with one message beside its encoded form."""
        return self._part(method).framing(method, reply=reply)

    async def serve(self, host: str, port: int, service: Service) -> None:
        """Listen on this address only; raises OSError if it is taken. A port speaks HTTP or gRPC, not both."""
        web = {method: handler for method, handler in service.items() if method.name == WEB.name}
        if web and len(web) < len(service):
            raise ValueError("one port cannot serve both HTTP and gRPC")
        await (self.web if web else self.grpc).serve(host, port, service)

    def call(
        self, address: str, method: Method[Request, Reply], message: Request, timeout: float
    ) -> Coroutine[Any, Any, Reply]:
        """Call ``host:port`` (IPv6 in brackets); raises CallFailed."""
        return self._part(method).call(address, method, message, timeout)

    def stream(self, address: str, method: Method[Request, Reply], message: Request) -> AsyncIterator[Reply]:
        """The messages of a streaming method; raises CallFailed when the stream breaks."""
        return cast("AsyncIterator[Reply]", self._part(method).stream(address, method, message))

    async def close(self) -> None:
        """End servers and connections of both kinds."""
        await self.grpc.close()
        if "web" in self.__dict__:
            await self.web.close()
