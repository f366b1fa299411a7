"""How disks speak with each other: names, lines and bytes over one TCP connection a file."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

from testbed.roles.api import CallFailed

LONGEST_NAME, LONGEST_LINE = 240, 300
LARGEST_PIECE = 1 << 18
ZEROS = memoryview(bytes(LARGEST_PIECE))
VANISHED_S = 300.0  # after which a fetcher that takes nothing more, without closing its connection, is given up


def fits(name: str) -> bool:
    """Whether a file can have this name."""
    return 0 < len(quote(name, safe="")) <= LONGEST_NAME


def encoded(name: str) -> str:
    """The name as it travels and as the file is called: no slash, no dot in front, no letter beyond ASCII."""
    if not fits(name):
        raise ValueError(f"A file's name has 1 to {LONGEST_NAME} bytes in percent-encoding; {name[:40]!r} has not.")
    text = quote(name, safe="")
    return "%2E" + text[1:] if text.startswith(".") else text


def family(host: str) -> socket.AddressFamily:
    """Of this numeric address."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


async def connect(address: str, patience: float) -> socket.socket:
    """A connection to ``host:port``, which does not block."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    connection = socket.socket(family(host))
    try:
        connection.setblocking(False)
        async with asyncio.timeout(patience):
            await asyncio.get_running_loop().sock_connect(connection, (host, int(port)))
    except BaseException:
        connection.close()
        raise
    return connection


async def say(connection: socket.socket, line: str) -> None:
    """Send a line."""
    await asyncio.get_running_loop().sock_sendall(connection, line.encode() + b"\n")


async def line(connection: socket.socket) -> str:
    """The next line; read byte by byte, since what follows it is not text."""
    loop, line = asyncio.get_running_loop(), bytearray()
    while len(line) <= LONGEST_LINE:
        byte = await loop.sock_recv(connection, 1)
        if not byte:
            raise ConnectionResetError("the connection ended without an answer")
        if byte == b"\n":
            return line.decode("ascii", "replace")
        line += byte
    raise CallFailed("protocol", "the answer is not that of a disk")


def promised(answer: str) -> int:
    """The size in the answer to a request; raises CallFailed where there is none."""
    word, _, rest = answer.partition(" ")
    if word == "ok" and rest.isdecimal():
        return int(rest)
    raise CallFailed("protocol", "there is no such file" if word == "absent" else "the answer is not that of a disk")


def hole(file: int, offset: int, count: int) -> bool:
    """Whether there is nothing but a hole in this part of a file: reading it would only fill the machine's cache."""
    try:
        return os.lseek(file, offset, os.SEEK_DATA) >= offset + count
    except OSError:  # no data up to the end
        return True


async def send(connection: socket.socket, file: int, offset: int, count: int) -> None:
    """Send a part of a file, of at most ``LARGEST_PIECE`` bytes."""
    end, zeros = offset + count, hole(file, offset, count)
    while offset < end:
        try:
            if zeros:
                sent = connection.send(ZEROS[: end - offset])
            else:
                sent = os.sendfile(connection.fileno(), file, offset, end - offset)
        except BlockingIOError:
            await _writable(connection)
            continue
        if not sent:
            raise EOFError("the file became shorter while it was sent")
        offset += sent


async def _writable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_writer(connection, _settle, ready)
    try:
        async with asyncio.timeout(VANISHED_S):
            await ready
    finally:
        loop.remove_writer(connection)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def write(file: int, data: memoryview) -> None:
    """Append all of ``data`` to the file."""
    while data:
        data = data[os.write(file, data) :]


@contextmanager
def told(address: str, name: str, patience: float) -> Iterator[None]:
    """Turn what can go wrong with a fetch into CallFailed."""
    what = f"fetching {name} from {address}: "
    try:
        yield
    except CallFailed as error:
        raise CallFailed(error.kind, what + error.detail) from error
    except TimeoutError as error:
        raise CallFailed("timeout", f"{what}nothing came for {patience:g} s") from error
    except OSError as error:
        raise CallFailed("unreachable", what + (os.strerror(error.errno) if error.errno else str(error))) from error
