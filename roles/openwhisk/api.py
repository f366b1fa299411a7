"""The interface: who may do what, and which part answers it."""

from __future__ import annotations

from typing import Any

from roles.openwhisk.actions import ANYWHERE, Actions, Wish
from roles.openwhisk.activation import Activation, Activations
from roles.openwhisk.auth import Identity, Keys, namespace_of
from roles.openwhisk.errors import NO_ROUTE, Refused, missing, not_allowed, refusal
from roles.openwhisk.invoking import Invoking
from roles.openwhisk.names import Route, activation_id, flag, route, whole, window
from roles.openwhisk.options import ServerOptions
from roles.openwhisk.packages import Packages
from roles.openwhisk.resolving import Resolver
from roles.openwhisk.store import Store
from roles.openwhisk.throttle import Throttle
from testbed.roles.web import WebReply, WebRequest, told

MOST_WISHES = 4096
ABOUT = {
    "description": "OpenWhisk API", "api_version": "1.0.0", "api_version_path": "v1", "build": "testbed",
    "buildno": "testbed", "swagger_paths": {"ui": "/docs", "api-docs": "/api-docs"},
}  # fmt: skip


class Api:
    """Answers every request that comes to a server."""

    def __init__(
        self, options: ServerOptions, keys: Keys, store: Store, invoking: Invoking, activations: Activations,
        throttle: Throttle, wall: Any,
    ) -> None:  # fmt: skip
        self._options, self._keys, self._throttle = options, keys, throttle
        self._activations, self._invoking = activations, invoking
        resolver = Resolver(store)
        self._store, self._version = store, -1
        self._wishes: dict[tuple[str, str], Wish] = {}
        self._packages = Packages(store, wall)
        self._actions = Actions(options, store, resolver, invoking, wall)

    async def answer(self, request: WebRequest) -> WebReply:
        """The answer, whatever was asked."""
        heads = dict(request.headers)
        code = heads.get("x-request-id", "")[:64]
        try:
            if request.verb == "POST":
                wish = self._wish(request, heads.get("authorization", ""))
                return await self._actions.invoke(wish, request.body, heads.get("content-type", ""), code)
            reply = self._answer(request)
        except Refused as refused:
            code = code or self._invoking.ids()
            reply = refusal(refused.status, str(refused), code, refused.headers)
        own = ("x-request-id", code or self._invoking.ids())
        return WebReply(reply.status, reply.headers + ANYWHERE, reply.body, (own,))

    def _wish(self, request: WebRequest, authorization: str) -> Wish:
        """What a request to invoke something asks for; raises Refused. It is remembered until an action changes."""
        if self._store.version != self._version or len(self._wishes) >= MOST_WISHES:
            self._wishes.clear()
            self._version = self._store.version
        key = request.target, authorization
        wish = self._wishes.get(key)
        if wish is None:
            where = route(request.target)
            identity = self._keys.identity(key[1])
            if where.collection != "actions" or not where.parts:
                self._collection(request, where, identity)
                raise Refused(404, NO_ROUTE)
            wish = self._wishes[key] = self._actions.wish(where, identity)
        return wish

    def _answer(self, request: WebRequest) -> WebReply:
        where = route(request.target)
        if request.verb == "OPTIONS":
            return WebReply(200)
        if not where.collection and not where.namespace:
            _reading(request)
            return told(200, ABOUT)
        identity = self._keys.identity(request.header("authorization"))
        if where.collection == "namespaces":
            _reading(request)
            return told(200, [identity.namespace])
        return self._collection(request, where, identity)

    def _collection(self, request: WebRequest, where: Route, identity: Identity) -> WebReply:
        if where.collection == "actions":
            return self._actions.answer(request, where, identity)
        if where.collection == "packages":
            return self._packages.answer(request, where, identity)
        namespace = namespace_of(identity, where.namespace)
        if where.collection in ("triggers", "rules"):
            return self._out_of_scope(request, where)
        _reading(request)
        if where.collection == "activations":
            return self._activation(where, namespace)
        if where.collection == "limits":
            return told(200, self._limits(namespace))
        if where.collection == "":
            return told(200, self._everything(namespace))
        raise Refused(404, NO_ROUTE)

    def _limits(self, namespace: str) -> dict[str, Any]:
        allowed, options, mb = self._throttle.allowance(namespace), self._options, 1 << 20
        unlimited = 2**31 - 1
        return {
            "invocationsPerMinute": unlimited if allowed.per_minute is None else allowed.per_minute,
            "concurrentInvocations": unlimited if allowed.concurrent is None else allowed.concurrent,
            "firesPerMinute": 0,
            "minActionMemory": options.min_memory // mb, "maxActionMemory": options.max_memory // mb,
            "minActionTimeout": round(options.min_time * 1000), "maxActionTimeout": round(options.max_time * 1000),
            "minActionConcurrency": 1, "maxActionConcurrency": 1, "minActionLogs": 0, "maxActionLogs": 10,
            "maxParameterSize": options.payload, "sequenceLength": options.max_sequence,
        }  # fmt: skip

    def _everything(self, namespace: str) -> dict[str, Any]:
        return {"actions": self._actions.summaries(namespace), "packages": self._packages.summaries(namespace),
                "triggers": [], "rules": []}  # fmt: skip

    def _out_of_scope(self, request: WebRequest, where: Route) -> WebReply:
        if request.verb == "GET" and not where.parts:
            return told(200, {where.collection: 0} if flag(where.query, "count") else [])
        if request.verb == "GET":
            raise missing()
        raise Refused(501, f"This server has no {where.collection}.")

    # Activations.

    def _activation(self, where: Route, namespace: str) -> WebReply:
        if not where.parts:
            return self._listed(where, namespace)
        record = self._activations.get(namespace, activation_id(where.parts[0]))
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

    def _listed(self, where: Route, namespace: str) -> WebReply:
        query = where.query
        skip, limit = window(query, "activations")
        docs, counts = flag(query, "docs"), flag(query, "count")
        if docs and counts:
            raise Refused(400, "The 'docs' and 'count' parameters cannot be used together.")
        since, upto = whole(query, "since", "activations"), whole(query, "upto", "activations")
        found = list(self._activations.find(namespace, query.get("name", ""), since, upto))
        if counts:
            return told(200, {"activations": max(0, len(found) - skip)})
        return told(200, [_shown(each, docs) for each in found[skip : skip + limit]])


def _shown(record: Activation, docs: bool) -> dict[str, Any]:
    return record.data() if docs else record.summary()


def _reading(request: WebRequest) -> None:
    """Refuse (405) what would change something."""
    if request.verb != "GET":
        raise not_allowed("GET")
