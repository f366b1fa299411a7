"""Asks a gateway with bytes that no client would send: ``python so_raw.py HOST PORT``. What is amiss goes to stdout."""

from __future__ import annotations

import asyncio
import sys

CALL = b"POST /function/note HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n%s\r\n"
COMMAND = b"POST /function/session-offloading-manager?command=%s HTTP/1.1\r\nhost: x\r\n%s\r\n"
TABLE: tuple[tuple[bytes, tuple[int, ...]], ...] = (
    (CALL % b"", (400,)),
    (CALL % b"x-session:\r\n", (400,)),
    (CALL % b"x-session:   \t\r\n", (400,)),
    (CALL % (b"x-session: " + b"s" * 1025 + b"\r\n"), (400,)),
    (CALL % (b"x-session: " + b"s" * 1_000_000 + b"\r\n"), (400, 413, 431)),
    (CALL % b"x-session: a\0b\r\n", (400,)),
    (CALL % b"x-session: a\rb\r\n", (400,)),
    (CALL % b"x-session\r\n", (400,)),
    (CALL % b"x-session : s\r\n", (400,)),
    (CALL % b"X-SESSION: s\r\n", (200,)),
    (CALL % b"x-session: \xff\xfe\r\n", (200, 400)),
    (CALL % b"x-session: s\r\nx-session: t\r\n", (200, 400)),
    (COMMAND % (b"offload-session", b"content-length: 3\r\n") + b"\xff\xfe\xfd", (400,)),
    (COMMAND % (b"offload-session", b"content-length: 900000000\r\n"), (400, 413)),
    (COMMAND % (b"test-function&session=%ff", b"content-length: 0\r\n"), (400,)),
    (COMMAND % (b"%00", b"content-length: 0\r\n"), (404,)),
    (COMMAND % (b"migrate-session&session=s", b"content-length: 0\r\nx-session-move: \xff\r\n"), (200, 400)),
    (b"GET /function/session-offloading-manager?command=metrics HTTP/1.0\r\n\r\n", (200,)),
    (b"DELETE / HTTP/1.1\r\nhost: x\r\n\r\n", (404,)),
    (b"nonsense\r\n\r\n", (400,)),
)


async def status_of(host: str, port: int, request: bytes) -> int:
    """The status of the answer; 0 if there was none."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(request)
        line = await asyncio.wait_for(reader.readline(), 20)
        return int(line.split()[1]) if line else 0
    except (ConnectionError, TimeoutError):
        return 0
    finally:
        writer.close()


async def main(host: str, port: int) -> int:
    """How many answers were wrong."""
    wrong = 0
    for request, statuses in TABLE:
        status = await status_of(host, port, request)
        if status not in statuses:
            wrong += 1
            print(f"{request[:120]!r}: {status}, not one of {statuses}")
    return wrong


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1], int(sys.argv[2]))))
