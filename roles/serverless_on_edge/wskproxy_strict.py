"""The proxy as the original's is: it invokes, blocking and with the result alone, and nothing else.

Unlike there, texts in answers are proper JSON, and callers beyond what it takes at a time are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qsl

from roles.openwhisk.errors import Refused
from roles.openwhisk.names import OWN
from roles.openwhisk.throttle import Throttle
from roles.serverless_on_edge.messages import OK
from roles.serverless_on_edge.wskproxy_calls import Edge
from testbed.roles.web import WebReply, WebRequest, told, written

BASE = ["api", "v1", "namespaces"]
SEGMENTS = 6
PROBLEM = (("content-type", "application/problem+json"),)


class StrictProxy:
    """Answers requests."""

    def __init__(self, edge: Edge, throttle: Throttle, wall: Callable[[], float]) -> None:
        self._edge, self._throttle, self._wall = edge, throttle, wall

    async def answer(self, request: WebRequest) -> WebReply:
        """The answer, whatever was asked."""
        path, _, query = request.target.partition("?")
        parts = [part for part in path.split("/") if part]
        if request.verb != "POST" or parts[:3] != BASE:
            return _problem(request)
        try:
            function, given = _asked(parts, dict(parse_qsl(query, keep_blank_values=True))), request.body.decode()
            self._throttle.enter("", self._wall())
        except Refused as refused:
            return told(refused.status, {"error": str(refused)})
        except UnicodeDecodeError:
            return told(404, {"error": "The body is no text in UTF-8."})
        reply = await self._edge.call(function, given)
        self._throttle.leave("")
        if reply.retcode != OK:
            return told(404, {"error": reply.retcode})
        return told(200, {"payload": reply.output})


def _asked(parts: list[str], query: dict[str, str]) -> str:
    """What the edge calls the function that a path names; raises Refused (400, 501)."""
    if len(parts) != SEGMENTS:
        raise Refused(400, f"Expected /{'/'.join(BASE)}/NAMESPACE/actions/NAME.")
    if missing := [name for name in ("blocking", "result") if name not in query]:
        raise Refused(400, f"The query lacks {' and '.join(missing)}.")
    if parts[4] != "actions":
        raise Refused(501, f"This proxy has no {parts[4][:80]}.")
    if query["blocking"] != "true" or query["result"] != "true":
        raise Refused(501, "Invocations are possible with blocking=true&result=true alone.")
    namespace, name = parts[3], parts[5]
    return name if namespace == OWN else f"/{namespace}/{name}"


def _problem(request: WebRequest) -> WebReply:
    details = {"type": "", "title": "Not Found", "status": 404, "detail": f"There is no {request.verb} "
               f"{request.target[:200]} here.", "instance": ""}  # fmt: skip
    return WebReply(404, PROBLEM, written(details))
