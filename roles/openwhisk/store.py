"""Actions and packages of a server: in memory, each change written to a journal before it counts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from roles.openwhisk.entities import Action, Package, restored, stored
from roles.openwhisk.names import Full
from testbed.roles.api import Journal

ROOM = 256  # records more than there are entities, before the journal is written anew

Key = tuple[str, str, str]  # namespace, package, action; a package's own has an empty action


class Store:
    """``given`` are the experiment's functions: there from the start, unless the journal says otherwise."""

    def __init__(self, journal: Journal | None, given: dict[Full, Action]) -> None:
        self._journal, self._given = journal, given
        self._actions: dict[Full, Action] = dict(given)
        self._packages: dict[tuple[str, str], Package] = {}
        self._written = 0
        self.version = 0  # another one after each change
        for record in journal.records() if journal is not None else ():
            self._replay(json.loads(record))
            self._written += 1

    def _replay(self, data: dict[str, Any]) -> None:
        if data["what"] == "gone":
            name = data["name"]
            if name[2]:
                self._actions.pop(Full(*name), None)
            else:
                self._packages.pop((name[0], name[1]), None)
            return
        entity = restored(data)
        if isinstance(entity, Action):
            self._actions[entity.name] = entity
        else:
            self._packages[entity.namespace, entity.name] = entity

    def action(self, name: Full) -> Action | None:
        """The action of this full name."""
        return self._actions.get(name)

    def package(self, namespace: str, name: str) -> Package | None:
        """The package of this name."""
        return self._packages.get((namespace, name))

    def actions(self, namespace: str, package: str | None = None) -> list[Action]:
        """A namespace's actions, or those of one of its packages; what was changed last comes first."""
        found = [each for each in self._actions.values()
                 if each.name.namespace == namespace and package in (None, each.name.package)]  # fmt: skip
        return sorted(found, key=lambda each: -each.updated)

    def packages(self, namespace: str) -> list[Package]:
        """A namespace's packages; what was changed last comes first."""
        found = [each for each in self._packages.values() if each.namespace == namespace]
        return sorted(found, key=lambda each: -each.updated)

    def put(self, entity: Action | Package) -> None:
        """Make or change an action or a package; when this returns, it survives a crash."""
        self._write(stored(entity))
        if isinstance(entity, Action):
            self._actions[entity.name] = entity
        else:
            self._packages[entity.namespace, entity.name] = entity
        self._shorten()

    def remove(self, entity: Action | Package) -> None:
        """Remove an action or a package."""
        if isinstance(entity, Action):
            self._write(_gone(entity.name.namespace, entity.name.package, entity.name.name))
            self._actions.pop(entity.name, None)
        else:
            self._write(_gone(entity.namespace, entity.name, ""))
            self._packages.pop((entity.namespace, entity.name), None)
        self._shorten()

    def _write(self, data: dict[str, Any]) -> None:
        self.version += 1
        if self._journal is not None:
            self._journal.append(json.dumps(data).encode())
            self._written += 1

    def _shorten(self) -> None:
        if self._journal is not None and self._written > ROOM + 2 * (len(self._actions) + len(self._packages)):
            records = [json.dumps(data).encode() for data in self._all()]
            self._journal.replace(records)
            self._written = len(records)

    def _all(self) -> Iterator[dict[str, Any]]:
        for name in self._given:
            if name not in self._actions:
                yield _gone(name.namespace, name.package, name.name)
        for package in self._packages.values():
            yield stored(package)
        for action in self._actions.values():
            if self._given.get(action.name) is not action:
                yield stored(action)


def _gone(namespace: str, package: str, action: str) -> dict[str, Any]:
    return {"what": "gone", "name": [namespace, package, action]}
