"""HTTP/1.1 with JSON bodies: the messages of the service on real connections, within reach of ``curl``.

A method's name is its verb and path. What identifies an invocation stands in the path: ``GET /invocation/17?wait_s=5``.

    curl -d '{"function": "resize", "payload": "x", "wait_s": 10}' http://10.0.0.2:8090/invoke
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from roles.serverless_compute.messages import METHODS, REFUSED, AskStatus, Cancel, Done, Progress, Registered, Result
from roles.serverless_compute.model import FINAL
from testbed.roles.api import CallFailed, Handler, Method, Service
from testbed.roles.http import HttpClient
from testbed.roles.web import WebReply, WebRequest, told
from testbed.roles.web_reader import WebLimits
from testbed.roles.web_server import WebServer
from testbed.roles.web_text import WebText

Request = TypeVar("Request")
Reply = TypeVar("Reply")

CONNECTIONS = 4096  # to one address: each invocation under way holds one
JSON = (("content-type", "application/json"),)
LIMITS = WebLimits(head_bytes=16_384, body_bytes=64_000_000, connections=65_536, idle_s=86_400.0)
STATUS_OF = {
    "bad_input": 400, "not_allowed": 403, "function_not_found": 404, "unknown_invocation": 404,
    "already_registered": 409, "not_a_member": 409, "cannot_admit_now": 503, "service_stopped": 503,
}  # fmt: skip
_ADAPTERS = [(kind, TypeAdapter(kind)) for method in METHODS for kind in (method.request, method.reply)]
_WRITE = {kind: adapter.serializer.to_json for kind, adapter in _ADAPTERS}  # without a detour: the twin does it, too
_READ = {kind: adapter.validator.validate_json for kind, adapter in _ADAPTERS}
_TARGET = re.compile(r"(-?\d{1,18})(?:\?wait_s=(\d{1,9}(?:\.\d{1,9})?))?$")
_FINAL = frozenset(str(each) for each in FINAL)


class HttpWire:
    """One agent's servers and its connections."""

    def __init__(self) -> None:
        self._client: HttpClient | None = None
        self._server: WebServer | None = None

    def encode(self, message: Any) -> bytes:
        """What of a message travels in the body, or at the end of the path."""
        kind = type(message)
        if kind is Result:
            return f"{message.invocation}?wait_s={message.wait_s:.9f}".encode()
        if kind is Cancel:
            return b"%d" % message.invocation
        return _WRITE[kind](message, exclude_defaults=True)

    def decode(self, kind: type[Any], data: bytes) -> Any:
        """The message of type ``kind`` in these bytes; raises ValueError where there is none."""
        if kind is Result or kind is Cancel:
            found = _TARGET.match(data.decode("ascii", "replace"))
            if found is None:
                raise ValueError("expected /invocation/NUMBER, with ?wait_s=SECONDS behind it to wait for the end")
            number = int(found[1])
            return Cancel(number) if kind is Cancel else Result(number, float(found[2] or 0))
        if kind is AskStatus:
            return AskStatus()
        return _READ[kind](data)

    def framing(self, method: Method[Any, Any], *, reply: bool) -> int:
        """Bytes of the HTTP head around one message, on a connection in use, with an address of middling length."""
        if reply:
            return len(WebText().begin_reply(WebReply(200, JSON), 100))
        length = "Content-Length: 100\r\n" if method.name.startswith("POST") else ""
        return len(f"{method.name} HTTP/1.1\r\nHost: 10.0.0.10:8090\r\n{length}\r\n")

    async def serve(self, host: str, port: int, service: Service) -> None:
        """Listen on this address only; raises OSError if it is taken."""
        if self._server is None:
            self._server = WebServer(LIMITS, WebText(), refused)
        await self._server.serve(host, port, Router(self, service).answer)

    async def call(self, address: str, method: Method[Request, Reply], message: Request, timeout: float) -> Reply:
        """Call ``host:port``; raises CallFailed. Refusals and failures that the service tells are replies."""
        if self._client is None:
            self._client = HttpClient(CONNECTIONS)
        verb, _, path = method.name.partition(" ")
        data = self.encode(message)
        target, body = (path, data) if verb == "POST" else (path + data.decode(), b"")
        if method.request is AskStatus:
            target = path
        answer = await self._client.request(verb, address, target, body, timeout=timeout)
        try:
            reply: Reply = self.decode(method.reply, answer.body)
        except ValueError:
            said = answer.body[:200].decode("utf-8", "replace")
            raise CallFailed("protocol", f"{address} answered {answer.status} to {verb} {path}: {said}") from None
        return reply

    def stream(self, address: str, method: Method[Request, Reply], message: Request) -> AsyncIterator[Reply]:
        """Nothing streams here."""
        raise CallFailed("protocol", f"{method.name} does not stream")

    async def close(self) -> None:
        """End servers and connections."""
        if self._server is not None:
            await self._server.close()
        if self._client is not None:
            await self._client.close()


class Router:
    """Finds the handler of a request."""

    def __init__(self, wire: HttpWire, service: Service) -> None:
        self._wire = wire
        self._exact: dict[str, tuple[Method[Any, Any], Any]] = {}
        self._prefixed: dict[str, tuple[Method[Any, Any], Any]] = {}
        for method, handler in service.items():
            (self._prefixed if method.name.endswith("/") else self._exact)[method.name] = (method, handler)

    async def answer(self, request: WebRequest) -> WebReply:
        """The reply to one request."""
        verb, target, body = request.verb, request.target, request.body
        found = self._exact.get(f"{verb} {target}")
        if found is None:
            path, slash, rest = target[1:].partition("/")
            found, body = self._prefixed.get(f"{verb} /{path}{slash}"), rest.encode()
        if found is None:
            served = ", ".join(sorted(each.name for each, _ in (*self._exact.values(), *self._prefixed.values())))
            return refused(HTTPStatus.NOT_FOUND, f"{verb} {target[:100]} is not served here; {served} are")
        return await self._handled(*found, body)

    async def _handled(self, method: Method[Any, Any], handler: Handler, body: bytes) -> WebReply:
        try:
            request = self._wire.decode(method.request, body)
        except ValidationError as error:
            return refused(HTTPStatus.BAD_REQUEST, _sentence(error))
        except ValueError as error:
            return refused(HTTPStatus.BAD_REQUEST, str(error))
        reply = await handler(request)
        return WebReply(status_of(reply), JSON, self._wire.encode(reply))


def refused(status: int, text: str) -> WebReply:
    """A reply that tells an error of the request itself."""
    return told(status, {"error": text})


def status_of(reply: Any) -> int:
    """The HTTP status that goes with a reply: 202 for an invocation that has not ended, 4xx and 5xx for refusals."""
    if isinstance(reply, Progress):
        if reply.state == REFUSED:
            return STATUS_OF.get(reply.cause, 500)
        return HTTPStatus.OK if reply.state in _FINAL else HTTPStatus.ACCEPTED
    if isinstance(reply, Registered | Done):
        return STATUS_OF.get(reply.cause, 500) if reply.cause else HTTPStatus.OK
    return HTTPStatus.OK


def _sentence(error: ValidationError) -> str:
    """All that is wrong with a body, in one line."""
    parts = []
    for each in error.errors(include_url=False, include_input=False, include_context=False)[:5]:
        where = ".".join(str(part) for part in each["loc"])
        parts.append(f"{where}: {each['msg']}" if where else each["msg"])
    return "; ".join(parts)
