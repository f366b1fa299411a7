"""Finding actions by the names that requests use: through packages, and through bindings to other packages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from roles.openwhisk.entities import SEQUENCE, Action, Package, Values
from roles.openwhisk.errors import OTHER_KIND, Refused, missing
from roles.openwhisk.names import Full
from roles.openwhisk.store import Store


@dataclass(frozen=True, slots=True)
class Found:
    """An action, the parameters of the packages on the way to it, and the binding that led to it."""

    action: Action
    inherited: Values
    binding: str = ""


class Resolver:
    """Finds actions."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def found(self, name: Full) -> Found:
        """The action that ``name`` means; raises Refused (404, 409)."""
        action = self._store.action(name)
        if action is not None:
            package = self._store.package(name.namespace, name.package) if name.package else None
            return Found(action, package.parameters if package is not None else {})
        if not name.package:
            if self._store.package(name.namespace, name.name) is not None:
                raise Refused(409, OTHER_KIND)
            raise missing()
        bound = self._store.package(name.namespace, name.package)
        if bound is None or bound.binding is None:
            raise missing()
        return self._through(bound, bound.binding, name.name)

    def _through(self, bound: Package, to: tuple[str, str], name: str) -> Found:
        """The action ``name`` of the package that another one is bound to; the binding's parameters come later."""
        own = self._store.package(*to)
        action = self._store.action(Full(*to, name))
        if own is None or action is None:
            raise missing()
        return Found(action, own.parameters | bound.parameters, f"{bound.namespace}/{bound.name}")

    def may_use(self, name: Full, own: str) -> bool:
        """Whether somebody of the namespace ``own`` may use an action of another one: if its package is public."""
        package = self._store.package(name.namespace, name.package) if name.package else None
        return name.namespace == own or (package is not None and package.publish)

    def check_sequence(self, name: Full, components: tuple[Full, ...], most: int) -> None:
        """Refuse (400) a sequence that is too long, has unknown parts, or comes back to itself."""
        if not components:
            raise Refused(400, "No component specified for the sequence.")
        for count, _ in enumerate(self._flat(name, components, most), 1):
            if count > most:
                raise Refused(400, f"Too many actions in the sequence: there may be {most}.")

    def _flat(self, name: Full, components: tuple[Full, ...], most: int, depth: int = 0) -> Iterator[Action]:
        if depth > most:
            raise Refused(400, "Sequence may not refer to itself.")
        for component in components:
            if component == name:
                raise Refused(400, "Sequence may not refer to itself.")
            try:
                action = self.found(component).action
            except Refused:
                raise Refused(400, f"Sequence component does not exist: /{component.path}.") from None
            if action.name == name:
                raise Refused(400, "Sequence may not refer to itself.")
            if action.code.kind == SEQUENCE:
                yield from self._flat(name, action.code.components, most, depth + 1)
            else:
                yield action


def merged(found: Found, given: Values) -> Values:
    """The arguments of an invocation: its package's, the action's, then its own; raises Refused (400)."""
    action = found.action
    if not action.parameters and not found.inherited:
        return given
    kept = found.inherited | action.parameters
    if action.annotations.get("final") is True and not kept.keys().isdisjoint(given):
        raise Refused(400, "Request defines parameters that are not allowed (e.g., reserved properties).")
    return kept | given
