"""The server for messages, spoken to in raw bytes: order, limits, patience, and peers that do not behave."""

from __future__ import annotations

import asyncio
import json
import random
import tracemalloc

import pytest
from web_served import GET, Served, reply, served, until

from testbed.roles.api import CallFailed
from testbed.roles.web import WEB, WebReply, WebRequest, said
from testbed.roles.web_reader import RequestReader, WebLimits
from testbed.roles.web_text import Refused, WebText

CHUNKED = b"POST /up HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n"
UPLOAD = b"POST /up HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nhello"


def bodies(data: bytes) -> list[str]:
    """What the echo was sent, by all replies in ``data``."""
    return [json.loads(part.partition(b"\r\n\r\n")[2])["body"] for part in data.split(b"HTTP/1.1 ")[1:]]


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 1 << 20])
def test_requests_are_answered_in_their_order_however_the_bytes_come(piece: int) -> None:
    chunks = CHUNKED + b"3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\ntrailer: x\r\n\r\n"
    sent = UPLOAD + chunks + b"\r\n" + GET + UPLOAD.replace(b"hello", b"again")
    assert bodies(served(lambda at: at.raw(sent, piece))) == ["hello", "abc0123456789", "", "again"]


def test_many_requests_in_one_go_are_answered_one_by_one() -> None:
    async def story(at: Served) -> None:
        reader, writer = await at.connect()
        writer.write(b"".join(UPLOAD.replace(b"hello", b"%05d" % number) for number in range(20_000)))
        for number in range(20_000):
            _, body = await reply(reader)
            assert json.loads(body)["body"] == f"{number:05d}"
        writer.close()

    served(story)


MALFORMED = [
    (b"\x16\x03\x01\x02\x00\x01\x00", 400), (b"hello\r\n\r\n", 400), (b"GET / HTTP/1.1\r\n\r\n", 400),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505), (b"GET / HTTP/1.1\r\nhost: " + b"h" * 70_000, 431),
    (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nhost: h\r\n\r\n", 431),
    (b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 1000000000000\r\n\r\n", 413),
    (CHUNKED + b"3\r\nabcd\r\n", 400), (CHUNKED + b"x\r\n", 400), (CHUNKED + b"FFFFFFFFFF\r\n", 413),
    (CHUNKED + b"-1\r\n", 400), (CHUNKED + b"1" * 5000, 400), (CHUNKED + b"0\r\n" + b"a: b\r\n" * 20_000, 400),
]  # fmt: skip


@pytest.mark.parametrize(("data", "status"), MALFORMED)
def test_what_is_no_request_is_told_so_and_the_connection_ends(data: bytes, status: int) -> None:
    async def story(at: Served) -> None:
        answer = await at.raw(GET + data)
        first, _, second = answer.partition(b"HTTP/1.1 ")[2].partition(b"HTTP/1.1 ")
        assert first.startswith(b"200") and second.startswith(b"%d " % status), answer
        assert b"connection: close" in second and second.partition(b"\r\n\r\n")[2]
        assert (await at.call(WebRequest("GET", "/"))).status == 200  # nobody else is concerned

    served(story)


def test_noise_never_breaks_the_reader_nor_makes_it_hold_more_than_it_may() -> None:
    draw = random.Random(5)
    seeds = [GET, UPLOAD, CHUNKED + b"3\r\nabc\r\n0\r\n\r\n", *(data for data, _ in MALFORMED[:4])]
    refused = whole = 0
    for _ in range(3000):
        data = bytearray(b"".join(draw.choices(seeds, k=3)))
        for _ in range(draw.randrange(6)):
            data[draw.randrange(len(data))] = draw.choice(b"\r\n\0 :;0aF/HT\xff")
        reader = RequestReader(WebLimits(head_bytes=200, body_bytes=100), WebText())
        try:
            for begin in range(0, len(data), step := draw.randrange(1, 80)):
                reader.feed(bytes(data[begin : begin + step]))
                while (request := reader.next()) is not None:
                    whole += 1
                    assert len(request.body) <= 100
                assert reader.ahead <= 5000
        except Refused as error:
            refused += 1
            assert 400 <= error.status <= 505 and str(error)
    assert refused > 500 and whole > 500


@pytest.mark.parametrize(
    ("first", "again", "cut"), [(b"", GET, 4), (CHUNKED, b"1\r\nx\r\n", 1)], ids=["requests", "chunks"]
)
def test_what_was_read_is_let_go_where_no_piece_ends_with_a_request(first: bytes, again: bytes, cut: int) -> None:
    reader = RequestReader(WebLimits(), WebText())
    reader.feed(first + again[:cut])
    tracemalloc.start()
    for _ in range(40_000):
        reader.feed(again[cut:] + again[:cut])
        assert (reader.next() is None) == bool(first)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 150_000


def test_any_verb_several_headers_of_one_name_and_encoded_targets_come_as_sent() -> None:
    data = b"FROB-1 /a%20b%2Fc?k=%C3%BC&k=2&e HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nx-a:2\r\nX-U: \xc3\xbc \r\n\r\n"

    async def story(at: Served) -> None:
        told = json.loads((await at.raw(data)).partition(b"\r\n\r\n")[2])
        assert (told["verb"], told["path"], told["query"]) == ("FROB-1", "/a b/c", {"k": "2", "e": ""})
        assert told["headers"] == [["host", "h"], ["x-a", "1"], ["x-a", "2"], ["x-u", "\u00fc"]]

    served(story)


def test_a_head_request_gets_the_head_alone_and_the_connection_goes_on() -> None:
    async def story(at: Served) -> None:
        answer = await at.raw(GET.replace(b"GET", b"HEAD") + GET)
        length = len(answer.rpartition(b"\r\n\r\n")[2])
        assert answer.count(b"HTTP/1.1 200") == 2 and answer.count(b"verb") == 1
        assert b"content-length: %d" % (length + 1) in answer.partition(b"\r\n\r\n")[0]  # HEAD is longer than GET
        assert (await at.call(WebRequest("HEAD", "/"))).body == b""

    served(story)


def test_goes_on_when_asked_to_but_not_for_what_is_refused() -> None:
    async def story(at: Served) -> None:
        reader, writer = await at.connect()
        ask = UPLOAD.replace(b"hello", b"").replace(b"\r\n\r\n", b"\r\nexpect: 100-continue\r\n\r\n")
        for _ in range(2):
            writer.write(ask)
            assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20) == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"hello")
            assert b"hello" in (await reply(reader))[1]
        writer.write(ask + b"hello")  # it did not wait
        assert b"HTTP/1.1 200" in (await reply(reader))[0]
        writer.write(ask.replace(b": 5", b": 5000"))
        assert b"HTTP/1.1 413" in (await reply(reader))[0]
        writer.close()

    served(story, limits=WebLimits(body_bytes=1000))


def test_a_peer_that_closes_its_half_is_answered() -> None:
    async def slow(request: WebRequest) -> WebReply:
        await asyncio.sleep(0.05)
        return said(200, "late")

    assert served(lambda at: at.raw(GET), slow).endswith(b"late")


def test_an_error_of_a_handler_is_told_to_the_caller_and_to_the_log() -> None:
    async def broken(request: WebRequest) -> WebReply:
        if request.path == "/none":
            return None  # type: ignore[return-value]
        if request.path == "/bad":
            return WebReply(200, (("x", "a\r\nb: c"),))
        raise KeyError("no such thing")

    async def story(at: Served) -> None:
        for path, words in (("/", "KeyError: 'no such thing'"), ("/none", "AttributeError"), ("/bad", "ValueError")):
            told = await at.call(WebRequest("GET", path))
            assert told.status == 500 and words in told.text
        assert len(at.complaints) == 3 and isinstance(at.complaints[0]["exception"], KeyError)

    served(story, broken)


def test_a_request_whose_peer_is_gone_is_worked_on_to_its_end() -> None:
    done: list[str] = []

    async def slow(request: WebRequest) -> WebReply:
        await asyncio.sleep(0.05)
        done.append(request.path)
        return said(200, "")

    async def story(at: Served) -> None:
        with pytest.raises(CallFailed, match="timeout"):
            await at.call(WebRequest("POST", "/write"), timeout=0.01)
        await until(lambda: done)

    served(story, slow)


def test_a_reply_may_end_its_connection() -> None:
    async def last(request: WebRequest) -> WebReply:
        return said(200, "bye", ("connection", "close"))

    async def story(at: Served) -> None:
        answer = await at.raw(GET + GET)
        assert answer.count(b"HTTP/1.1 200") == 1 and b"connection: close" in answer

    served(story, last)


def test_listens_at_its_own_address_only_and_refuses_another_method() -> None:
    async def story(at: Served) -> None:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", at.port)
        with pytest.raises(OSError, match="in use"):
            await at.wire.serve(at.host, at.port, {WEB: lambda request: None})  # type: ignore[arg-type, return-value]
        with pytest.raises(CallFailed, match="does not stream"):
            at.wire.stream(at.at, WEB, WebRequest("GET", "/"))

    served(story)
