"""The wire: every message there and back, status codes, what junk gets, and what curl sees."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scs_live import service

from roles.serverless_compute import messages, wire
from roles.serverless_compute.messages import METHODS, Done, Invoke, Progress, Result
from roles.serverless_compute.wire import HttpWire, status_of
from testbed.roles.api import CallFailed, Function

PORT = 8090
EXAMPLES: list[Any] = [
    messages.Register("f", "image", 5, None, "code", 1.5, 7, 8),
    messages.Registered("f#1"),
    Invoke("f", 'a "quoted" text with ümläut', None),
    Result(17, 2.5),
    messages.Cancel(17),
    Progress("completed", 3, "n1", "hot", "out", t_submit=1.0000000001, t_end=2.0),
    messages.AskStatus(),
    messages.Status((messages.NodeStatus("n1", True, 2, None, 5e9),), {"f#1": "f"}),
    messages.Announce("n1", "10.0.0.1:8091", 2, None, 5, 1.5, 3, "e"),
    messages.Welcome("e"),
    messages.AddImage("image", 5),
    Done("failure", "why"),
    messages.Tidy("e", 1, (("end", 5), ("remove", "image"))),
    messages.Copy("e", 1, "image", "10.0.0.1:8190", 10.0),
    messages.Load("e", 1, "image", (("unload", "other"),)),
    messages.Keep("e", 1, "image", 5),
    messages.Run("e", 1, 2, 3, "f", "in", True, 0.5, None, 512),
    messages.Ended(1.5, 2.5, "out"),
    messages.Ask(2),
    messages.Began(1.5),
]


def told(story: Callable[[HttpWire], Awaitable[None]], address: str, reply: Any = None) -> None:
    """Tell a story beside a server that answers INVOKE with ``reply`` (or an echo) and RESULT with the number."""

    async def invoke(request: Invoke) -> Progress:
        if request.function == "boom":
            raise RuntimeError("boom")
        return reply or Progress("completed", 1, output=request.payload)

    async def result(request: Result) -> Progress:
        return Progress("running", request.invocation, detail=f"{request.wait_s:g}")

    async def whole() -> None:
        wire = HttpWire()
        try:
            await wire.serve(address, PORT, {messages.INVOKE: invoke, messages.RESULT: result})
            await asyncio.wait_for(story(wire), 30)
        finally:
            await wire.close()

    asyncio.run(whole())


async def raw(address: str, data: bytes) -> bytes:
    """What a server answers to these bytes, up to its end or half a second of silence."""
    reader, writer = await asyncio.open_connection(address, PORT)
    answer = b""
    try:
        writer.write(data)
        async with asyncio.timeout(0.5):
            while part := await reader.read(65536):
                answer += part
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.close()
    return answer


def test_every_kind_of_message_has_an_example() -> None:
    kinds = {kind for method in METHODS for kind in (method.request, method.reply)}
    assert {type(each) for each in EXAMPLES} == kinds


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda each: type(each).__name__)
def test_a_message_comes_back_as_it_was(message: Any) -> None:
    wire = HttpWire()
    assert wire.decode(type(message), wire.encode(message)) == message


def test_what_has_its_default_does_not_travel() -> None:
    assert HttpWire().encode(Invoke("f")) == b'{"function":"f"}'


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (Progress("completed", 1), 200), (Progress("failed", 1, cause="function_error"), 200),
        (Progress("admitted", 1), 202), (Progress("refused", cause="function_not_found"), 404),
        (Progress("refused", cause="cannot_admit_now"), 503), (messages.Registered("", "not_allowed"), 403),
        (messages.Registered("f#1"), 200), (Done(), 200), (Done("bad_input"), 400),
    ],
)  # fmt: skip
def test_the_status_tells_what_became_of_a_request(reply: Any, status: int) -> None:
    assert status_of(reply) == status


def test_calls_are_answered_whatever_their_status() -> None:
    async def story(wire: HttpWire) -> None:
        at = f"127.7.1.1:{PORT}"
        refused = await wire.call(at, messages.INVOKE, Invoke("f"), 5)
        assert refused.cause == "function_not_found"
        answer = await wire.call(at, messages.RESULT, Result(17, 2.5), 5)
        assert (answer.invocation, answer.detail) == (17, "2.5")

    told(story, "127.7.1.1", Progress("refused", cause="function_not_found"))


def test_an_error_in_the_server_is_a_failed_call_and_the_next_one_is_answered() -> None:
    async def story(wire: HttpWire) -> None:
        at = f"127.7.2.1:{PORT}"
        with pytest.raises(CallFailed, match="RuntimeError: boom") as caught:
            await wire.call(at, messages.INVOKE, Invoke("boom"), 5)
        assert caught.value.kind == "protocol"
        with pytest.raises(CallFailed, match="not served here"):
            await wire.call(at, messages.STATUS, messages.AskStatus(), 5)
        assert (await wire.call(at, messages.INVOKE, Invoke("f", "again"), 5)).output == "again"

    told(story, "127.7.2.1")


def test_nobody_there_is_unreachable_and_a_taken_port_an_error() -> None:
    async def story(wire: HttpWire) -> None:
        with pytest.raises(CallFailed) as caught:
            await wire.call(f"127.7.3.2:{PORT}", messages.INVOKE, Invoke("f"), 5)
        assert caught.value.kind == "unreachable"
        with pytest.raises(OSError, match="in use"):
            await wire.serve("127.7.3.1", PORT, {})

    told(story, "127.7.3.1")


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and so on", 400, "not HTTP"),
        (b"GET /\r\n\r\n", 400, "first line"),
        (b"GET /" + b"x" * 20_000, 431, "at most"),
        (b"POST /invoke HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "Invalid JSON"),
        (b"POST /invoke HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999\r\n\r\n", 413, "at most"),
        (b"POST /invoke HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n", 400, "not a number"),
        (b"POST /invoke HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nnone", 400, "Invalid JSON"),
        (b'POST /invoke HTTP/1.1\r\nHost: h\r\nContent-Length: 22\r\n\r\n{"function":"f","x":1}', 400, "x: Unexpected"),
        (b'POST /invoke HTTP/1.1\r\nHost: h\r\nContent-Length: 13\r\n\r\n{"payload":5}', 400, "function: Field"),
        (b"GET /invocation/seven HTTP/1.1\r\nHost: h\r\n\r\n", 400, "NUMBER"),
        (b"GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n", 404, "POST /invoke"),
        (b"BREW /coffee HTTP/1.1\r\nHost: h\r\n\r\n", 404, "BREW /coffee is not served here"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_request_is_told(data: bytes, status: int, words: str) -> None:
    async def story(_: HttpWire) -> None:
        answer = await raw("127.7.4.1", data)
        assert answer.startswith(b"HTTP/1.1 %d " % status), answer
        assert words in json.loads(answer.partition(b"\r\n\r\n")[2])["error"]

    told(story, "127.7.4.1")


def test_junk_does_no_harm() -> None:
    rng = random.Random(1)
    good = b'POST /invoke HTTP/1.1\r\nHost: h\r\nContent-Length: 16\r\n\r\n{"function":"f"}'

    async def story(wire: HttpWire) -> None:
        junk = [rng.randbytes(rng.randrange(1, 400)) for _ in range(40)]
        for _ in range(40):
            broken = bytearray(good)
            broken[rng.randrange(len(broken))] = rng.randrange(256)
            junk.append(bytes(broken[: rng.randrange(1, len(broken) + 1)]))
        await asyncio.gather(*(raw("127.7.5.1", each) for each in junk))
        assert (await wire.call(f"127.7.5.1:{PORT}", messages.INVOKE, Invoke("f", "fine"), 5)).output == "fine"

    told(story, "127.7.5.1")


def test_requests_in_one_packet_and_in_single_bytes_are_answered_in_turn() -> None:
    bodies = [b'{"function":"f","payload":"%d"}' % number for number in range(3)]
    heads = [b"POST /invoke HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(each) for each in bodies]
    data = b"".join(head + body for head, body in zip(heads, bodies, strict=True))

    async def story(_: HttpWire) -> None:
        reader, writer = await asyncio.open_connection("127.7.6.1", PORT)
        for number in range(0, len(data), 7):
            writer.write(data[number : number + 7])
            await asyncio.sleep(0)
        assert [b'"output":"%d"' % number in await _reply(reader) for number in range(3)] == [True] * 3
        writer.close()
        assert (await raw("127.7.6.1", data)).count(b"HTTP/1.1 200 OK") == 3

    told(story, "127.7.6.1")


async def _reply(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    return await reader.readexactly(int(head.rpartition(b"content-length: ")[2]))


def test_a_peer_that_says_half_a_request_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "LIMITS", replace(wire.LIMITS, patience_s=0.1))

    async def story(_: HttpWire) -> None:
        reader, writer = await asyncio.open_connection("127.7.7.1", PORT)
        writer.write(b"POST /invoke HTTP/1.1\r\nContent-Le")
        assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 408 ")
        writer.close()

    told(story, "127.7.7.1")


def test_the_framing_is_what_travels_beside_a_message() -> None:
    async def story(wire: HttpWire) -> None:
        seen: list[bytes] = []

        async def spy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.append(await reader.readuntil(b"}"))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

        server = await asyncio.start_server(spy, "127.7.8.2", PORT)
        message = Invoke("f", "x" * 100)
        with pytest.raises(CallFailed):
            await wire.call(f"127.7.8.2:{PORT}", messages.INVOKE, message, 5)
        server.close()
        framing = len(seen[0]) - len(wire.encode(message))
        assert framing == pytest.approx(wire.framing(messages.INVOKE, reply=False), abs=8)
        answer = await raw("127.7.8.1", seen[0])
        body = len(wire.encode(Progress("completed", 1, output="x" * 100)))
        assert len(answer) - body == wire.framing(messages.INVOKE, reply=True)

    told(story, "127.7.8.1")


async def curl(*words: str) -> tuple[int, Any]:
    """What curl says: the status, and the JSON that came."""
    process = await asyncio.create_subprocess_exec(
        "curl", "-s", "-w", "\n%{http_code}", *words, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    body, _, status = out.decode().rpartition("\n")
    return int(status), json.loads(body)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_registers_invokes_and_asks(tmp_path: Path) -> None:
    function = Function(name="f", service_s=0.2, image_bytes=100_000)

    async def story() -> None:
        async with service(tmp_path, "127.7.9", function) as world:
            at = f"http://{world.addresses['h']}:{PORT}"
            status, reply = await curl("-d", '{"function": "f", "payload": "x", "wait_s": 10}', f"{at}/invoke")
            assert (status, reply["state"], reply["node"], reply["output"]) == (200, "completed", "n1", "x")
            more = {"function": "more", "code": "f", "image": "other", "image_bytes": 5000}
            made = await curl("-d", '{"image": "other", "size_bytes": 5000}', f"http://{world.addresses['r']}:8092/image")
            assert made == (200, {})
            status, reply = await curl("-d", json.dumps(more), f"{at}/register")
            assert (status, reply) == (200, {"registration": "more#2"})
            status, reply = await curl("-d", '{"function": "more#2"}', f"{at}/invoke")
            assert (status, reply["invocation"]) == (202, 2)
            status, reply = await curl(f"{at}/invocation/2?wait_s=5")
            assert (status, reply["state"], reply["start_kind"]) == (200, "completed", "cold")
            status, reply = await curl("-d", '{"function": "stranger"}', f"{at}/invoke")
            assert (status, reply["cause"]) == (404, "function_not_found")
            assert (await curl(f"{at}/invocation/99"))[0] == 404
            status, reply = await curl(f"{at}/status")
            assert (status, reply["nodes"][0]["node"], reply["registrations"]["more#2"]) == (200, "n1", "more")
            status, reply = await curl("-X", "DELETE", f"{at}/invocation/2")
            assert (status, reply["state"]) == (200, "completed")

    asyncio.run(story())
