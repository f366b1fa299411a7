"""The client of an experiment, and the requests that any client of the interface sends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from roles.openwhisk.auth import PUBLIC, header, read_keys
from roles.openwhisk.names import MOST_LISTED
from roles.openwhisk.options import ClientOptions
from testbed.errors import TestbedError
from testbed.roles.api import CallFailed, Client, Environment, Invocation, Outcome, Parameters, Site, Status
from testbed.roles.web import WEB, WebReply, WebRequest

MOST_PARTS = 100  # of a list of actions
_STATUS: dict[int, Status] = {200: "ok", 202: "timeout", 429: "rejected", 503: "rejected"}


def invocation(
    authorization: str, name: str, body: bytes, *, namespace: str = "_", package: str = "", query: str = "blocking=true"
) -> WebRequest:
    """A request that invokes an action. ``authorization`` is the whole header (see :func:`auth.header`)."""
    path = "/".join(quote(part, safe="") for part in (package, name) if part)
    headers = (("authorization", authorization), ("content-type", "application/json"))
    return WebRequest("POST", f"/api/v1/namespaces/{quote(namespace, safe='')}/actions/{path}?{query}", headers, body)


def listing(authorization: str, namespace: str = "_", *, skip: int = 0, limit: int = MOST_LISTED) -> WebRequest:
    """A request for a part of the list of actions; a ``limit`` of 0 is the most that there is."""
    target = f"/api/v1/namespaces/{quote(namespace, safe='')}/actions/?limit={limit}&skip={skip}"
    return WebRequest("GET", target, (("authorization", authorization), ("accept", "application/json")))


async def all_actions(
    env: Environment, address: str, authorization: str, namespace: str = "_", timeout: float = 10.0
) -> list[dict[str, Any]]:
    """The summaries of all actions there are at ``address``, part by part; raises CallFailed.

    What is no list of actions, or one without an end, counts as such a failure too, of kind ``protocol``.
    """
    found: list[dict[str, Any]] = []
    for _ in range(MOST_PARTS):
        reply = await env.call(address, WEB, listing(authorization, namespace, skip=len(found)), timeout)
        part = parsed(reply) if reply.status == 200 else None
        if not isinstance(part, list) or not all(isinstance(each, dict) for each in part):
            raise CallFailed("protocol", f"{address} lists no actions: {reply.status} {error_text(reply)[:200]}")
        found += part
        if len(part) < MOST_LISTED:
            return found
    raise CallFailed("protocol", f"{address} lists more than {len(found)} actions")


def parsed(reply: WebReply) -> Any:
    """The data of a reply; None where it is no JSON."""
    try:
        return json.loads(reply.content)
    except (ValueError, RecursionError):
        return None


def error_text(reply: WebReply) -> str:
    """What a reply that is no success says is wrong."""
    data = parsed(reply)
    error = data.get("error") if isinstance(data, dict) else None
    if error is None and isinstance(data, dict):
        response = data.get("response")
        result = response.get("result") if isinstance(response, dict) else None
        error = result.get("error") if isinstance(result, dict) else None
    return error if isinstance(error, str) else json.dumps(error) if error is not None else reply.text[:300]


class WskClient(Client):
    """Invokes actions as any client of the interface does: blocking, and with the whole record as the answer."""

    parameters_model: ClassVar[type[Parameters]] = ClientOptions

    def __init__(self, site: Site, parameters: ClientOptions) -> None:
        super().__init__(site, parameters)
        near = parameters.server or site.nearest("server")
        if near is None or near not in site.places.get("server", ()):
            raise TestbedError("A client of openwhisk needs a server. Place one (duty gateway).")
        keys = parameters.auth
        known = PUBLIC if keys is None else read_keys(Path(keys)) if isinstance(keys, str) else keys
        if parameters.user not in known:
            raise TestbedError(f"The client of openwhisk has no key of the namespace {parameters.user!r}.")
        self._server, self._address = near, site.endpoint(near, parameters.port)
        self._authorization, self._namespace = header(known[parameters.user]), parameters.namespace

    async def invoke(self, env: Environment, invocation_: Invocation, timeout: float) -> Outcome:
        """One invocation."""
        body = json.dumps({"payload": invocation_.payload}).encode()
        request = invocation(self._authorization, invocation_.function, body, namespace=self._namespace)
        try:
            reply = await env.call(self._address, WEB, request, timeout)
        except CallFailed as failure:
            return Outcome("timeout" if failure.kind == "timeout" else "error", str(failure), node=self._server)
        return outcome(reply, self._server)


def outcome(reply: WebReply, server: str) -> Outcome:
    """What an answer with a record says."""
    status = _STATUS.get(reply.status, "error")
    record = parsed(reply)
    error = "" if status == "ok" else f"{reply.status}: {error_text(reply)}"
    if not isinstance(record, dict) or "response" not in record:
        return Outcome(status, error or "The answer is no record.", node=server, response_bytes=len(reply.content))
    noted = {each["key"]: each["value"] for each in record["annotations"]}
    init_s = noted["initTime"] / 1000 if "initTime" in noted else 0.0
    result = record["response"]["result"]
    payload = result.get("payload") if isinstance(result, dict) else None
    return Outcome(
        status,
        error,
        node=noted.get("invoker", server),
        init_s=init_s,
        queue_s=noted.get("waitTime", 0) / 1000,
        exec_s=record["duration"] / 1000 - init_s,
        cold="initTime" in noted,
        response_bytes=len(reply.content),
        output=payload if isinstance(payload, str) else json.dumps(result),
    )
