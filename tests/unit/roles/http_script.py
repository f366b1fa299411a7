"""A server that follows a script, and the client under test at its door."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from testbed.roles.http import HttpClient

T = TypeVar("T")


class Script:
    """A server that reads whole requests and plays one answer after the other; None closes the connection instead."""

    def __init__(self, answers: Sequence[bytes | None], pause: float = 0.0, piece: int = 1 << 30) -> None:
        self.answers, self.pause, self.piece = list(answers), pause, piece
        self.requests: list[bytes] = []
        self.connections = self.at_a_time = self.most_at_a_time = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.at_a_time += 1
        self.most_at_a_time = max(self.most_at_a_time, self.at_a_time)
        try:
            while self.answers:
                await self._one(reader, writer)
        except (EOFError, ConnectionError, _Close):
            pass
        finally:
            self.at_a_time -= 1
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        self.requests.append(head + await reader.readexactly(int(length[1]) if length else 0))
        await asyncio.sleep(self.pause)
        answer = self.answers.pop(0)
        if answer is None:
            raise _Close
        for begin in range(0, len(answer), self.piece):
            writer.write(answer[begin : begin + self.piece])
            await writer.drain()
            await asyncio.sleep(0)
        if b"close" in answer.lower() or not any(word in answer for word in (b"ength", b"hunked")):
            raise _Close


class _Close(Exception):
    pass


def with_server(script: Script, body: Callable[[HttpClient, str], Awaitable[T]], **options: object) -> T:
    async def main() -> T:
        server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
        client = HttpClient(**options)  # type: ignore[arg-type]
        try:
            return await body(client, f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        finally:
            await client.close()
            server.close()

    return asyncio.run(main())
