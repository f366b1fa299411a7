"""Records that the proxy keeps, how much it takes at a time, from whom, and its options; in virtual time."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from soe_proxied import GUEST, Proxied, data_of, echo, noted

from roles.openwhisk.auth import PUBLIC
from roles.serverless_on_edge.messages import OK, LambdaRequest, LambdaResponse
from roles.serverless_on_edge.system import SYSTEM
from roles.serverless_on_edge.wskproxy_options import ProxyOptions
from testbed.errors import TestbedError
from testbed.roles.api import Site


def test_who_does_not_wait_finds_record_result_and_logs_later() -> None:
    async def slow(request: LambdaRequest) -> LambdaResponse:
        await asyncio.sleep(5)
        return await echo(request)

    async def story(scene: Proxied) -> None:
        ids = [(await scene.invoke("copy", "", n=0))[1]["activationId"]]
        ids.append((await scene.invoke("kit/copy", "blocking=true&timeout=1000", n=1))[1]["activationId"])
        assert (await scene.ask("GET", f"_/activations/{ids[0]}")).status == 404, "it has not ended"
        await scene.sleep(10)
        for n, id_ in enumerate(ids):
            record = data_of(await scene.ask("GET", f"_/activations/{id_}"))
            assert record["response"]["result"]["args"] == {"n": n}
            assert data_of(await scene.ask("GET", f"guest/activations/{id_}/result")) == record["response"]
            assert data_of(await scene.ask("GET", f"_/activations/{id_}/logs")) == {"logs": []}
            assert (await scene.ask("GET", f"other/activations/{id_}")).status == 404
        listed = data_of(await scene.ask("GET", "_/activations?limit=1"))
        assert [(each["activationId"], each["statusCode"]) for each in listed] == [(ids[1], 0)]
        assert noted(listed[0])["path"] == "guest/kit/copy" and "response" not in listed[0]
        assert data_of(await scene.ask("GET", "_/activations?count=true")) == {"activations": 2}
        named = data_of(await scene.ask("GET", "_/activations?name=kit/copy&docs=true"))
        assert [each["response"]["success"] for each in named] == [True]

    Proxied(slow).run(story)


def test_the_newest_records_are_kept_up_to_a_number_and_about_so_many_bytes() -> None:
    async def story(scene: Proxied) -> list[int]:
        for _ in range(20):
            await scene.invoke("copy", pad="x" * 1000)
        return [len(scene.role.activations), data_of(await scene.ask("GET", "_/activations?count=true"))["activations"]]

    assert Proxied(keep_activations=7).run(story) == [7, 7]
    assert Proxied(keep_bytes="10kB").run(story) == [3, 3]


def test_many_small_parts_count_as_what_they_take_in_memory() -> None:
    async def many(_: LambdaRequest) -> LambdaResponse:
        return LambdaResponse(OK, dataout=b"[" + b"[]," * 60_000 + b"[]]")

    async def story(scene: Proxied) -> int:
        for _ in range(5):
            assert (await scene.invoke("copy"))[0] == 200
        return len(scene.role.activations)

    assert Proxied(many, keep_bytes="25MB").run(story) == 2


def test_who_waits_is_answered_when_the_proxy_is_stopped() -> None:
    async def slow(request: LambdaRequest) -> LambdaResponse:
        await asyncio.sleep(0.5 if request.name == "/guest/copy" else 100)
        return await echo(request)

    async def story(scene: Proxied) -> None:
        await scene.role.stop(scene.role.edge._env)
        first = asyncio.ensure_future(scene.invoke("copy"))
        await scene.sleep(0.1)
        began = asyncio.get_running_loop().time()
        await scene.role.stop(scene.role.edge._env)
        await asyncio.wait({first}, timeout=0)
        assert first.done() and first.result()[0] == 200
        second = asyncio.ensure_future(scene.invoke("forever"))
        await scene.sleep(0.1)
        await scene.role.stop(scene.role.edge._env)
        assert not second.done() and asyncio.get_running_loop().time() - began < 1.5

    Proxied(slow).run(story)


def test_num_threads_calls_are_at_the_edge_at_a_time_and_what_is_too_much_is_refused() -> None:
    most = 0

    async def slow(request: LambdaRequest) -> LambdaResponse:
        nonlocal most
        most = max(most, len([each for each in scene.requests if each is not None]) - ended)
        await asyncio.sleep(1)
        return await echo(request)

    ended = 0
    scene = Proxied(slow, num_threads=3, max_concurrent=10)

    async def story(scene: Proxied) -> None:
        nonlocal ended

        async def one() -> tuple[int, Any]:
            nonlocal ended
            found = await scene.invoke("copy")
            ended += found[0] == 200
            return found

        replies = await asyncio.gather(*(one() for _ in range(25)))
        assert sorted(status for status, _ in replies) == [200] * 10 + [429] * 15
        said = {data["error"] for status, data in replies if status == 429}
        assert said == {"Too many concurrent requests in flight (count: 10, allowed: 10)."}
        waits = sorted(round(noted(data)["waitTime"] / 1000) for status, data in replies if status == 200)
        assert waits == [1] * 3 + [2] * 3 + [3] * 3 + [4], "the wait for one's turn, and what is not the function's"
        assert (await scene.invoke("copy"))[0] == 200, "and then there is room again"

    scene.run(story)
    assert most <= 3


def test_an_allowance_for_each_minute_of_the_clock() -> None:
    async def story(scene: Proxied) -> list[int]:
        await scene.sleep(60 - scene.role.edge._env.wall() % 60)
        found = [(await scene.invoke("copy"))[0] for _ in range(4)]
        await scene.sleep(60)
        return [*found, (await scene.invoke("copy"))[0]]

    assert Proxied(max_per_minute=3).run(story) == [200, 200, 200, 429, 200]


def test_with_keys_each_caller_has_a_namespace_and_an_allowance_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.touch(mode=0o600)
    file.write_text(f"# keys\nguest {GUEST}\nme id-1:secret\nwhisk.system {PUBLIC['whisk.system']}\n")

    async def slow(request: LambdaRequest) -> LambdaResponse:
        await asyncio.sleep(1)
        return await echo(request)

    async def story(scene: Proxied) -> None:
        for key, path, status in (
            ("", "_/actions/copy", 401), ("id-1:wrong", "_/actions/copy", 401), ("nobody:x", "_/actions/copy", 401),
            ("id-1:secret", "guest/actions/copy", 403), ("id-1:secret", "_/actions/copy", 202),
            (GUEST, "guest/actions/copy", 202), (PUBLIC["whisk.system"], "me/actions/kit/copy", 202),
            ("id-1:secret", "_/actions/copy", 202), ("id-1:secret", "_/actions/copy", 429),
            (GUEST, "guest/actions/copy", 202),
        ):  # fmt: skip
            reply = await scene.ask("POST", path, key=key)
            assert reply.status == status, (key, path, reply.text)
            assert ("www-authenticate" in dict(reply.headers)) == (status == 401)
        await scene.sleep(5)
        assert [each.name for each in scene.requests] == [
            "/me/copy", "/guest/copy", "/me/kit/copy", "/me/copy", "/guest/copy"]  # fmt: skip
        assert (await scene.ask("GET", "_/activations")).status == 401
        assert (await scene.ask("GET", "guest/activations", key="id-1:secret")).status == 403
        listed = data_of(await scene.ask("GET", "_/activations?docs=true", key="id-1:secret"))
        assert [each["subject"] for each in listed] == ["me", "me"]
        assert data_of(await scene.ask("GET", "/api/v1/namespaces", key="id-1:secret")) == ["me"]
        assert (await scene.ask("GET", "/api/v1")).status == 200

    Proxied(slow, auth=str(file), max_concurrent=2).run(story)


def test_the_log_has_the_originals_two_lines_for_each_invocation(caplog: pytest.LogCaptureFixture) -> None:
    async def answer(_: LambdaRequest) -> LambdaResponse:
        return LambdaResponse(OK, "hel\nlo", "OW1", load1=1, load10=2, load30=3, hops=3, dataout=b"{}")

    async def story(scene: Proxied) -> None:
        await scene.ask("POST", "guest/actions/copy?blocking=true&result=true", {})

    with caplog.at_level(logging.INFO):
        Proxied(answer).run(story)
        assert caplog.messages == []
        Proxied(answer, verbosity=1).run(story)
    asked, told = caplog.messages
    assert asked == "POST /api/v1/namespaces/guest/actions/copy?blocking=true&result=true"
    seconds, _, rest = told.partition(" ")
    assert float(seconds) == pytest.approx(0.002)
    assert rest == "retcode: OK, from: OW1, ptime: 0 ms, hops: 3, load: 1/2/3, output: hel\\nlo, dataout size: 2"


SITE = Site("h0", "wskproxy", 1, {"h0": "10.0.0.1", "h1": "10.0.0.2"}, {"router": ("h1",)}, {})


@pytest.mark.parametrize(
    ("given", "endpoint"),
    [({}, "10.0.0.2:6473"), ({"server-endpoint": "h1:10000"}, "10.0.0.2:10000"),
     ({"server-endpoint": "127.0.0.1:6473"}, "127.0.0.1:6473")],
)  # fmt: skip
def test_the_edge_is_the_nearest_router_or_whoever_is_named(given: Any, endpoint: str) -> None:
    assert ProxyOptions.model_validate(given).edge(SITE) == endpoint


def test_options_have_the_originals_words_and_do_not_contradict_each_other() -> None:
    given = ProxyOptions.model_validate({"wsk-api-root": "http://127.0.0.1:20001", "num-threads": 7})
    assert (given.wsk_api_root, given.num_threads, ProxyOptions().wsk_api_root) == (20001, 7, 20000)
    made = SYSTEM.private_files([(SITE, ProxyOptions(https=True)), (replace(SITE, node="h1"), ProxyOptions())])
    assert list(made) == [("h0", "wskproxy")]
    for wrong in ({"auth": {"a": "b:c"}, "strict-original": True}, {"default-namespace": "a/b"}, {"num-threads": 0}):
        with pytest.raises(ValueError, match=r"expected|greater"):
            ProxyOptions.model_validate(wrong)
    with pytest.raises(TestbedError, match="needs a router, a dispatcher or a computer"):
        ProxyOptions().edge(Site("h0", "wskproxy", 1, {"h0": "10.0.0.1"}, {}, {}))
