"""The proxy for clients of OpenWhisk: their invocations become calls of functions at the edge.

    wsk, npm, curl ── POST .../guest/actions/copy ──> wskproxy ── RunLambda /guest/copy ──> router
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from roles.openwhisk.activation import Activations
from roles.openwhisk.auth import Keys, namespace_of
from roles.openwhisk.bodies import json_of
from roles.openwhisk.errors import NO_ROUTE, Refused, too_big
from roles.openwhisk.interface import Interface, activations_told, invoked, reading, wait_s
from roles.openwhisk.names import OWN, Full, Route, action_name, flag, route
from roles.openwhisk.server import keys_of
from roles.openwhisk.system import refuse
from roles.openwhisk.throttle import Allowance, Throttle
from roles.serverless_on_edge import keys
from roles.serverless_on_edge.computer import LAST_CALLS_S
from roles.serverless_on_edge.wskproxy_calls import SHOWN, Calls, Edge, Wish
from roles.serverless_on_edge.wskproxy_options import ProxyOptions
from roles.serverless_on_edge.wskproxy_strict import StrictProxy
from testbed.roles.api import Environment, Parameters, Role, Site
from testbed.roles.web import WEB, WebReply, WebRequest, told
from testbed.roles.web_reader import WebLimits
from testbed.roles.web_wire import WebWire

ELSEWHERE = "This proxy invokes actions and tells of their activations. For anything else, ask the OpenWhisk server."
CONNECTIONS, HELD = 1024, 1 << 30  # connections at most, and bytes of what they may be sending together
log = logging.getLogger(__name__)


class WskProxy(Role):
    """Takes invocations over HTTP and has the edge carry them out."""

    parameters_model: ClassVar[type[Parameters]] = ProxyOptions

    def __init__(self, site: Site, parameters: ProxyOptions) -> None:
        super().__init__(site, parameters)
        self.options = parameters
        self._endpoint = parameters.edge(site)
        self._keys = keys_of(parameters.auth) if parameters.auth is not None else None
        self._asking, self._idle = 0, asyncio.Event()

    async def start(self, env: Environment) -> None:
        """Serve."""
        options = self.options
        self.edge = Edge(env, options, self._endpoint)
        self.throttle = Throttle(Allowance(options.max_per_minute, options.max_concurrent))
        self.activations = Activations(options.keep_activations, options.keep_bytes)
        self.calls = Calls(env, self.edge, self.throttle, self.activations, options.payload)
        if options.strict_original:
            self._answer = StrictProxy(self.edge, self.throttle, env.wall).answer
        else:
            self._answer = Proxy(options, self._keys, self.calls, self.activations).answer
        await env.serve(options.wsk_api_root, {WEB: self.answer})

    async def answer(self, request: WebRequest) -> WebReply:
        """The answer, whatever was asked."""
        if self.options.verbosity:
            log.info("%s %s", request.verb, request.target[:SHOWN])
        self._asking += 1
        try:
            return await self._answer(request)
        finally:
            self._asking -= 1
            if not self._asking:
                self._idle.set()

    async def stop(self, env: Environment) -> None:
        """Answer those who still wait."""
        self._idle.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_CALLS_S if self._asking else 0):
                await self._idle.wait()

    def web(self, folder: Path | None) -> WebWire:
        """How it speaks HTTP. In the twin, where there is no ``folder``, that is never sealed."""
        options, context = self.options, None
        if options.https and folder is not None:
            context = keys.for_clients(options.tls_conf, folder)
        connections = max(1, min(CONNECTIONS, HELD // max(1, options.payload)))
        limits = WebLimits(body_bytes=options.payload, connections=connections)
        return WebWire(limits, refuse=refuse, server_context=context)


class Proxy(Interface):
    """Answers as an OpenWhisk server would that can do nothing but invoke, and tell of what it invoked."""

    def __init__(self, options: ProxyOptions, known: Keys | None, calls: Calls, activations: Activations) -> None:
        super().__init__(calls.ids)
        self._options, self._keys, self._calls, self._activations = options, known, calls, activations

    def _who(self, authorization: str, asked: str) -> tuple[str, str, str]:
        """The namespace that a path means, that of whoever asks, and whose allowance counts; raises Refused."""
        if self._keys is None:
            meant = self._options.default_namespace if asked in ("", OWN) else asked
            return meant, meant, ""
        identity = self._keys.identity(authorization)
        return namespace_of(identity, asked or OWN), identity.namespace, identity.namespace

    async def invoke(self, request: WebRequest, heads: Mapping[str, str], code: str) -> WebReply:
        """Invoke an action; raises Refused."""
        where = route(request.target)
        if where.collection != "actions":
            return self.tell(request, where)
        wish = self._wish(request, where, heads)
        id_, record = await self._calls.invoke(wish)
        if record is not None and record.refused:
            said = str(record.done.result["error"])
            raise Refused(record.refused, said, (("x-openwhisk-activation-id", id_),))
        return invoked(id_, record, flag(where.query, "result"), code)

    def _wish(self, request: WebRequest, where: Route, heads: Mapping[str, str]) -> Wish:
        namespace, user, share = self._who(heads.get("authorization", ""), where.namespace)
        if not where.parts:
            raise Refused(404, NO_ROUTE)
        if (size := len(request.body)) > self._options.payload:
            raise too_big("Request", size, self._options.payload)
        flag(where.query, "result")
        wait = wait_s(where.query, self._options.blocking_wait)
        json_of(request.body, heads.get("content-type", ""))
        name = action_name(namespace, where.parts)
        return Wish(user, share, name, self._function(where, name), request.body.decode() or "{}", wait)

    def _function(self, where: Route, name: Full) -> str:
        """What the edge calls an action."""
        if where.namespace == self._options.default_namespace == OWN:
            return f"{name.package}/{name.name}" if name.package else name.name
        return f"/{name.path}"

    def tell(self, request: WebRequest, where: Route) -> WebReply:
        """Activations, and which namespace the caller's is; raises Refused."""
        namespace, user, _ = self._who(request.header("authorization"), where.namespace)
        if where.collection == "namespaces":
            reading(request)
            return told(200, [user])
        if where.collection != "activations":
            raise Refused(501, ELSEWHERE)
        reading(request)
        return activations_told(self._activations, where, namespace)
