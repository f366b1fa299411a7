"""How the HTTP client uses its connections: again, in turn, not too many, and not after a failure."""

from __future__ import annotations

import asyncio

import pytest
from http_script import Script, with_server
from test_http import OK

from testbed.roles.api import CallFailed
from testbed.roles.http import HttpClient, Reply


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
