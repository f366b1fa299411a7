"""A wire that serves on loopback, for as long as a test's story lasts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from testbed.roles.web import WEB, WebReply, WebRequest, told
from testbed.roles.web_reader import WebLimits
from testbed.roles.web_wire import WebWire

T = TypeVar("T")
HOST = "127.7.20.1"
GET = b"GET / HTTP/1.1\r\nhost: h\r\n\r\n"


async def echo(request: WebRequest) -> WebReply:
    """Tells what it was asked."""
    return told(200, {
        "verb": request.verb, "path": request.path, "query": dict(request.query), "headers": list(request.headers),
        "body": request.body.decode("utf-8", "replace"),
    })  # fmt: skip


class Served:
    """A wire, and where it serves."""

    def __init__(self, wire: WebWire, at: str) -> None:
        self.wire, self.at = wire, at
        self.host, _, port = at.rpartition(":")
        self.port, self.url = int(port), f"http://{at}"
        self.complaints: list[dict[str, Any]] = []

    async def call(self, request: WebRequest, timeout: float = 20.0) -> WebReply:
        return await self.wire.call(self.at, WEB, request, timeout)

    async def raw(self, data: bytes, piece: int = 1 << 30) -> bytes:
        """All that comes back for ``data``, to the end of the connection; the caller closes its half."""
        reader, writer = await self.connect()
        for begin in range(0, len(data), piece):
            writer.write(data[begin : begin + piece])
            await asyncio.sleep(0)
        writer.write_eof()
        try:
            return await asyncio.wait_for(reader.read(), 20)
        finally:
            writer.close()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self.host, self.port)


def served(
    story: Callable[[Served], Awaitable[T]],
    handler: Callable[[WebRequest], Awaitable[WebReply]] = echo,
    limits: WebLimits = WebLimits(),  # noqa: B008 - immutable
    **options: Any,
) -> T:
    """What the story gives. What the server complains of is in ``complaints``."""

    async def main() -> T:
        wire = WebWire(limits, **options)
        await wire.serve(HOST, 0, {WEB: handler})
        it = Served(wire, f"{HOST}:{wire.server.ports()[0]}")
        asyncio.get_running_loop().set_exception_handler(lambda _, what: it.complaints.append(what))
        try:
            return await story(it)
        finally:
            await wire.close()

    return asyncio.run(main())


async def curl(*arguments: str) -> bytes:
    """What curl prints."""
    process = await asyncio.create_subprocess_exec(
        "curl", "-sS", "--noproxy", "*", "--max-time", "60", *arguments, stdout=-1, stderr=-1
    )
    out, complaints = await process.communicate()
    assert process.returncode == 0, complaints
    return out


async def reply(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body of the next reply."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
    length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
    return head, await reader.readexactly(length)


async def until(check: Callable[[], T]) -> T:
    """What ``check`` gives, as soon as it is something."""
    deadline = time.monotonic() + 20
    while not (found := check()):
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.005)
    return found
