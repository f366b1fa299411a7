"""The proxy on real connections: HTTPS, TLS towards the edge, what is no request, too many and too slow callers."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from soe_live import Loopback, loopback, until

from roles.openwhisk.auth import PUBLIC, header
from roles.serverless_on_edge import keys
from roles.serverless_on_edge.messages import GET_TABLE, TableId
from testbed.roles.api import CallFailed, Function, Site
from testbed.roles.http import HttpClient

CLIENT = Path(sys.prefix, "openwhisk-client")
GUEST = PUBLIC["guest"]
FUNCTIONS = {"/guest/up": Function(name="/guest/up", code="/nowhere/up.py", concurrency=50),
             "/guest/slow": Function(name="/guest/slow", service_s=1, concurrency=100)}  # fmt: skip
PATH = "/api/v1/namespaces/guest/actions/"
Story = Callable[[Loopback, str], Awaitable[None]]


def told(story: Story, folder: Path, net_: str, secure: bool = False, **proxy: Any) -> None:
    """Tell a story of a proxy before a router and a computer: it gets the net, and where the proxy is."""
    places = {"controller": "h0", "router": "h1", "computer": "h2", "wskproxy": "h3"}

    async def whole() -> None:
        async with loopback(folder, net_, FUNCTIONS, **places) as net:
            if secure or proxy.get("https"):
                made = keys.made([Site(node, role, 1, net.addresses, net.places, {}) for node, role in
                                  (("h1", "router"), ("h2", "computer"), ("h3", "wskproxy"))])  # fmt: skip
                for (node, role), files in made.items():
                    _write(folder / f"{node}-{role}", files)
            await net.start("controller", "h0")
            await net.start("router", "h1", secure=secure, num_threads=50, router_conf={"max-pending-clients": 50})
            await net.start("computer", "h2", secure=secure, num_threads=50, conf={"cores": 100})
            await net.start("wskproxy", "h3", secure=secure, **proxy)
            env = net.agents["wskproxy", "h3"][1]

            async def table() -> Any:
                return await env.call(f"{net_}.2:6474", GET_TABLE, TableId(1))

            await until(table, lambda found: len(found.entries) == 2)
            await story(net, f"{net_}.4:20000")

    asyncio.run(asyncio.wait_for(whole(), 120))


def proxy_of(net: Loopback) -> Any:
    """The proxy's role."""
    return net.agents["wskproxy", "h3"][0]


def _write(folder: Path, files: Any) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(text)


def clean_environment() -> dict[str, str]:
    """This process's environment without the proxies that clients would obey."""
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("proxy")}


async def ran(*argv: str, **env: str) -> tuple[int, str]:
    """Exit status and output of a program."""
    process = await asyncio.create_subprocess_exec(
        *argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=clean_environment() | env
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, out.decode()


async def post(client: HttpClient, address: str, name: str, body: bytes = b"{}", query: str = "blocking=true") -> Any:
    """Status and data of an invocation."""
    heads = {"content-type": "application/json", "authorization": header(GUEST)}
    reply = await client.request("POST", address, f"{PATH}{name}?{query}", body, heads, timeout=60)
    return reply.status, json.loads(reply.body)


def test_clients_come_over_https_and_calls_go_on_over_tls(tmp_path: Path) -> None:
    async def story(net: Loopback, address: str) -> None:
        trusted = str(tmp_path / "h3-wskproxy" / keys.AUTHORITY)
        url = f"https://{address}{PATH}up?blocking=true&result=true"
        json_ = ("-H", "content-type: application/json", "-d", '{"input": "gr\u00fc\u00df"}')
        asking = ("curl", "-sS", "-m", "30", *json_)
        assert await ran(*asking, "--cacert", trusted, url) == (0, '{"INPUT":"GR\u00dcSS"}')
        assert (await ran(*asking, url))[0] == 60, "whom curl does not know, it does not trust"
        assert (await ran(*asking, url.replace("https", "http")))[0] != 0
        assert await ran(*asking, "-k", url) == (0, '{"INPUT":"GR\u00dcSS"}'), "as wsk does with -i"

    told(story, tmp_path, "127.73.1", secure=True, https=True)


@pytest.mark.feature("node")
@pytest.mark.skipif(not CLIENT.is_dir(), reason="needs the npm package openwhisk: ./tb test installs it")
def test_the_originals_client_trusts_a_proxy_whose_authority_it_is_told(tmp_path: Path) -> None:
    script = (
        "const wsk = require(process.env.CLIENT_AT + '/node_modules/openwhisk')({apihost: process.argv[1], "
        "api_key: 'a:b'}); wsk.actions.invoke({name: 'up', blocking: true, result: true, params: {a: 1}})"
        ".then(found => console.log(JSON.stringify(found)), error => { console.log(error.message); process.exit(1) })"
    )

    async def story(net: Loopback, address: str) -> None:
        trusted = {"NODE_EXTRA_CA_CERTS": str(tmp_path / "h3-wskproxy" / keys.AUTHORITY)}
        argv = ("node", "-e", script, f"https://{address}")
        assert await ran(*argv, CLIENT_AT=str(CLIENT), **trusted) == (0, '{"A":1}\n')
        status, said = await ran(*argv, CLIENT_AT=str(CLIENT))
        assert status == 1 and "certificate" in said

    told(story, tmp_path, "127.73.2", https=True)


def test_what_is_gone_is_told_as_long_as_it_may_come_back(tmp_path: Path) -> None:
    async def story(net: Loopback, address: str) -> None:
        client = HttpClient()
        assert (await post(client, address, "up", b'{"a": "b"}'))[1]["response"]["result"] == {"A": "B"}
        await net.kill("computer", "h2")
        status, data = await post(client, address, "up")
        assert status == 503 and set(data) == {"error", "code"} and "(after " in data["error"]
        status, data = await post(client, address, "up")
        assert (status, data["error"]) == (404, "The requested resource does not exist."), "nobody is known any more"
        await net.kill("router", "h1")
        assert (await post(client, address, "up"))[0] == 503
        await client.close()

    told(story, tmp_path, "127.73.3")


NO_REQUESTS = [
    (b"nonsense\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 999999999999\r\n\r\n", 413),
    (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n", 400),
    (b"POST / HTTP/1.1\r\nhost: x\r\na: " + b"x" * 100_000 + b"\r\n\r\n", 431),
]


def test_what_is_no_request_is_refused_in_the_clients_own_terms(tmp_path: Path) -> None:
    async def story(net: Loopback, address: str) -> None:
        host, _, port = address.partition(":")
        for sent, status in NO_REQUESTS:
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(sent)
            head, _, body = (await asyncio.wait_for(reader.read(), 30)).partition(b"\r\n\r\n")
            assert int(head.split()[1]) == status, (sent[:60], head)
            assert set(json.loads(body)) == {"error", "code"}
            writer.close()
        client = HttpClient()
        for raw, status in ((b"{", 400), (b"\xff", 400), (b"[" * 100_000, 400), (b"[]", 400), (b"x" * (2 << 20), 413)):
            try:
                found, data = await post(client, address, "up", raw)
            except CallFailed:
                assert status == 413, "the answer may come before all is sent"
                continue
            assert found == status and set(data) == {"error", "code"}
        nested = b'{"a":' * 900 + b"1" + b"}" * 900
        assert (await post(client, address, "up", nested))[0] == 200
        await client.close()

    told(story, tmp_path, "127.73.4")


def test_two_thousand_requests_beyond_the_limits_are_refused_and_leave_nothing_behind(tmp_path: Path) -> None:
    async def story(net: Loopback, address: str) -> None:
        client, role = HttpClient(200), proxy_of(net)
        body = json.dumps({"pad": "x" * 20_000}).encode()
        await asyncio.gather(*(post(client, address, "slow", body) for _ in range(100)))  # all is warm
        before = psutil.Process().memory_info().rss
        found = await asyncio.gather(*(post(client, address, "slow", body) for _ in range(2_000)))
        statuses = [status for status, _ in found]
        assert set(statuses) == {200, 429} and statuses.count(429) > 500
        assert {data["error"] for status, data in found if status == 429} == {
            "Too many concurrent requests in flight (count: 20, allowed: 20)."}  # fmt: skip
        assert role.calls.under_way == {} and role.throttle.in_flight("") == 0
        del found
        assert psutil.Process().memory_info().rss - before < 100 << 20
        assert (await post(client, address, "slow"))[0] == 200
        await client.close()

    told(story, tmp_path, "127.73.5", max_concurrent=20, num_threads=20)


def test_slow_callers_hold_up_nobody(tmp_path: Path) -> None:
    async def story(net: Loopback, address: str) -> None:
        host, _, port = address.partition(":")
        writers = []
        for _ in range(200):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(f"POST {PATH}up HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{{".encode())
            writers.append(writer)
        client = HttpClient()
        found = await asyncio.gather(*(post(client, address, "up") for _ in range(50)))
        assert {status for status, _ in found} == {200}
        assert proxy_of(net).throttle.in_flight("") == 0
        for writer in writers:
            writer.close()
        await client.close()

    told(story, tmp_path, "127.73.6")


def test_neither_log_nor_datasets_have_keys_in_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "file"
    file.touch(mode=0o600)
    file.write_text("guest id-1:very-secret\n")

    async def story(net: Loopback, address: str) -> None:
        ask = ("curl", "-sS", "-X", "POST", f"http://{address}{PATH}up?blocking=true&result=true")
        assert await ran(*ask, "-u", "id-1:very-secret") == (0, "{}")
        assert "The supplied authentication is invalid" in (await ran(*ask, "-u", "id-1:other"))[1]

    with caplog.at_level("DEBUG"):
        told(story, tmp_path, "127.73.7", auth=str(file), verbosity=1)
    folder = tmp_path / "h3-wskproxy"
    texts = [path.read_text() for path in folder.rglob("*") if path.is_file()] + [caplog.text]
    assert "retcode: OK" in caplog.text and any("/guest/up" in text for text in texts)
    assert not any("very-secret" in text or "id-1" in text for text in texts)
