"""Other people's clients at the server, and the wire's own client with large messages, refusals and TLS."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import shutil
import ssl
import subprocess
import tracemalloc
from pathlib import Path

import aiohttp
import pytest
from web_served import GET, Served, curl, served

from testbed.roles.api import CallFailed
from testbed.roles.http import HttpClient, Limits
from testbed.roles.web import WebReply, WebRequest, said, told
from testbed.roles.web_reader import WebLimits

MB = 1_000_000


def needs(*programs: str) -> pytest.MarkDecorator:
    missing = [name for name in programs if shutil.which(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


async def shop(request: WebRequest) -> WebReply:
    """Counts, gives a lot, and sends elsewhere."""
    if request.path == "/count":
        return told(200, {"verb": request.verb, "bytes": len(request.body), "auth": request.header("authorization")})
    if request.path == "/big":
        return WebReply(200, (), (b"x" * MB,) * int(request.query["mb"]))
    if request.path == "/away":
        return said(307, "there", ("location", request.query["to"]), ("set-cookie", "a=1"), ("set-cookie", "b=2"))
    return said(404, "nothing of that name\n")


@needs("curl")
def test_curl_uses_one_connection_for_all_and_reads_what_it_should(tmp_path: Path) -> None:
    file = tmp_path / "upload"
    file.write_bytes(b"y" * 5 * MB)

    async def story(at: Served) -> None:
        counting = f"{at.url}/count"
        out = await curl(counting, counting, "-w", "|%{num_connects}|", "-s")
        assert re.findall(rb"\|(\d)\|", out) == [b"1", b"0"]
        for arguments in (
            ("-d", "@" + str(file)), ("-T", str(file)), ("-T", str(file), "-H", "Transfer-Encoding: chunked"),
            ("-T", str(file), "-H", "Expect:"), ("-T", str(file), "--expect100-timeout", "20"), ("-0", "-T", str(file)),
        ):  # fmt: skip
            assert json.loads(await curl(*arguments, counting))["bytes"] == 5 * MB
        assert len(await curl(f"{at.url}/big?mb=60")) == 60 * MB
        assert (await curl("-I", f"{at.url}/big?mb=2")).startswith(b"HTTP/1.1 200 OK\r\ncontent-length: 2000000\r\n")
        assert (await curl("-X", "PURGE", "-w", "%{http_code}", f"{at.url}/n%C3%BC")).endswith(b"name\n404")

    served(story, shop)


@needs("curl")
def test_curl_follows_a_307_with_verb_body_and_trusted_headers() -> None:
    async def story(at: Served) -> None:
        there = f"http://localhost:1/count?{at.url}"
        first = await curl("-i", "-d", "hello", f"{at.url}/away?to={there}")
        assert b"HTTP/1.1 307 Temporary Redirect\r\n" in first and b"\r\nlocation: " + there.encode() in first
        path = f"{at.url}/away?to=/count"
        followed = ("-L", "--location-trusted", "-u", "me:word", "-d", "hello")
        assert json.loads(await curl(*followed, path)) == {"verb": "POST", "bytes": 5, "auth": "Basic bWU6d29yZA=="}

    served(story, shop)


def test_the_client_of_aiohttp_finds_what_it_expects() -> None:
    async def story(at: Served) -> None:
        async with aiohttp.ClientSession(at.url) as session:
            async def parts():  # type: ignore[no-untyped-def]
                for _ in range(10):
                    yield b"z" * 1000

            async with session.post("/count", data=parts()) as answer:  # in chunks
                assert (await answer.json())["bytes"] == 10_000
            async with session.put("/count", data=b"y" * MB, expect100=True) as answer:
                assert (await answer.json())["bytes"] == MB
            async with session.get("/big?mb=20") as answer:
                assert len(await answer.read()) == 20 * MB
            async with session.get("/away?to=/count", allow_redirects=False) as answer:
                assert answer.status == 307 and answer.headers.getall("set-cookie") == ["a=1", "b=2"]
            async with session.post("/away?to=/count", data=b"kept") as answer:
                assert (answer.status, (await answer.json())["bytes"]) == (200, 4)
            answers = await asyncio.gather(*(session.get("/nothing") for _ in range(50)))
            assert [each.status for each in answers] == [404] * 50

    served(story, shop)


def test_the_client_of_the_standard_library_finds_what_it_expects() -> None:
    def speak(at: Served) -> None:
        connection = http.client.HTTPConnection(at.host, at.port, timeout=20)
        for body in (b"hello", iter([b"he", b"", b"llo"])):  # the second in chunks
            connection.request("POST", "/count", body, encode_chunked=True)
            assert json.loads(connection.getresponse().read())["bytes"] == 5
        connection.request("HEAD", "/big?mb=1")
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("content-length"), answer.read()) == (200, "1000000", b"")
        connection.request("GET", "/big?mb=1")
        assert len(connection.getresponse().read()) == MB
        connection.close()

    served(lambda at: asyncio.to_thread(speak, at), shop)


@needs("wrk")
def test_wrk_sees_no_error_on_many_connections() -> None:
    def load(at: Served) -> str:
        command = ["wrk", "-t1", "-c50", "-d1s", f"{at.url}/count"]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout

    out = served(lambda at: asyncio.to_thread(load, at), shop)
    assert "Socket errors" not in out and "Non-2xx" not in out
    assert int(re.findall(r"(\d+) requests in", out)[0]) > 50


def test_a_large_reply_of_parts_is_never_joined() -> None:
    part = b"x" * MB
    reply = WebReply(200, (), (part,) * 100)

    async def handler(request: WebRequest) -> WebReply:
        return reply

    async def story(at: Served) -> None:
        reader, writer = await at.connect()
        writer.write(GET)
        await reader.readuntil(b"\r\n\r\n")
        tracemalloc.start()
        for _ in range(100):
            await reader.readexactly(MB)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        writer.close()
        assert most < 20 * MB

    served(story, handler)


def test_a_large_message_is_held_once_by_whoever_reads_it() -> None:
    sizes: list[int] = []

    async def handler(request: WebRequest) -> WebReply:
        sizes.append(len(request.body))
        return WebReply(200, (), (b"x" * MB,) * 60)

    async def story(at: Served) -> None:
        body = b"y" * 60 * MB
        tracemalloc.start()
        answer = await at.call(WebRequest("PUT", "/", body=body), 60)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert sizes == [60 * MB] and len(answer.content) == 60 * MB
        assert most < 1.5 * 2 * 60 * MB  # the request at the server, and then the reply at the client

    served(story, handler)


def test_the_client_sends_bodies_of_parts_and_does_not_follow_redirects() -> None:
    async def story(at: Served) -> None:
        client = HttpClient()
        for parts in ([], [b"a", b"", b"bc"], [b"x" * MB] * 30):
            answer = await client.request("POST", at.at, "/count", parts, timeout=20)
            assert json.loads(answer.body)["bytes"] == sum(map(len, parts))
        away = await at.call(WebRequest("POST", "/away?to=/count", body=b"hello"))
        assert (away.status, away.header("location"), away.header("set-cookie")) == (307, "/count", "a=1, b=2")
        assert away.headers[-2:] == (("set-cookie", "a=1"), ("set-cookie", "b=2"))
        await client.close()

    served(story, shop)


def test_limits_of_bodies_are_kept_at_both_ends() -> None:
    async def story(at: Served) -> None:
        refused = await at.call(WebRequest("PUT", "/count", body=b"x" * 3 * MB))
        assert (refused.status, refused.text) == (413, "a body has at most 2000000 bytes")
        with pytest.raises(CallFailed, match="protocol: the answer is longer than 2000000 bytes"):
            await at.call(WebRequest("GET", "/big?mb=3"))
        assert (await at.call(WebRequest("GET", "/big?mb=2"))).status == 200
        patient = HttpClient(limits=Limits(body_bytes=100 * MB))
        assert len((await patient.request("GET", at.at, "/big?mb=90", timeout=20)).body) == 90 * MB
        await patient.close()

    served(story, shop, WebLimits(body_bytes=2 * MB))


def test_calls_that_fail_say_how() -> None:
    async def slow(request: WebRequest) -> WebReply:
        await asyncio.sleep(30)
        return said(200, "")

    async def story(at: Served) -> None:
        with pytest.raises(CallFailed, match=r"timeout: no answer from .* within 0.05 s"):
            await at.call(WebRequest("GET", "/"), 0.05)
        with pytest.raises(CallFailed, match="timeout"):  # in the middle of a body that nobody reads further
            await at.call(WebRequest("PUT", "/", body=b"x" * 50 * MB), 0.05)
        waiting = asyncio.ensure_future(at.call(WebRequest("GET", "/")))
        await asyncio.sleep(0.05)
        await at.wire.server.close()
        with pytest.raises(CallFailed, match="unreachable"):
            await waiting
        with pytest.raises(CallFailed, match="unreachable"):
            await at.call(WebRequest("GET", "/"))

    served(story, slow)


def certificate(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Contexts of a server and of a client that trusts it."""
    key, cert = str(folder / "key.pem"), str(folder / "cert.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2",
         "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.7.20.1"], check=True, capture_output=True,
    )  # fmt: skip
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert, key)
    return server, ssl.create_default_context(cafile=cert)


@needs("openssl", "curl")
def test_the_same_over_tls(tmp_path: Path) -> None:
    server, client = certificate(tmp_path)

    async def story(at: Served) -> None:
        assert (await at.call(WebRequest("PUT", "/count", body=b"y" * 3 * MB))).text.startswith('{"verb":"PUT"')
        assert len((await at.call(WebRequest("GET", "/big?mb=5"))).content) == 5 * MB
        url = at.url.replace("http:", "https:")
        assert len(await curl("--cacert", str(tmp_path / "cert.pem"), f"{url}/big?mb=5")) == 5 * MB
        stranger = HttpClient(context=ssl.create_default_context())
        with pytest.raises(CallFailed, match=r"unreachable: .*certificate"):
            await stranger.request("GET", at.at, "/count")
        await stranger.close()

    served(story, shop, server_context=server, client_context=client)
