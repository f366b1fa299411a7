"""The EdgeDB as one invocation sees it: what it writes is put down when it has ended well, all at once.

A function asks for one operation at a time, in JSON: {"do": "get", "key": "k"} and so on, see ``offloadable.py``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from roles.session_offloading.messages import list_of, list_text
from roles.session_offloading.records import Changes, Storage


@dataclass(frozen=True, slots=True)
class Propagated:
    """A value for the receivers ``function`` from ``level`` down to here."""

    value: str
    level: str
    function: str


class EdgeDb:
    """One invocation's view of its session. ``request`` is what a function can ask about its request."""

    def __init__(self, storage: Storage, session: str, request: Callable[[], Mapping[str, Any]]) -> None:
        self._storage, self._session, self._request = storage, session, request
        self.changes = Changes()
        self.propagated: list[Propagated] = []
        self.status, self.headers = 200, dict[str, str]()

    async def answer(self, text: str) -> str:
        """Carry out one operation; raises ValueError, which the function sees, for one that is none."""
        asked = json.loads(text)
        match asked:
            case {"do": "get", "key": str(key)}:
                return json.dumps(await self._get(key))
            case {"do": "set", "key": str(key), "value": str(value)}:
                self._put(key, value)
            case {"do": "add", "key": str(key), "value": str(value)}:
                await self._add(key, value)
            case {"do": "list", "key": str(key)}:
                return json.dumps(list_of(await self._get(key)))
            case {"do": "delete", "key": str(key)}:
                self._delete(key)
            case {"do": "propagate", "value": str(value), "level": str(level), "function": str(function)}:
                self.propagated.append(Propagated(value, level, function))
            case {"do": "request"}:
                return json.dumps(dict(self._request()))
            case {"do": "respond", "status": int(status), "headers": dict(headers)}:
                self._respond(status, headers)
            case _:
                raise ValueError(f"the EdgeDB has no operation {text[:120]}; keys and values are texts")
        return "null"

    async def _get(self, key: str) -> str | None:
        changes = self.changes
        if key in changes.put:
            return changes.put[key]
        stored = None if key in changes.gone else await self._storage.get(self._session, key)
        if key in changes.added:
            return list_text([*(list_of(stored) or []), *changes.added[key]])
        return stored

    def _put(self, key: str, value: str) -> None:
        self.changes.added.pop(key, None)
        self.changes.put[key] = value

    async def _add(self, key: str, value: str) -> None:
        changes = self.changes
        if key in changes.put:
            changes.put[key] = list_text([*(list_of(changes.put[key]) or []), value])
            return
        if key not in changes.added and key not in changes.gone:
            list_of(await self._storage.get(self._session, key))  # raises for what is no list
        changes.added.setdefault(key, []).append(value)

    def _delete(self, key: str) -> None:
        self.changes.put.pop(key, None)
        self.changes.added.pop(key, None)
        self.changes.gone.add(key)

    def _respond(self, status: int, headers: dict[Any, Any]) -> None:
        if not 200 <= status <= 599:
            raise ValueError(f"{status} is no status to answer with")
        if not all(isinstance(each, str) for pair in headers.items() for each in pair):
            raise ValueError("headers are texts")
        self.status, self.headers = status, headers
