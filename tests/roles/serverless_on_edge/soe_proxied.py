"""A proxy in virtual time before an edge that answers as a test says, and short ways to ask it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from soe_world import World

from roles.openwhisk.auth import PUBLIC, header
from roles.serverless_on_edge.messages import OK, RUN_LAMBDA, LambdaRequest, LambdaResponse
from testbed.roles.web import WebReply, WebRequest

GUEST = PUBLIC["guest"]
ROUTER = "10.0.0.1:6473"
Answer = Callable[[LambdaRequest], Awaitable[LambdaResponse]]


async def echo(request: LambdaRequest) -> LambdaResponse:
    """The answer of a computer that carries whole results."""
    await asyncio.sleep(0.03)
    result = json.dumps({"name": request.name, "args": json.loads(request.input)}).encode()
    return LambdaResponse(OK, "", "10.0.0.2:10000", 30, result, hops=request.hops + 2, init_us=10_000, exec_us=20_000)


class Proxied:
    """A proxy on h0 whose edge answers with ``answer``."""

    def __init__(self, answer: Answer = echo, **options: Any) -> None:
        self.world = World().place(wskproxy="h0", router="h1")
        self.requests: list[LambdaRequest] = []
        self._answer, self._options = answer, options
        self.role: Any

    async def _taken(self, request: LambdaRequest) -> LambdaResponse:
        self.requests.append(request)
        return await self._answer(request)

    def run(self, story: Callable[[Proxied], Awaitable[Any]]) -> Any:
        """Start the proxy and tell a story."""

        async def whole() -> Any:
            self.world.services[ROUTER] = {RUN_LAMBDA: self._taken}
            self.role = await self.world.start("wskproxy", "h0", **self._options)
            return await story(self)

        return self.world.run(whole())

    async def ask(
        self, verb: str, path: str, body: Any = None, *, raw: bytes = b"", key: str = "", **headers: str
    ) -> WebReply:
        """An answer; ``path`` is below /api/v1/namespaces/ unless it begins with a slash."""
        data = raw if body is None else json.dumps(body).encode()
        given = (("authorization", header(key)),) if key else ()
        more = ({"content_type": "application/json"} if data else {}) | headers
        given += tuple((name.replace("_", "-"), value) for name, value in more.items())
        target = path if path.startswith("/") else f"/api/v1/namespaces/{path}"
        reply: WebReply = await self.role.answer(WebRequest(verb, target, given, data))
        return reply

    async def invoke(self, name: str, query: str = "blocking=true", **args: Any) -> tuple[int, Any]:
        """Status and data of an invocation in the namespace ``_``."""
        reply = await self.ask("POST", f"_/actions/{name}?{query}", args)
        return reply.status, json.loads(reply.content)

    async def sleep(self, seconds: float) -> None:
        """Let virtual time pass."""
        await asyncio.sleep(seconds)


def data_of(reply: WebReply) -> Any:
    """The JSON in an answer."""
    return json.loads(reply.content)


def noted(record: Any) -> dict[str, Any]:
    """The annotations of a record."""
    return {each["key"]: each["value"] for each in record["annotations"]}
