"""Actions over the interface: list, put, get, delete, invoke."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from roles.openwhisk.auth import Identity, namespace_of
from roles.openwhisk.bodies import ActionBody, ExecBody, LimitsBody, is_zip, json_of, main_of, read, values
from roles.openwhisk.entities import (
    KINDS,
    SEQUENCE,
    Action,
    Code,
    Limits,
    Package,
    Values,
    family,
    next_version,
    resolved,
)
from roles.openwhisk.errors import EXISTS, OTHER_KIND, Refused, malformed, missing, not_allowed, too_big
from roles.openwhisk.interface import invoked, wait_s
from roles.openwhisk.invoking import Invoking
from roles.openwhisk.kinds import modelled
from roles.openwhisk.names import DEFAULT, Full, Route, action_name, flag, full_name, window
from roles.openwhisk.options import MB, ServerOptions
from roles.openwhisk.resolving import Found, Resolver
from roles.openwhisk.store import Store
from testbed.roles.web import WebReply, WebRequest, told


@dataclass(frozen=True, slots=True)
class Wish:
    """An invocation that is asked for: by whom, of what, whether the ``bare`` result is wanted, and for how long."""

    user: str
    found: Found
    bare: bool
    wait_s: float


class Actions:
    """Answers what is about actions."""

    def __init__(
        self, options: ServerOptions, store: Store, resolver: Resolver, invoking: Invoking, wall: Callable[[], float]
    ) -> None:
        self._options, self._store, self._resolver = options, store, resolver
        self._invoking, self._wall = invoking, wall

    def answer(self, request: WebRequest, where: Route, identity: Identity) -> WebReply:
        """The answer to all but an invocation; raises Refused."""
        if not where.parts or (len(where.parts) == 1 and where.parts[0] != DEFAULT and self._is_folder(request)):
            return self._list(request, where, namespace_of(identity, where.namespace))
        name = self._name(where, identity, request.verb == "GET")
        if request.verb == "GET":
            return told(200, self._resolver.found(name).action.data(code=flag(where.query, "code", True)))
        if request.verb == "PUT":
            return told(200, self._put(name, request, flag(where.query, "overwrite")).data())
        if request.verb == "DELETE":
            return told(200, self._delete(name).data())
        raise not_allowed("GET", "PUT", "DELETE", "POST")

    def _is_folder(self, request: WebRequest) -> bool:
        """Whether the path ends in a slash: a package's actions, not an action."""
        return request.verb == "GET" and request.target.partition("?")[0].endswith("/")

    def _name(self, where: Route, identity: Identity, reading: bool) -> Full:
        """The full name in a path, if it may be used; raises Refused (403, 404)."""
        own = identity.namespace if where.namespace == "_" else where.namespace
        name = action_name(own, where.parts)
        if own != identity.namespace and not (reading and self._resolver.may_use(name, identity.namespace)):
            namespace_of(identity, own)
        return name

    # List.

    def _list(self, request: WebRequest, where: Route, namespace: str) -> WebReply:
        if request.verb != "GET":
            raise not_allowed("GET")
        skip, limit = window(where.query, "actions")
        package = where.parts[0] if where.parts else None
        if package is not None and self._store.package(namespace, package) is None:
            raise missing()
        found = self._store.actions(namespace, package)
        if flag(where.query, "count"):
            return told(200, {"actions": max(0, len(found) - skip)})
        return told(200, [each.summary() for each in found[skip : skip + limit]])

    def summaries(self, namespace: str) -> list[dict[str, Any]]:
        """All actions of a namespace."""
        return [each.summary() for each in self._store.actions(namespace)]

    # Put.

    def _put(self, name: Full, request: WebRequest, overwrite: bool) -> Action:
        body = read(ActionBody, request)
        self._check_package(name)
        old = self._store.action(name)
        if old is not None and not overwrite:
            raise Refused(409, EXISTS)
        if old is None and body.exec is None:
            raise malformed("exec undefined")
        if old is None and not name.package and self._store.package(name.namespace, name.name) is not None:
            raise Refused(409, OTHER_KIND)
        action = self._changed(old or Action(name, Code("")), body, is_new=old is None)
        self._store.put(action)
        return action

    def _check_package(self, name: Full) -> None:
        if not name.package:
            return
        package: Package | None = self._store.package(name.namespace, name.package)
        if package is None:
            raise missing()
        if package.binding is not None:
            raise Refused(400, "Operation not permitted on package binding.")

    def _changed(self, old: Action, body: ActionBody, *, is_new: bool) -> Action:
        code = old.code if body.exec is None else self._code(old.name, body.exec)
        annotations: Values = {"provide-api-key": False} if is_new else dict(old.annotations)
        annotations |= values(body.annotations)
        annotations = {key: value for key, value in annotations.items() if key not in body.delAnnotations}
        annotations["exec"] = code.kind
        parameters = old.parameters if body.parameters is None else values(body.parameters)
        if (size := len(json.dumps(parameters))) > self._options.payload:
            raise too_big("Parameters", size, self._options.payload)
        return replace(
            old, code=code, parameters=parameters, annotations=annotations,
            limits=old.limits if body.limits is None else self._limits(old.limits, body.limits),
            version=body.version or (old.version if is_new else next_version(old.version)),
            publish=old.publish if body.publish is None else body.publish,
            updated=max(round(self._wall() * 1000), old.updated + 1),
            function=old.function if body.exec is None else "",
        )  # fmt: skip

    def _code(self, name: Full, body: ExecBody) -> Code:
        kind = resolved(body.kind)
        if kind is None:
            valid = ", ".join(f"'{each}'" for each in KINDS if each != SEQUENCE)
            raise malformed(f"The specified runtime '{body.kind[:80]}' is not supported by this platform. "
                            f"Valid values are: {valid}.")  # fmt: skip
        if kind == SEQUENCE:
            components = tuple(full_name(each, name.namespace) for each in body.components or ())
            self._resolver.check_sequence(name, components, self._options.max_sequence)
            return Code(kind, components=components)
        if body.code is None or not body.code.strip():
            raise malformed(f"'code' must be a string or attachment object defined in 'exec' for '{kind}' actions")
        if (size := len(body.code)) > self._options.code:
            raise too_big("exec", size, self._options.code)
        if family(kind) == "model":
            try:
                modelled(body.code)
            except ValueError as error:
                raise malformed(f"exec.code: {error}") from None
        return Code(kind, body.code, is_zip(body), main_of(body.main))

    def _limits(self, old: Limits, body: LimitsBody) -> Limits:
        options = self._options
        return Limits(
            _within("time limit", body.timeout, old.timeout_ms, options.min_time * 1000, options.max_time * 1000),
            _within("memory", body.memory, old.memory_mb, options.min_memory / MB, options.max_memory / MB),
            _within("log size", body.logs, old.logs_mb, 0, 10),
            _within("concurrency", body.concurrency, old.concurrency, 1, 1),
        )

    def _delete(self, name: Full) -> Action:
        action = self._store.action(name)
        if action is None:
            if not name.package and self._store.package(name.namespace, name.name) is not None:
                raise Refused(409, OTHER_KIND)
            raise missing()
        self._store.remove(action)
        return action

    # Invoke.

    def wish(self, where: Route, identity: Identity) -> Wish:
        """What a request to invoke an action asks for; raises Refused."""
        name = self._name(where, identity, True)
        query = where.query
        bare, waits = flag(query, "result"), wait_s(query, self._options.blocking_wait)
        return Wish(identity.namespace, self._resolver.found(name), bare, waits)

    async def invoke(self, wish: Wish, body: bytes, kind: str, code: str) -> WebReply:
        """Invoke an action; raises Refused. ``kind`` is the body's type, ``code`` the request's id if it has one."""
        if len(body) > self._options.payload:
            raise too_big("Request", len(body), self._options.payload)
        id_, record = await self._invoking.invoke(wish.user, wish.found, json_of(body, kind), wish.wait_s)
        return invoked(id_, record, wish.bare, code)


def _within(what: str, given: int | None, old: int, least: float, most: float) -> int:
    if given is None:
        return old
    if not least <= given <= most:
        raise malformed(f"requirement failed: {what} {given} is not from {least:g} to {most:g}")
    return given
