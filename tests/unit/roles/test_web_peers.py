"""Peers that are slow, many or too many: the server waits with patience and within bounds, and others never wait."""

from __future__ import annotations

import asyncio
import resource
import socket
import struct
import time

import pytest
from test_web_server import CHUNKED, MALFORMED, UPLOAD
from web_served import GET, Served, reply, served, until

from testbed.roles.web import WebReply, WebRequest, said
from testbed.roles.web_reader import WebLimits
from testbed.roles.web_server import READ_AHEAD


def test_what_a_peer_sends_ahead_is_held_within_bounds() -> None:
    go_on = asyncio.Event()

    async def slow(request: WebRequest) -> WebReply:
        await go_on.wait()
        return said(200, "ok")

    async def story(at: Served) -> None:
        reader, writer = await at.connect()
        writer.write(GET * 1_000_000)
        (connection,) = await until(lambda: at.wire.server.open)
        await until(lambda: not connection._transport.is_reading())
        assert connection._reader.ahead <= 3 * READ_AHEAD
        go_on.set()
        await reply(reader)
        writer.transport.abort()

    served(story, slow)


@pytest.mark.parametrize("half", [b"POST / HT", UPLOAD[:-2], CHUNKED + b"3\r\nab", CHUNKED])
def test_a_peer_that_stops_in_the_middle_is_told_and_left(half: bytes) -> None:
    async def story(at: Served) -> None:
        reader, writer = await at.connect()
        writer.write(half)
        assert b"HTTP/1.1 408 Request Timeout" in (await reply(reader))[0]
        assert await asyncio.wait_for(reader.read(), 20) == b""
        writer.close()

    served(story, limits=WebLimits(patience_s=0.2))


def test_a_head_that_drips_is_not_waited_for_for_ever_but_a_body_that_grows_is() -> None:
    async def drip(at: Served, data: bytes, pause: float) -> bytes:
        reader, writer = await at.connect()
        answer = asyncio.ensure_future(reader.read(15))
        for byte in data:
            if answer.done():
                break
            writer.write(bytes([byte]))
            await asyncio.sleep(pause)
        writer.write(data[len(data) :])
        found = await asyncio.wait_for(answer, 20)
        writer.transport.abort()
        return found

    async def story(at: Served) -> None:
        upload = UPLOAD.replace(b": 5", b": 45").replace(b"hello", b"y" * 45)
        begun, rest = upload[:-45], upload[-45:]
        reader, writer = await at.connect()
        writer.write(begun)
        for byte in rest:  # for longer than its patience in all
            writer.write(bytes([byte]))
            await asyncio.sleep(0.02)
        assert b"HTTP/1.1 200" in (await reply(reader))[0]
        writer.close()
        assert b"408" in await drip(at, GET.replace(b"h\r\n", b"h" * 200), 0.02)

    served(story, limits=WebLimits(patience_s=0.6))


def test_an_idle_connection_is_closed_without_a_word() -> None:
    async def story(at: Served) -> None:
        reader, writer = await at.connect()
        writer.write(GET)
        await reply(reader)
        assert await asyncio.wait_for(reader.read(), 20) == b""
        writer.close()

    served(story, limits=WebLimits(idle_s=0.2))


def test_a_handler_may_take_longer_than_a_peer() -> None:
    async def slow(request: WebRequest) -> WebReply:
        await asyncio.sleep(0.5)
        return said(200, "at last")

    limits = WebLimits(patience_s=0.1, idle_s=0.1)
    assert served(lambda at: at.call(WebRequest("GET", "/")), slow, limits).text == "at last"


def test_peers_that_do_not_read_do_not_hold_up_others_and_are_left() -> None:
    big = WebReply(200, (), (b"x" * 1_000_000,) * 30)

    async def handler(request: WebRequest) -> WebReply:
        return big if request.path == "/big" else said(200, "quick")

    async def story(at: Served) -> None:
        lazy = [await at.connect() for _ in range(20)]
        for reader, writer in lazy:
            reader._transport.pause_reading()
            writer.write(GET.replace(b"GET / ", b"GET /big "))
        await until(lambda: len([each for each in at.wire.server.open if each._full is not None]) == 20)
        begun = time.monotonic()
        for _ in range(50):
            assert (await at.call(WebRequest("GET", "/"))).text == "quick"
        assert time.monotonic() - begun < 5
        assert all(each._transport is None or each._transport.get_write_buffer_size() < 1 << 20
                   for each in at.wire.server.open)  # fmt: skip
        await until(lambda: len(at.wire.server.open) <= 1)  # given up
        for _, writer in lazy:
            writer.transport.abort()

    served(story, handler, WebLimits(patience_s=1.0))


def test_too_many_connections_are_refused_and_there_is_room_again_later() -> None:
    async def story(at: Served) -> None:
        held = [await at.connect() for _ in range(3)]
        for reader, writer in held:
            writer.write(GET)
            await reply(reader)
        assert b"HTTP/1.1 503" in await at.raw(GET)
        held[0][1].close()
        await until(lambda: len(at.wire.server.open) < 3)
        assert b"HTTP/1.1 200" in await at.raw(GET)
        for _, writer in held:
            writer.close()

    served(story, limits=WebLimits(connections=3))


def test_ten_thousand_refusals_leave_no_memory_behind() -> None:
    async def story(at: Served) -> None:
        async def one(number: int) -> None:
            data, status = MALFORMED[number % 5 + 6] if number % 2 else (GET, 200)
            try:
                answer = await at.raw(data)
            except OSError:
                return  # beyond twice as many, nobody is even told
            assert not answer or b" %d " % status in answer or b" 503 " in answer, answer

        async def rounds(count: int) -> None:
            for _ in range(count // 50):
                await asyncio.gather(*(one(number) for number in range(50)))

        await rounds(1000)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        await rounds(9000)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # kB
        await until(lambda: not at.wire.server.open)

    served(story, limits=WebLimits(connections=10))


def test_closing_in_the_middle_of_everything_is_quiet() -> None:
    async def handler(request: WebRequest) -> WebReply:
        if request.path == "/slow":
            await asyncio.sleep(60)
        return WebReply(200, (), (b"x" * 1_000_000,) * 30)

    async def story(at: Served) -> list[object]:
        reader, writer = await at.connect()
        reader._transport.pause_reading()
        writer.write(GET)
        await until(lambda: any(each._full is not None for each in at.wire.server.open))
        calls = [asyncio.ensure_future(at.call(WebRequest("PUT", path, body=b"y" * 20_000_000)))
                 for path in ("/slow", "/slow", "/")]  # fmt: skip
        await until(lambda: len(at.wire.server.open) == 4)
        calls[0].cancel()  # while it sends, or waits
        await asyncio.sleep(0.02)
        await at.wire.close()
        await asyncio.gather(*calls, return_exceptions=True)
        writer.transport.abort()
        await asyncio.sleep(0.02)
        return [what["message"] for what in at.complaints]

    assert served(story, handler) == []


def test_a_peer_that_went_away_is_not_written_to(caplog: pytest.LogCaptureFixture) -> None:
    peers: list[socket.socket] = []

    async def handler(request: WebRequest) -> WebReply:
        peers[-1].close()  # the server hears of it when it writes
        return WebReply(200, (), (b"x" * 100_000,) * 300)

    async def story(at: Served) -> None:
        for _ in range(5):
            peer = socket.create_connection((at.host, at.port))
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closes with a reset
            peer.sendall(GET)
            peers.append(peer)
            await until(lambda: peers[-1].fileno() < 0 and not at.wire.server.open)

    served(story, handler)
    assert caplog.text == ""
