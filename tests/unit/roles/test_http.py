"""The HTTP client against real servers on the loopback, good ones and bad ones."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import pytest
from aiohttp import web

from testbed.roles.api import CallFailed
from testbed.roles.http import HttpClient, Limits, Reply

T = TypeVar("T")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


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


def get(script: Script, method: str = "GET", timeout: float = 20.0, **options: object) -> Reply:
    return with_server(script, lambda client, at: client.request(method, at, "/", timeout=timeout), **options)


@pytest.mark.parametrize("piece", [1, 3, 1 << 30])
@pytest.mark.parametrize(("answer", "body"), [
    (OK, b"ok"),
    (b"HTTP/1.1 200 OK\r\ncontent-length:0\r\n\r\n", b""),
    (b"HTTP/1.1 204 No Content\r\nConnection: keep-alive, close\r\n\r\n", b""),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0A;x=y\r\n0123456789\r\n0\r\n\r\n",
     b"abc0123456789"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\nA: b\r\nC: d\r\n\r\n", b""),
    (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + OK, b"ok"),
    (b"HTTP/1.1 200\r\n\r\nuntil the end", b"until the end"),
    (b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold", b"old"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\nX-Content-Length: 9\r\n\r\nok", b"ok"),
])
def test_reads_an_answer_however_it_is_framed_and_cut_up(answer: bytes, body: bytes, piece: int) -> None:
    assert get(Script([answer], piece=piece)).body == body


@pytest.mark.parametrize(("answer", "said"), [
    (b"SSH-2.0-OpenSSH_9.2\r\n", "not HTTP/1"),
    (b"HTTP/2.0 200 OK\r\n\r\n", "not"),
    (b"HTTP/1.1 abc OK\r\n\r\n", "not the beginning"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "not a content length"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "not a content length"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", "not a content length"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokay", "more than its answer"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "in two ways"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "unknown"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "beginning of a chunk"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabcd\r\n", "longer than it says"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP", "more than its answer"),
    (b"HTTP/1.1 101 Switching\r\n\r\n", "switched"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nX: close\r\n\r\ncut", "in the middle"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: close\r\n\r\n5\r\nab", "in the middle"),
])
def test_an_answer_that_is_not_http_is_a_failure_of_the_protocol(answer: bytes, said: str) -> None:
    with pytest.raises(CallFailed, match=said) as failed:
        get(Script([answer]))
    assert failed.value.kind == "protocol"


@pytest.mark.parametrize("answer", [
    b"HTTP/1.1 200 OK\r\nX: " + b"x" * 3000 + b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: " + b"x" * 3000,
    b"HTTP/1.1 200 OK\r\nContent-Length: 2001\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 2001,
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFF\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"100\r\n" + b"x" * 256 + b"\r\n" + b"3e8\r\n" * 9,
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * 9000,
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"T: x\r\n" * 2000,
])
def test_an_answer_beyond_the_limits_is_refused_before_it_is_all_there(answer: bytes) -> None:
    with pytest.raises(CallFailed) as failed:
        get(Script([answer]), limits=Limits(head_bytes=2000, body_bytes=2000))
    assert failed.value.kind == "protocol"


def test_sends_what_it_is_told_to_send() -> None:
    script = Script([OK])
    with_server(script, lambda client, at: client.request("POST", at, "/f?x=1", b"data", {"Accept": "text/plain"}))
    (request,) = script.requests
    head, _, body = request.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /f?x=1 HTTP/1.1" and body == b"data"
    assert lines[1].startswith(b"Host: 127.0.0.1:") and lines[2:] == [b"Accept: text/plain", b"Content-Length: 4"]


@pytest.mark.parametrize(("method", "target", "headers"), [
    ("GET", "/a b", {}), ("GET", "/\r\nX: y", {}), ("GET /", "/", {}), ("GET", "/", {"X": "y\r\nZ: w"}),
])
def test_refuses_to_send_what_would_be_two_requests(method: str, target: str, headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="not a request"):
        with_server(Script([OK]), lambda client, at: client.request(method, at, target, b"", headers))


def test_headers_are_read_whatever_their_case_and_joined_when_they_come_twice() -> None:
    reply = get(Script([b"HTTP/1.1 503 Busy\r\nX-Node: n1\r\nVia: a\r\nvia: b\r\nContent-Length: 0\r\n\r\n"]))
    assert reply.status == 503
    assert reply.headers == {"x-node": "n1", "via": "a, b", "content-length": "0"}


def test_a_head_request_has_no_body_whatever_its_length_says() -> None:
    assert get(Script([b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"]), "HEAD").body == b""


async def many(client: HttpClient, at: str, count: int, method: str = "POST") -> list[Reply]:
    return list(await asyncio.gather(*(client.request(method, at, "/", timeout=20.0) for _ in range(count))))


def test_one_request_after_the_other_travels_on_one_connection() -> None:
    script = Script([OK] * 5)

    async def body(client: HttpClient, at: str) -> None:
        for _ in range(5):
            await client.request("GET", at, "/")

    with_server(script, body)
    assert script.connections == 1


def test_never_opens_more_connections_than_it_may_and_serves_all_in_turn() -> None:
    script = Script([OK] * 40, pause=0.005)
    replies = with_server(script, lambda client, at: many(client, at, 40), connections=4)
    assert [reply.body for reply in replies] == [b"ok"] * 40
    assert script.most_at_a_time == 4 and script.connections == 4


def test_a_connection_that_the_server_closes_is_not_used_again() -> None:
    script = Script([b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"] * 3)

    async def body(client: HttpClient, at: str) -> None:
        for _ in range(3):
            assert (await client.request("POST", at, "/")).body == b"ok"

    with_server(script, body)
    assert script.connections == 3


def test_repeats_a_harmless_request_once_when_an_idle_connection_turns_out_closed() -> None:
    script = Script([OK, None, OK])

    async def body(client: HttpClient, at: str) -> Reply:
        await client.request("GET", at, "/")
        return await client.request("GET", at, "/")

    assert with_server(script, body).body == b"ok"
    assert len(script.requests) == 3


def test_never_invokes_twice_what_may_have_been_done() -> None:
    script = Script([OK, None, OK])

    async def body(client: HttpClient, at: str) -> None:
        await client.request("POST", at, "/")
        with pytest.raises(CallFailed, match="without an answer") as failed:
            await client.request("POST", at, "/")
        assert failed.value.kind == "unreachable"

    with_server(script, body)
    assert len(script.requests) == 2


def test_nobody_listening_is_unreachable() -> None:
    async def body(client: HttpClient, at: str) -> None:
        server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        for _ in range(3):  # a failed connection must not keep its place in the pool
            with pytest.raises(CallFailed) as failed:
                await client.request("GET", f"127.0.0.1:{port}", "/")
            assert failed.value.kind == "unreachable"

    with_server(Script([]), body, connections=1)


def test_a_slow_answer_times_out_and_is_not_taken_for_the_next_ones() -> None:
    script = Script([b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate", OK], pause=0.4)

    async def body(client: HttpClient, at: str) -> Reply:
        with pytest.raises(CallFailed) as failed:
            await client.request("POST", at, "/", timeout=0.1)
        assert failed.value.kind == "timeout"
        return await client.request("POST", at, "/", timeout=20.0)

    assert with_server(script, body, connections=1).body == b"ok"
    assert script.connections == 2


def test_who_gives_up_waiting_in_line_leaves_no_gap() -> None:
    script = Script([OK] * 3, pause=1.0)

    async def body(client: HttpClient, at: str) -> list[object]:
        first = asyncio.create_task(client.request("POST", at, "/", timeout=20.0))
        await asyncio.sleep(0.05)
        impatient = asyncio.create_task(client.request("POST", at, "/", timeout=0.05))
        patient = asyncio.create_task(client.request("POST", at, "/", timeout=20.0))
        return list(await asyncio.gather(first, impatient, patient, return_exceptions=True))

    first, impatient, patient = with_server(script, body, connections=1)
    assert isinstance(first, Reply) and isinstance(patient, Reply) and isinstance(impatient, CallFailed)


@pytest.mark.parametrize("address", ["nowhere", "10.0.0.1:", ":80", "10.0.0.1:x"])
def test_refuses_what_is_no_address(address: str) -> None:
    with pytest.raises(ValueError, match="no address"):
        with_server(Script([]), lambda client, at: client.request("GET", address, "/"))


def test_speaks_ipv6_in_brackets() -> None:
    async def main() -> Reply:
        server = await asyncio.start_server(Script([OK]).serve, "::1", 0)
        client = HttpClient()
        try:
            return await client.request("GET", f"[::1]:{server.sockets[0].getsockname()[1]}", "/")
        finally:
            await client.close()
            server.close()

    assert asyncio.run(main()).body == b"ok"


def test_understands_a_server_of_another_make_with_bodies_of_many_sizes_both_ways() -> None:
    async def echo(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if request.path == "/length":
            return web.Response(body=body)
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        for begin in range(0, len(body), 10_000):
            await response.write(body[begin : begin + 10_000])
        return response

    async def main() -> None:
        application = web.Application(client_max_size=1 << 30)
        application.router.add_post("/{path}", echo)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        client = HttpClient()
        try:
            at = f"127.0.0.1:{runner.addresses[0][1]}"
            for size in (0, 1, 9_999, 70_000, 3_000_000):
                body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
                for path in ("/length", "/chunked"):
                    assert (await client.request("POST", at, path, body)).body == body
        finally:
            await client.close()
            await runner.cleanup()

    asyncio.run(main())
