"""Where requests come in: what is no request or too much is refused, and whatever goes wrong is told in words."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from roles.serverless_on_edge import parts
from roles.serverless_on_edge.limits import MOST_BYTES_HELD, MOST_CALLS, Refused
from testbed.roles.api import Handler, Method, StreamHandler

log = logging.getLogger(__name__)


class Counter:
    """Takes the requests of one server, and counts those that its agent works on.

    A server goes on with its work when its caller gives up, as the original does and as the twin does: gRPC counts such
    calls no more, so they are counted here.
    """

    def __init__(self, decode: Callable[[type[Any], bytes], Any], encode: Callable[[Any], bytes]) -> None:
        self._decode, self._encode = decode, encode
        self._calls = self._bytes = 0
        self._inner: dict[str, parts.Inner] = {}

    def handler(self, method: Method[Any, Any], handler: Any) -> grpc.RpcMethodHandler:
        """What gRPC is given for a method; it gets and gives bytes."""
        self._inner[method.name] = parts.inner(method.request)
        if method.streams:
            return grpc.unary_stream_rpc_method_handler(self._streaming(method, handler))
        return grpc.unary_unary_rpc_method_handler(self._answering(method, handler))

    def _answering(self, method: Method[Any, Any], handler: Handler) -> Any:
        async def answer(data: bytes, context: Any) -> bytes:
            request = await self._understood(method, data, context)
            try:
                return self._encode(await asyncio.shield(self._begin(handler(request), method, len(data))))
            except Exception as error:
                await _tell(context, error)
                raise

        return answer

    def _streaming(self, method: Method[Any, Any], handler: StreamHandler) -> Any:
        async def answer(data: bytes, context: Any) -> AsyncIterator[bytes]:
            request = await self._understood(method, data, context)
            self._calls += 1
            try:
                async for message in handler(request):
                    yield self._encode(message)
            except Exception as error:
                log.exception("%s failed", method.name)
                await _tell(context, error)
                raise
            finally:
                self._calls -= 1

        return answer

    def _begin(self, work: Any, method: Method[Any, Any], size: int) -> asyncio.Task[Any]:
        self._calls += 1
        self._bytes += size
        task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(work)

        def ended(task: asyncio.Task[Any]) -> None:
            self._calls -= 1
            self._bytes -= size
            error = None if task.cancelled() else task.exception()
            if error is not None and not isinstance(error, Refused):
                log.error("%s failed", method.name, exc_info=error)

        task.add_done_callback(ended)
        return task

    async def _understood(self, method: Method[Any, Any], data: bytes, context: Any) -> Any:
        """The request; a caller whose bytes are none, or too many, is told so."""
        try:
            parts.check(self._inner[method.name], data)
            request = self._decode(method.request, data)
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        if why := self._full(len(data)):
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, why)
        return request

    def _full(self, size: int) -> str:
        if self._calls >= MOST_CALLS:
            return f"{MOST_CALLS} calls are under way here, those included whose callers have given up"
        if self._bytes + size > MOST_BYTES_HELD:
            return f"the calls under way here hold {self._bytes} bytes; the most is {MOST_BYTES_HELD}"
        return ""


async def _tell(context: Any, error: Exception) -> None:
    if isinstance(error, Refused):
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
    await context.abort(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}"[:500])
