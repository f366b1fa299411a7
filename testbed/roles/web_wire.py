"""The wire of systems whose interface is plain HTTP: it carries the one method WEB, within reach of ``curl``.

    curl -d hello http://10.0.0.2:8080/function/echo

In the twin, a message has the bytes that it has on a real connection; a request that names no host has one of
middling length.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from functools import cached_property
from typing import Any, TypeVar, cast

from testbed.roles.api import CallFailed, Handler, Method, Service
from testbed.roles.http import HttpClient
from testbed.roles.http_reply import Limits
from testbed.roles.web import WEB, WebReply, WebRequest, said
from testbed.roles.web_reader import WebLimits
from testbed.roles.web_server import Refuser, WebServer
from testbed.roles.web_text import WebText

Request = TypeVar("Request")
Reply = TypeVar("Reply")


class WebWire:
    """The servers of one agent, and its connections to others.

    ``limits`` bound what is taken from others, also in replies; ``connections`` is how many it opens to one address.
    ``refuse`` makes replies, of status and reason, for requests that no handler gets to see. With the contexts,
    servers and connections are TLS. No redirect is followed and no request is repeated: a role that wants to does so
    itself.
    """

    def __init__(
        self,
        limits: WebLimits = WebLimits(),  # noqa: B008 - immutable
        *,
        connections: int = 1024,
        refuse: Refuser = said,
        server_context: ssl.SSLContext | None = None,
        client_context: ssl.SSLContext | None = None,
    ) -> None:
        self._limits, self._connections, self._refuse = limits, connections, refuse
        self._server_context, self._client_context = server_context, client_context
        self._text = WebText()

    @cached_property
    def server(self) -> WebServer:
        """Its servers; those of the twin have none."""
        return WebServer(self._limits, self._text, self._refuse)

    @cached_property
    def _client(self) -> HttpClient:
        limits = Limits(self._limits.head_bytes, self._limits.body_bytes)
        return HttpClient(self._connections, limits, self._client_context)

    def encode(self, message: Any) -> bytes:
        """The bytes of a message as they travel; raises ValueError for what cannot be sent."""
        return self._text.encode(message)

    def decode(self, kind: type[Any], data: bytes) -> Any:
        """The message in these bytes; raises ValueError."""
        return self._text.decode(kind, data)

    def framing(self, method: Method[Any, Any], *, reply: bool) -> int:
        """Nothing travels beside what :meth:`encode` gives."""
        return 0

    async def serve(self, host: str, port: int, service: Service) -> None:
        """Listen on this address only; raises OSError if it is taken."""
        (method,) = service
        if method != WEB:
            raise ValueError(f"this wire carries the method {WEB.name} alone, not {method.name}")
        await self.server.serve(host, port, cast(Handler, service[WEB]), self._server_context)

    async def call(self, address: str, method: Method[Request, Reply], message: Request, timeout: float) -> Reply:
        """The reply of ``host:port`` (IPv6 in brackets), whatever its status; raises CallFailed."""
        request = cast(WebRequest, message)
        head = self._text.begin_request(request, address, len(request.body))
        found = await self._client.exchange(request.verb, address, head, request.body, timeout, sink=request.sink)
        try:
            status, headers = self._text.reply_head(found.head)
        except ValueError as error:
            raise CallFailed("protocol", f"{address}: {error}") from None
        return cast(Reply, WebReply(status, headers, found.body))

    def stream(self, address: str, method: Method[Request, Reply], message: Request) -> AsyncIterator[Reply]:
        """Nothing streams here."""
        raise CallFailed("protocol", f"{method.name} does not stream")

    async def close(self) -> None:
        """End servers and connections."""
        if "server" in self.__dict__:
            await self.server.close()
        if "_client" in self.__dict__:
            await self._client.close()
