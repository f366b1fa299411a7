"""What answers of the interface have in common, whoever gives them: a server, or a proxy before other servers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from pydantic_core import to_json

from roles.openwhisk.activation import Activation, Activations
from roles.openwhisk.errors import NO_ROUTE, Refused, missing, not_allowed, refusal
from roles.openwhisk.names import Route, activation_id, flag, route, whole, window
from testbed.roles.web import Fields, WebReply, WebRequest, told, written

ANYWHERE: Fields = (
    ("access-control-allow-origin", "*"),
    ("access-control-allow-headers", "Authorization, Origin, X-Requested-With, Content-Type, Accept, User-Agent"),
    ("access-control-allow-methods", "GET, DELETE, POST, PUT, HEAD"),
)
ABOUT = {
    "description": "OpenWhisk API", "api_version": "1.0.0", "api_version_path": "v1", "build": "testbed",
    "buildno": "testbed", "swagger_paths": {"ui": "/docs", "api-docs": "/api-docs"},
}  # fmt: skip
_JSON: Fields = (("content-type", "application/json"), *ANYWHERE)


class Interface(ABC):
    """Answers requests; ``ids`` makes those that are told where a request brings none."""

    def __init__(self, ids: Callable[[], str]) -> None:
        self._ids = ids

    async def answer(self, request: WebRequest) -> WebReply:
        """The answer, whatever was asked."""
        heads = dict(request.headers)
        code = heads.get("x-request-id", "")[:64]
        try:
            if request.verb == "POST":
                return await self.invoke(request, heads, code)
            reply = self._top(request)
        except Refused as refused:
            code = code or self._ids()
            reply = refusal(refused.status, str(refused), code, refused.headers)
        own = ("x-request-id", code or self._ids())
        return WebReply(reply.status, reply.headers + ANYWHERE, reply.body, (own,))

    def _top(self, request: WebRequest) -> WebReply:
        where = route(request.target)
        if request.verb == "OPTIONS":
            return WebReply(200)
        if not where.collection and not where.namespace:
            reading(request)
            return told(200, ABOUT)
        return self.tell(request, where)

    @abstractmethod
    async def invoke(self, request: WebRequest, heads: Mapping[str, str], code: str) -> WebReply:
        """The answer to a POST, whole; ``code`` is the request's own id if it has one. Raises Refused."""

    @abstractmethod
    def tell(self, request: WebRequest, where: Route) -> WebReply:
        """The answer to another request that is about a namespace, or about all; raises Refused."""


def reading(request: WebRequest) -> None:
    """Refuse (405) what would change something."""
    if request.verb != "GET":
        raise not_allowed("GET")


# Invocations.


def wait_s(query: Mapping[str, str], most: float) -> float:
    """For how long an invocation is waited for, ``most`` seconds or as asked, 0 if not; raises Refused (400)."""
    blocking, asked_ms = flag(query, "blocking"), whole(query, "timeout", "timeout")
    if not blocking:
        return 0.0
    if asked_ms is None:
        return most
    if not 0 < asked_ms <= most * 1000:
        raise Refused(400, f"The timeout must be from 1 to {round(most * 1000)} milliseconds.")
    return asked_ms / 1000


def invoked(id_: str, record: Activation | None, bare: bool, code: str) -> WebReply:
    """The answer to an invocation: its record or its ``bare`` result, or its id if there is no record yet."""
    own = (("x-request-id", code or id_), ("x-openwhisk-activation-id", id_))
    if record is None:
        return WebReply(202, _JSON, written({"activationId": id_}), own)
    result = record.done.result
    shown = result if bare or isinstance(result, list) else record.data()
    return WebReply(record.http_status, _JSON, _quickly(shown), own)


def _quickly(data: Any) -> bytes:
    """As :func:`written`, several times faster; results may hold what only that can write, such as half a surrogate."""
    try:
        return to_json(data, inf_nan_mode="constants")
    except ValueError:
        return written(data)


# Activations.


def activations_told(activations: Activations, where: Route, namespace: str) -> WebReply:
    """The answer to a question about a namespace's activations; raises Refused."""
    if not where.parts:
        return _listed(activations, where.query, namespace)
    record = activations.get(namespace, activation_id(where.parts[0]))
    if record is None:
        raise missing()
    rest = where.parts[1:]
    if not rest:
        return told(200, record.data())
    if rest == ("result",):
        return told(200, record.response())
    if rest == ("logs",):
        return told(200, {"logs": record.done.logs})
    raise Refused(404, NO_ROUTE)


def _listed(activations: Activations, query: Mapping[str, str], namespace: str) -> WebReply:
    skip, limit = window(query, "activations")
    docs, counts = flag(query, "docs"), flag(query, "count")
    if docs and counts:
        raise Refused(400, "The 'docs' and 'count' parameters cannot be used together.")
    since, upto = whole(query, "since", "activations"), whole(query, "upto", "activations")
    found = list(activations.find(namespace, query.get("name", ""), since, upto))
    if counts:
        return told(200, {"activations": max(0, len(found) - skip)})
    return told(200, [_shown(each, docs) for each in found[skip : skip + limit]])


def _shown(record: Activation, docs: bool) -> dict[str, Any]:
    return record.data() if docs else record.summary()
