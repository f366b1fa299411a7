"""Packages over the interface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from roles.openwhisk.auth import Identity, namespace_of
from roles.openwhisk.bodies import BindingBody, PackageBody, read, values
from roles.openwhisk.entities import Action, Package, next_version
from roles.openwhisk.errors import EXISTS, NO_ROUTE, OTHER_KIND, Refused, malformed, missing, not_allowed
from roles.openwhisk.names import DEFAULT, Full, Route, flag, named, window
from roles.openwhisk.store import Store
from testbed.roles.web import WebReply, WebRequest, told


class Packages:
    """Answers what is about packages."""

    def __init__(self, store: Store, wall: Callable[[], float]) -> None:
        self._store, self._wall = store, wall

    def answer(self, request: WebRequest, where: Route, identity: Identity) -> WebReply:
        """The answer; raises Refused."""
        if not where.parts:
            return self._list(request, where, namespace_of(identity, where.namespace))
        if len(where.parts) > 1:
            raise Refused(404, NO_ROUTE)
        name = named(where.parts[0])
        namespace = identity.namespace if where.namespace == "_" else where.namespace
        package = self._store.package(namespace, name)
        if request.verb != "GET" or package is None or not package.publish:
            namespace_of(identity, namespace)
        if request.verb == "PUT":
            return told(200, self._put(namespace, name, package, request, flag(where.query, "overwrite")).data())
        if request.verb not in ("GET", "DELETE"):
            raise not_allowed("GET", "PUT", "DELETE")
        if package is None:
            if self._store.action(Full(namespace, "", name)) is not None:
                raise Refused(409, OTHER_KIND)
            raise missing()
        if request.verb == "DELETE":
            return told(200, self._delete(package, flag(where.query, "force")).data())
        return told(200, self._shown(package))

    def _list(self, request: WebRequest, where: Route, namespace: str) -> WebReply:
        if request.verb != "GET":
            raise not_allowed("GET")
        skip, limit = window(where.query, "packages")
        found = self.summaries(namespace)
        if flag(where.query, "count"):
            return told(200, {"packages": max(0, len(found) - skip)})
        return told(200, found[skip : skip + limit])

    def summaries(self, namespace: str) -> list[dict[str, Any]]:
        """All packages of a namespace."""
        return [each.summary() for each in self._store.packages(namespace)]

    def _shown(self, package: Package) -> dict[str, Any]:
        """A package with its actions: those of the package that it is bound to, if it is."""
        place = package.binding or (package.namespace, package.name)
        own = self._store.package(*place)
        inherited = own.parameters if own is not None and package.binding else {}
        shown = replace(package, parameters=inherited | package.parameters)
        actions = [_entry(each) for each in self._store.actions(*place)]
        return shown.data() | {"actions": actions, "feeds": []}

    def _put(
        self, namespace: str, name: str, old: Package | None, request: WebRequest, overwrite: bool
    ) -> Package:
        body = read(PackageBody, request)
        if name == DEFAULT:
            raise Refused(400, "The package name 'default' is reserved.")
        if old is not None and not overwrite:
            raise Refused(409, EXISTS)
        if old is None and self._store.action(Full(namespace, "", name)) is not None:
            raise Refused(409, OTHER_KIND)
        binding = self._binding(namespace, old, body)
        package = old or Package(namespace, name)
        annotations = dict(package.annotations) | values(body.annotations)
        if binding is not None:
            annotations["binding"] = {"namespace": binding[0], "name": binding[1]}
        package = replace(
            package, binding=binding, annotations=annotations,
            parameters=package.parameters if body.parameters is None else values(body.parameters),
            publish=package.publish if body.publish is None else body.publish,
            version=body.version or (package.version if old is None else next_version(package.version)),
            updated=max(round(self._wall() * 1000), package.updated + 1),
        )  # fmt: skip
        self._store.put(package)
        return package

    def _binding(self, namespace: str, old: Package | None, body: PackageBody) -> tuple[str, str] | None:
        """The package that is to be shown; raises Refused (400, 403, 409)."""
        given = body.binding
        if not given:
            return old.binding if old is not None else None
        if not isinstance(given, BindingBody):
            raise malformed("binding: expected namespace and name")
        to = (namespace if given.namespace == "_" else given.namespace, given.name)
        target = self._store.package(*to)
        if target is None or (target.namespace != namespace and not target.publish):
            raise Refused(400, "Binding references a package that does not exist.")
        if target.binding is not None:
            raise Refused(400, "Cannot bind to another package binding.")
        if old is not None and old.binding is None:
            raise Refused(409, "Resource already exists and is not a binding.")
        return to

    def _delete(self, package: Package, force: bool) -> Package:
        own = [] if package.binding else self._store.actions(package.namespace, package.name)
        if own and not force:
            raise Refused(409, f"Package not empty (contains {len(own)} entities). Set force param or delete package "
                          "contents.")  # fmt: skip
        for action in own:
            self._store.remove(action)
        self._store.remove(package)
        return package


def _entry(action: Action) -> dict[str, Any]:
    summary = action.summary()
    return {key: summary[key] for key in ("name", "version", "annotations", "updated")}
