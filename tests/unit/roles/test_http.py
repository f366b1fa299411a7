"""The HTTP client against real servers on the loopback, good ones and bad ones."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from http_script import Script, with_server

from testbed.roles.api import CallFailed
from testbed.roles.http import HttpClient, Limits, Reply

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def get(script: Script, method: str = "GET", timeout: float = 20.0, **options: object) -> Reply:
    return with_server(script, lambda client, at: client.request(method, at, "/", timeout=timeout), **options)


ANSWERS = pytest.mark.parametrize(("answer", "body"), [
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


@pytest.mark.parametrize("piece", [1, 3, 1 << 30])
@ANSWERS
def test_reads_an_answer_however_it_is_framed_and_cut_up(answer: bytes, body: bytes, piece: int) -> None:
    assert get(Script([answer], piece=piece)).body == body


def poured(answer: bytes, **options: object) -> tuple[Reply, list[bytes]]:
    """The reply, and what a sink got of it."""
    taken: list[bytes] = []
    head = b"GET / HTTP/1.1\r\n\r\n"
    return with_server(
        Script([answer], piece=3), lambda client, at: client.exchange("GET", at, head, b"", 20.0, sink=taken.append),
        **options,
    ), taken  # fmt: skip


@ANSWERS
def test_a_sink_gets_the_body_of_a_good_answer_as_it_comes_and_of_no_other(answer: bytes, body: bytes) -> None:
    reply, taken = poured(answer)
    assert (b"".join(taken), reply.body) == (body, b"")
    assert all(len(each) < 10 for each in taken)
    reply, taken = poured(answer.replace(b" 200", b" 404"))
    assert (taken, reply.body) == ([], body)


def test_a_sink_gets_no_more_than_the_limits_allow() -> None:
    with pytest.raises(CallFailed, match="longer than 4 bytes"):
        poured(b"HTTP/1.1 200\r\n\r\nuntil the end", limits=Limits(body_bytes=4))


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
