"""The interface: who may do what, and which part answers it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from roles.openwhisk.actions import Actions, Wish
from roles.openwhisk.activation import Activations
from roles.openwhisk.auth import Identity, Keys, namespace_of
from roles.openwhisk.errors import NO_ROUTE, Refused, missing
from roles.openwhisk.interface import Interface, activations_told, reading
from roles.openwhisk.invoking import Invoking
from roles.openwhisk.names import Route, flag, route
from roles.openwhisk.options import ServerOptions
from roles.openwhisk.packages import Packages
from roles.openwhisk.resolving import Resolver
from roles.openwhisk.store import Store
from roles.openwhisk.throttle import Throttle
from testbed.roles.web import WebReply, WebRequest, told

MOST_WISHES = 4096


class Api(Interface):
    """Answers every request that comes to a server."""

    def __init__(
        self, options: ServerOptions, keys: Keys, store: Store, invoking: Invoking, activations: Activations,
        throttle: Throttle, wall: Any,
    ) -> None:  # fmt: skip
        super().__init__(invoking.ids)
        self._options, self._keys, self._throttle = options, keys, throttle
        self._activations = activations
        resolver = Resolver(store)
        self._store, self._version = store, -1
        self._wishes: dict[tuple[str, str], Wish] = {}
        self._packages = Packages(store, wall)
        self._actions = Actions(options, store, resolver, invoking, wall)

    async def invoke(self, request: WebRequest, heads: Mapping[str, str], code: str) -> WebReply:
        """Invoke an action; raises Refused."""
        wish = self._wish(request, heads.get("authorization", ""))
        return await self._actions.invoke(wish, request.body, heads.get("content-type", ""), code)

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

    def tell(self, request: WebRequest, where: Route) -> WebReply:
        """All but invocations; raises Refused."""
        identity = self._keys.identity(request.header("authorization"))
        if where.collection == "namespaces":
            reading(request)
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
        reading(request)
        if where.collection == "activations":
            return activations_told(self._activations, where, namespace)
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
