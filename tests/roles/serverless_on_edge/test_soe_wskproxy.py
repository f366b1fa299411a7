"""The proxy for clients of OpenWhisk in virtual time: what edge answers become, names, refusals."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from soe_proxied import Proxied, data_of, noted
from soe_world import World

from roles.serverless_on_edge.messages import OK, LambdaRequest, LambdaResponse
from testbed.roles.api import Function, FunctionResult

ELSEWHERE = "This proxy invokes actions and tells of their activations. For anything else, ask the OpenWhisk server."
ERROR = b'{"error":"no disk"}'
NO_RESOURCE = "The requested resource does not exist."


def test_a_record_is_built_around_the_answer_of_the_edge_when_the_result_is_not_asked_for() -> None:
    async def story(scene: Proxied) -> Any:
        reply = await scene.ask("POST", "_/actions/copy?blocking=true", {"input": "hello"}, x_request_id="mine")
        assert reply.header("x-request-id") == "mine"
        assert reply.header("x-openwhisk-activation-id") == data_of(reply)["activationId"]
        assert reply.header("access-control-allow-origin") == "*"
        return data_of(reply)

    scene = Proxied()
    record = scene.run(story)
    assert record["response"] == {"result": {"name": "/guest/copy", "args": {"input": "hello"}}, "success": True,
                                  "status": "success"}  # fmt: skip
    assert (record["namespace"], record["name"], record["subject"], record["logs"]) == ("guest", "copy", "guest", [])
    assert len(record["activationId"]) == 32 and record["version"] == "0.0.1" and record["publish"] is False
    assert record["duration"] == record["end"] - record["start"] == 30, "as the computer tells"
    assert noted(record) == {"path": "guest/copy", "kind": "edge", "initTime": 10, "timeout": False, "hops": 3,
                             "responder": "10.0.0.2:10000", "waitTime": 2}  # fmt: skip
    assert [(each.name, each.hops, each.forward) for each in scene.requests] == [("/guest/copy", 1, False)]
    (row,) = scene.world.rows["soe_proxied"]
    assert (row["activation_id"], row["hops"], row["error"]) == (record["activationId"], 3, "")


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (LambdaResponse(OK, "hello"), {"payload": "hello"}),
        (LambdaResponse(OK, 'say "hi"\n\u00fc'), {"payload": 'say "hi"\n\u00fc'}),
        (LambdaResponse(OK, '{"a": [1, null]}'), {"a": [1, None]}),
        (LambdaResponse(OK, "[1]"), {"payload": "[1]"}),
        (LambdaResponse(OK, "[" * 100_000), {"payload": "[" * 100_000}),
        (LambdaResponse(OK, "cut", dataout=b'{"whole": true}'), {"whole": True}),
        (LambdaResponse(OK, "text", dataout=b"\xff no JSON"), {"payload": "text"}),
        (LambdaResponse(OK, "", dataout=b"[1, 2]"), [1, 2]),
        (LambdaResponse(OK), {"payload": ""}),
    ],
)
def test_the_bare_result_is_all_of_what_the_computer_gave(reply: LambdaResponse, expected: Any) -> None:
    async def answer(_: LambdaRequest) -> LambdaResponse:
        return reply

    async def story(scene: Proxied) -> Any:
        return await scene.invoke("copy", "blocking=true&result=true")

    assert Proxied(answer).run(story) == (200, expected)


@pytest.mark.parametrize(
    ("reply", "status", "kind", "error"),
    [
        (LambdaResponse("application error: no disk", dataout=ERROR, action_status=1), 502, "application error",
         "no disk"),
        (LambdaResponse("application error: no disk", action_status=1), 502, "application error", "no disk"),
        (LambdaResponse("action developer error: crashed", dataout=b'{"error":"crashed"}', action_status=2), 502,
         "action developer error", "crashed"),
        (LambdaResponse("exception: ValueError: boom", action_status=2), 502, "action developer error",
         "exception: ValueError: boom"),
        (LambdaResponse(OK, '{"error": "told as a result"}'), 502, "application error", "told as a result"),
        (LambdaResponse(OK, "", dataout=b"3"), 502, "action developer error",
         "The action did not produce a valid JSON or JSON Array response: 3"),
        (LambdaResponse(OK, "x" * 3_000_000), 502, "action developer error",
         "The action produced a response that exceeded the allowed length: 3000000 > 1048576 bytes."),
    ],
)  # fmt: skip
def test_errors_of_actions_are_502_without_code(reply: LambdaResponse, status: int, kind: str, error: str) -> None:
    async def answer(_: LambdaRequest) -> LambdaResponse:
        return reply

    async def story(scene: Proxied) -> None:
        found, record = await scene.invoke("copy")
        assert found == status and "code" not in record and "code" not in record["response"]
        assert record["response"] == {"result": {"error": error}, "success": False, "status": kind}
        assert await scene.invoke("copy", "blocking=true&result=true") == (status, {"error": error})

    Proxied(answer).run(story)


@pytest.mark.parametrize(("strict", "status"), [(False, 2), (True, 0)])
def test_a_computer_tells_that_a_function_failed_and_not_the_computer(strict: bool, status: int) -> None:
    async def boom(_: str) -> FunctionResult:
        return FunctionResult("", "exception", "ValueError: boom")

    scene = World(functions={"up": Function(name="up", code="/nowhere/up.py")})
    scene.code["up"] = boom

    async def story() -> LambdaResponse:
        computer = await scene.start("computer", "h2", strict_original=strict)
        reply: LambdaResponse = await computer.run_lambda(LambdaRequest("up", "x"))
        assert (await computer.run_lambda(LambdaRequest("nobody", "x"))).action_status == 0
        return reply

    reply = scene.run(story())
    assert (reply.retcode, reply.action_status) == ("exception: ValueError: boom", status)


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("No destinations found for the entry '/guest/copy'", 404, NO_RESOURCE),
        ("unknown lambda '/guest/copy'", 404, NO_RESOURCE),
        ("No destinations found for the entry '/guest/copy' (after 10.0.0.9:10000 unreachable: gone)", 503, "(after "),
        ("timeout: 10.0.0.2:10000 did not answer", 503, "did not answer"),
        ("OpenWhisk at http://10.0.0.2:3233 says 500: lost", 503, "says 500"),
        ("OpenWhisk at http://10.0.0.2:3233 says 404: There is none.", 404, "There is none."),
        ("OpenWhisk at http://10.0.0.2:3233 says 429: Too many.", 429, "Too many."),
        ("loop detected", 503, "loop detected"),
        ("", 503, "did not carry this out"),
    ],
)
def test_what_the_edge_does_not_carry_out_is_404_or_503_with_code_and_recorded(
    code: str, status: int, error: str
) -> None:
    async def answer(_: LambdaRequest) -> LambdaResponse:
        return LambdaResponse(code)

    async def story(scene: Proxied) -> None:
        for query in ("blocking=true", "blocking=true&result=true"):
            found, data = await scene.invoke("copy", query)
            assert found == status and set(data) == {"error", "code"} and error in data["error"], data
        refused = await scene.ask("POST", "_/actions/copy?blocking=true", {})
        id_ = refused.header("x-openwhisk-activation-id")
        assert (await scene.ask("GET", f"_/activations/{id_}")).status == 200
        found, data = await scene.invoke("copy", "")
        assert (found, set(data)) == (202, {"activationId"}), "who does not wait is not told"
        await scene.sleep(1)
        told = data_of(await scene.ask("GET", f"_/activations/{data['activationId']}/result"))
        assert told["status"] == "whisk internal error" and error in told["result"]["error"]

    Proxied(answer).run(story)


def test_an_edge_that_is_gone_or_silent_is_503() -> None:
    async def silent(_: LambdaRequest) -> LambdaResponse:
        await asyncio.sleep(1000)
        raise AssertionError

    async def story(scene: Proxied) -> None:
        status, data = await scene.invoke("copy")
        assert status == 503 and "did not answer in 3 s" in data["error"]
        scene.world.stop("h1")
        scene.world.services.clear()
        status, data = await scene.invoke("copy")
        assert status == 503 and "nobody answers" in data["error"]
        assert scene.role.calls.under_way == {} and scene.role.edge.calling == 0

    Proxied(silent, call_timeout=3).run(story)


@pytest.mark.parametrize(
    ("path", "options", "function"),
    [
        ("_/actions/copy", {}, "/guest/copy"),
        ("_/actions/copy", {"default_namespace": "me"}, "/me/copy"),
        ("_/actions/copy", {"default_namespace": "_"}, "copy"),
        ("_/actions/kit/copy", {"default_namespace": "_"}, "kit/copy"),
        ("guest/actions/copy", {"default_namespace": "_"}, "/guest/copy"),
        ("other/actions/copy?", {}, "/other/copy"),
        ("guest/actions/kit/copy", {}, "/guest/kit/copy"),
        ("guest/actions/default/copy", {}, "/guest/copy"),
        ("my%20space/actions/a%20b%26c", {}, "/my space/a b&c"),
        ("//api/v1", {}, None),
        ("-/actions/copy", {}, 400),
        ("_/actions/a%2Fb", {}, 400),
        ("_/actions/kit/a/b", {}, 404),
        ("_/actions", {}, 404),
        ("_/actions/", {}, 404),
    ],
)
def test_names_at_the_edge_are_those_of_the_paths(path: str, options: Any, function: Any) -> None:
    async def story(scene: Proxied) -> tuple[int, list[str]]:
        reply = await scene.ask("POST", path)
        await scene.sleep(1)
        return reply.status, [each.name for each in scene.requests]

    wanted = (202, [function]) if isinstance(function, str) else (function or 404, [])
    assert Proxied(**options).run(story) == wanted


@pytest.mark.parametrize(
    ("verb", "path", "status", "error"),
    [
        ("GET", "_/actions", 501, ELSEWHERE),
        ("GET", "_/actions/copy", 501, ELSEWHERE),
        ("PUT", "_/actions/copy?overwrite=true", 501, ELSEWHERE),
        ("DELETE", "_/actions/copy", 501, ELSEWHERE),
        ("GET", "_/packages", 501, ELSEWHERE),
        ("POST", "_/triggers/t", 501, ELSEWHERE),
        ("GET", "_/rules", 501, ELSEWHERE),
        ("GET", "guest", 501, ELSEWHERE),
        ("POST", "_/activations", 405, "supported methods: GET"),
        ("DELETE", "_/activations/" + "a" * 32, 405, "supported methods: GET"),
        ("GET", "_/activations/" + "a" * 32, 404, NO_RESOURCE),
        ("GET", "_/activations/abc", 400, "Activation id length is 3 but must be 32."),
        ("GET", "_/activations?limit=201", 400, "not in the range"),
        ("GET", "_/nothing", 404, "could not be found"),
        ("GET", "/elsewhere", 404, "could not be found"),
        ("POST", "_/actions/copy?blocking=perhaps", 400, "not a valid Boolean"),
        ("POST", "_/actions/copy?result=perhaps", 400, "not a valid Boolean"),
        ("POST", "_/actions/copy?blocking=true&timeout=70000", 400, "from 1 to 60000"),
    ],
)
def test_what_a_proxy_cannot_do_is_refused_with_words(verb: str, path: str, status: int, error: str) -> None:
    async def story(scene: Proxied) -> None:
        reply = await scene.ask(verb, path)
        assert reply.status == status and error in data_of(reply)["error"], reply.text
        assert data_of(reply)["code"] == reply.header("x-request-id") != ""
        assert scene.requests == []

    Proxied().run(story)


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", {}, 200),
        (b'{"a": "\xc3\xbc"}', {}, 200),
        (b"{", {}, 400),
        (b"[1]", {}, 400),
        (b"\xff\xfe", {}, 400),
        ('{"a": 1}'.encode("utf-16"), {}, 400),
        (b"[" * 100_000, {}, 400),
        (b"a=1", {"content_type": "text/plain"}, 415),
        (b'{"a": "' + b"x" * 200_000 + b'"}', {}, 413),
    ],
)
def test_arguments_are_a_json_object_of_some_size(body: bytes, headers: Any, status: int) -> None:
    async def story(scene: Proxied) -> int:
        reply = await scene.ask("POST", "_/actions/copy?blocking=true", raw=body, **headers)
        return reply.status

    scene = Proxied(payload="200kB")
    assert scene.run(story) == status
    assert [each.input for each in scene.requests] == ([body.decode() or "{}"] if status == 200 else [])


def test_the_top_tells_what_this_is_and_whose_namespace_it_is() -> None:
    async def story(scene: Proxied) -> None:
        assert data_of(await scene.ask("GET", "/api/v1"))["api_version"] == "1.0.0"
        assert data_of(await scene.ask("GET", "/api/v1/namespaces")) == ["guest"]
        assert (await scene.ask("OPTIONS", "_/actions/copy")).status == 200

    Proxied().run(story)
