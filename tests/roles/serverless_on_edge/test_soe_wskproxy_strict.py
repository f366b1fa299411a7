"""The proxy as strict as the original's: what it answers, and what it refuses; in virtual time."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from soe_proxied import Proxied, data_of

from roles.serverless_on_edge.messages import OK, LambdaRequest, LambdaResponse

STRICT = [
    ("POST", "guest/actions/copy?blocking=true&result=true", 200, {"payload": 'he said "hi"'}),
    ("POST", "_/actions/copy?blocking=true&result=true", 200, {"payload": 'he said "hi"'}),
    ("POST", "/api/v1/namespaces/guest/actions/copy/?result=true&blocking=true", 200, {"payload": 'he said "hi"'}),
    ("POST", "guest/actions/nope?blocking=true&result=true", 404, {"error": "No destinations found"}),
    ("POST", "guest/actions/copy?blocking=true", 400, None),
    ("POST", "guest/actions/copy?result=true", 400, None),
    ("POST", "guest/actions/copy?", 400, None),
    ("POST", "guest/actions/kit/copy?blocking=true&result=true", 400, None),
    ("POST", "guest/actions?blocking=true&result=true", 400, None),
    ("POST", "guest/actions/copy?blocking=true&result=false", 501, None),
    ("POST", "guest/actions/copy?blocking=false&result=true", 501, None),
    ("POST", "guest/triggers/copy?blocking=true&result=true", 501, None),
    ("GET", "guest/actions/copy?blocking=true&result=true", 404, "problem"),
    ("PUT", "guest/actions/copy", 404, "problem"),
    ("GET", "_/activations", 404, "problem"),
    ("POST", "/elsewhere", 404, "problem"),
]  # fmt: skip


@pytest.mark.parametrize(("verb", "path", "status", "data"), STRICT)
def test_strictly_it_answers_as_the_original_does(verb: str, path: str, status: int, data: Any) -> None:
    async def answer(request: LambdaRequest) -> LambdaResponse:
        if request.name not in ("copy", "/guest/copy"):
            return LambdaResponse("No destinations found")
        return LambdaResponse(OK, 'he said "hi"', dataout=b"{}", hops=3)

    async def story(scene: Proxied) -> None:
        reply = await scene.ask(verb, path, raw=b"no JSON")
        assert reply.status == status, reply.text
        if data == "problem":
            assert reply.header("content-type") == "application/problem+json" and data_of(reply)["status"] == 404
        else:
            assert (data_of(reply) == data) if data else set(data_of(reply)) == {"error"}
        own = "copy" if path.startswith("_") else "/guest/copy"
        if status == 200:
            assert [(each.name, each.input, each.hops) for each in scene.requests] == [(own, "no JSON", 1)]

    Proxied(answer, strict_original=True).run(story)


def test_strictly_it_takes_no_more_than_it_can_either() -> None:
    async def story(scene: Proxied) -> None:
        path = "guest/actions/copy?blocking=true&result=true"
        replies = await asyncio.gather(*(scene.ask("POST", path, {}) for _ in range(30)))
        assert sorted(each.status for each in replies) == [200] * 20 + [429] * 10
        reply = await scene.ask("POST", path, raw=b"\xff")
        assert (reply.status, json.loads(reply.content)) == (404, {"error": "The body is no text in UTF-8."})
        assert scene.role.throttle.in_flight("") == 0

    Proxied(strict_original=True, max_concurrent=20).run(story)
