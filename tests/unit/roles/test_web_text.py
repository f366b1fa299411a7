"""Messages as the bytes of HTTP, there and back: what the twin's links carry."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from web_served import Served, served

from testbed.roles.web import WEB, WebReply, WebRequest, fields, said
from testbed.roles.web_text import KEPT, OWN, SOME_HOST, Refused, WebText
from testbed.roles.web_wire import WebWire

TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
names = st.text(TOKEN, min_size=1, max_size=20).filter(lambda name: name not in OWN and name != "host")
values = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=40).map(
    lambda text: text.strip(" \t")
)
headers = st.lists(st.tuples(names, values), max_size=8).map(tuple)
targets = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60).map(lambda text: "/" + text)
verbs = st.text(TOKEN + TOKEN.upper(), min_size=1, max_size=12)
requests = st.builds(WebRequest, verbs, targets, headers, st.binary(max_size=300))
bodies = st.one_of(st.binary(max_size=300), st.lists(st.binary(max_size=50)).map(tuple))
replies = st.builds(WebReply, st.integers(200, 599).filter(lambda status: status not in (204, 304)), headers, bodies)


@given(requests, st.sampled_from(["", "10.1.2.3:80", "[fd00::1]:8080"]))
def test_every_request_comes_out_as_it_went_in(request: WebRequest, host: str) -> None:
    if host:
        request = WebRequest(request.verb, request.target, (("host", host), *request.headers), request.body)
    wire = WebWire()
    for _ in range(2):  # also with what is remembered
        assert wire.decode(WebRequest, wire.encode(request)) == request


@given(replies)
def test_every_reply_comes_out_as_it_went_in(reply: WebReply) -> None:
    wire = WebWire()
    for _ in range(2):
        back = wire.decode(WebReply, wire.encode(reply))
        assert (back.status, back.headers, back.body) == (reply.status, reply.headers, reply.content)


@pytest.mark.parametrize("status", [204, 304])
def test_replies_without_content_have_neither_body_nor_length(status: int) -> None:
    wire = WebWire()
    data = wire.encode(WebReply(status, (("etag", "1"),)))
    assert b"length" not in data and wire.decode(WebReply, data) == WebReply(status, (("etag", "1"),))
    with pytest.raises(ValueError, match=f"status {status} has no body, but this one has 3 bytes"):
        wire.encode(WebReply(status, (), b"abc"))


def test_what_the_wire_says_itself_is_not_said_twice() -> None:
    wire = WebWire()
    mine = fields({"Content-Length": "7", "Connection": "close", "X-Mine": " yes "})
    data = wire.encode(WebReply(200, mine, b"abc"))
    assert data == b"HTTP/1.1 200 OK\r\nx-mine: yes\r\ncontent-length: 3\r\n\r\nabc"
    assert wire.encode(WebRequest("GET", "/")) == f"GET / HTTP/1.1\r\nhost: {SOME_HOST}\r\n\r\n".encode()
    assert wire.encode(WebRequest("POST", "/")).endswith(b"content-length: 0\r\n\r\n")


@pytest.mark.parametrize("message", [
    WebRequest("GET", "no-path"), WebRequest("GET", "/a b"), WebRequest("GET", "/\u00fc"), WebRequest("G T", "/"),
    WebRequest("GET", "/\r\nx: y"), WebRequest("GET", "/", (("a: b", "c"),)), WebRequest("GET", "/", (("a", "b\nc"),)),
    WebReply(200, (("", "x"),)), WebReply(200, (("a", "\0"),)), WebReply(200, (("a", "\ud800"),)), WebReply(99),
    WebReply(100), WebReply(600),
])  # fmt: skip
def test_refuses_to_send_what_is_no_message(message: WebRequest | WebReply) -> None:
    with pytest.raises(ValueError):
        WebWire().encode(message)


@pytest.mark.parametrize(("kind", "data"), [
    (WebReply, b""), (WebReply, b"HTTP/1.1 200 OK\r\n"), (WebReply, b"HTTP/1.1 20 OK\r\n\r\n"),
    (WebReply, b"HTTP/1.1 200 OK\r\nno field\r\n\r\n"), (WebRequest, b"GET / HTTP/1.1\r\n\r\n"),
    (WebRequest, b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nabc"), (WebRequest, b"hello\r\n\r\n"),
])  # fmt: skip
def test_what_is_no_message_is_a_value_error(kind: type[WebRequest | WebReply], data: bytes) -> None:
    with pytest.raises(ValueError):
        WebWire().decode(kind, data)


def test_a_header_keeps_the_bytes_that_are_no_text() -> None:
    text = WebText()
    head = text.request_head(b"GET / HTTP/1.1\r\nhost: h\r\nx-session: \xff{\xc3\xbc}")
    assert head.headers == (("host", "h"), ("x-session", "\udcff{\u00fc}"))
    sent = text.encode(WebRequest("GET", "/", head.headers))
    assert b"x-session: \xff{\xc3\xbc}\r\n" in sent


def test_remembers_only_so_many_heads_and_only_short_ones() -> None:
    text = WebText()
    for number in range(3 * KEPT):
        text.request_head(b"GET /%d HTTP/1.1\r\nhost: h" % number)
        text.begin_reply(WebReply(200, (("x", str(number)),)), 0)
    text.begin_reply(WebReply(200, (("x", "y" * 10_000),)), 0)
    assert all(len(known) <= KEPT for known in vars(text).values())
    assert max(map(len, text._reply_texts.values())) < 10_000


def test_the_bytes_are_those_of_a_real_connection() -> None:
    request = WebRequest("POST", "/f?a=1", (("x-session", "{}"),), b"hello")
    answer = said(307, "there", ("location", "http://10.0.0.3/f"))

    async def story(at: Served) -> None:
        sent: list[bytes] = []

        async def spy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            sent.append(await reader.readuntil(b"hello"))
            writer.close()

        spying = await asyncio.start_server(spy, "127.7.20.2", 0)
        port = spying.sockets[0].getsockname()[1]
        with pytest.raises(Exception, match="unreachable"):
            await at.wire.call(f"127.7.20.2:{port}", WEB, request, 10)
        spying.close()
        assert sent == [at.wire.encode(request).replace(SOME_HOST.encode(), b"127.7.20.2:%d" % port)]
        assert await at.raw(sent[0]) == at.wire.encode(answer)
        assert (at.wire.framing(WEB, reply=False), at.wire.framing(WEB, reply=True)) == (0, 0)

    async def handler(request: WebRequest) -> WebReply:
        return answer

    served(story, handler)


@pytest.mark.parametrize(("head", "status"), [
    (b"GET / HTTP/1.1", 400), (b"GET / HTTP/1.1\r\nhost: a\r\nhost: b", 400), (b"GET / HTTP/2.0\r\nhost: a", 505),
    (b"GET  / HTTP/1.1\r\nhost: a", 400), (b"GET / HTTP/1.1\r\nhost : a", 400), (b"get\tx", 400),
    (b"GET / HTTP/1.1\r\nhost: a\r\n b", 400), (b"GET / HTTP/1.1\r\nhost: a\nb: c", 400),
    (b"GET x HTTP/1.1\r\nhost: a", 400), (b"CONNECT a:1 HTTP/1.1\r\nhost: a", 400),
    (b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: x", 400), (b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: -1", 400),
    (b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2", 400),
    (b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked", 400),
    (b"GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip", 501),
    (b"GET / HTTP/1.1\r\nhost: a\r\nexpect: a-miracle", 417), (b"GET / HTTP/1.1\r\nhost: a\r\nx: \0", 400),
    ("GET / HTTP/1.1\r\nhost: a\r\ncontent-length: \u0661".encode(), 400),
])  # fmt: skip
def test_a_head_that_is_none_is_refused_with_its_status(head: bytes, status: int) -> None:
    with pytest.raises(Refused) as refused:
        WebText().request_head(head)
    assert refused.value.status == status and str(refused.value)


@pytest.mark.parametrize(("written", "read"), [
    (b"/a?b=%C3%BC", "/a?b=%C3%BC"), (b"http://h:80/x?y", "/x?y"), (b"http://h", "/"), (b"*", "*"),
    (b"/\xc3\xbc\xff", "/%C3%BC%FF"),
])  # fmt: skip
def test_targets_are_paths_in_ascii(written: bytes, read: str) -> None:
    assert WebText().request_head(b"GET %b HTTP/1.1\r\nHost: h" % written).target == read


@pytest.mark.parametrize(("lines", "lasting"), [
    (b"GET / HTTP/1.1\r\nhost: h", True), (b"GET / HTTP/1.1\r\nhost: h\r\nConnection: x, Close", False),
    (b"GET / HTTP/1.0", False), (b"GET / HTTP/1.0\r\nConnection: Keep-Alive", True),
])  # fmt: skip
def test_a_connection_lasts_as_long_as_the_peer_wants(lines: bytes, lasting: bool) -> None:
    assert WebText().request_head(lines).lasting == lasting
