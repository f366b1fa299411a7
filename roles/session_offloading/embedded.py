"""The storage inside the agent: plain dictionaries and, where it persists, a journal of all changes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from roles.session_offloading.messages import list_of, list_text
from roles.session_offloading.records import Changes, Record, StorageFailed, record_of
from testbed.roles.api import Journal

_PART = 100_000  # bytes of data from which on an entry is written in parts, so that it is never held in one piece
_NOTHING = b'{"set":{}}'  # before parts: those of an earlier entry that was never finished are none of theirs
_COMPACT_ABOVE = 1_000_000  # bytes of journal, and four times what it would take anew


class _Session:
    """One session's data. Lists that were added to are kept as lists until somebody wants their text."""

    __slots__ = ("lists", "requests", "size", "values")

    def __init__(self) -> None:
        self.values: dict[str, str | None] = {}  # None: see lists
        self.lists: dict[str, list[str]] = {}
        self.requests: dict[str, None] = {}
        self.size = 0

    def get(self, key: str) -> str | None:
        if key in self.lists:
            return list_text(self.lists[key])
        return self.values.get(key)

    def put(self, key: str, value: str) -> None:
        self.remove(key)
        self.values[key] = value
        self.size += _bytes(key) + _bytes(value)

    def add(self, key: str, values: list[str]) -> None:
        if key not in self.lists:
            whole = list_of(self.values.get(key)) or []
            self.remove(key)
            self.lists[key], self.values[key] = whole, None
            self.size += _bytes(key) + _bytes(list_text(whole))
        before = len(self.lists[key])
        self.lists[key].extend(values)
        commas = len(values) - (before == 0 and len(values) > 0)
        self.size += sum(_bytes(json.dumps(value, ensure_ascii=False)) for value in values) + commas

    def remove(self, key: str) -> None:
        if key in self.values:
            self.size -= _bytes(key) + _bytes(self.get(key) or "")
            self.lists.pop(key, None)
            del self.values[key]

    def items(self) -> dict[str, str]:
        return {key: self.get(key) or "" for key in self.values}

    def apply(self, changes: Changes) -> None:
        for key in changes.gone:
            self.remove(key)
        for key, value in changes.put.items():
            self.put(key, value)
        for key, values in changes.added.items():
            self.add(key, values)
        self.requests.update(dict.fromkeys(changes.requests))


class EmbeddedStorage:
    """Keeps everything in memory, and in ``journal`` if there is one: then it persists."""

    def __init__(self, journal: Journal | None = None) -> None:
        self._journal = journal
        self._records: dict[str, Record] = {}
        self._data: dict[str, _Session] = {}
        self._settings: dict[str, str] = {}
        self.repeated: list[tuple[str, str]] = []  # requests that were carried out a second time, for invariants
        self._written = 0
        self._compact_above = _COMPACT_ABOVE
        self._parts: dict[str, str] = {}  # of the next entry, read so far

    async def open(self) -> Mapping[str, Record]:
        """Read the journal, if there is one."""
        for entry in self._journal.records() if self._journal else ():
            self._written += len(entry)
            self._replay(json.loads(entry))
        return dict(self._records)

    def _replay(self, entry: dict[str, Any]) -> None:
        if "part" in entry:
            self._parts[entry["part"]["key"]] = entry["part"]["data"]
            return
        parts, self._parts = self._parts, {}
        if "set" in entry:
            self._settings.update(entry["set"])
            return
        if "forget" in entry:
            self._records.pop(entry["forget"], None)
            self._data.pop(entry["forget"], None)
            return
        record = record_of(entry["r"])
        self._records[record.token.session] = record
        if entry.get("drop") or entry.get("fresh"):
            self._data.pop(record.token.session, None)
        if "c" in entry:
            put, added, gone, requests = entry["c"]
            if entry.get("parts") == len(parts):  # else they are of an entry that was never finished
                put |= parts
            self._session(record.token.session).apply(Changes(put, added, set(gone), requests))

    def _session(self, session: str) -> _Session:
        return self._data.setdefault(session, _Session())

    def _note(self, make: Callable[[], dict[str, Any]], parts: Iterable[bytes] = ()) -> None:
        """Write an entry down, before it is acknowledged; behind ``parts``, which count for nothing without it."""
        if self._journal is None:
            return
        try:
            if self._written > self._compact_above:
                self._compact()  # of what has been acknowledged so far: this entry comes behind it
            for data in chain(parts, map(_packed, [make()])):
                self._journal.append(data)
                self._written += len(data)
        except OSError as error:
            raise StorageFailed(f"the journal cannot be written: {error}") from error

    def _compact(self) -> None:
        assert self._journal is not None
        held = sum(each.size for each in self._data.values())
        if self._written > 4 * held:
            self._written = 0
            self._journal.replace(self._anew())
        self._compact_above = max(_COMPACT_ABOVE, 4 * held, 4 * self._written)

    def _anew(self) -> Iterator[bytes]:
        """All that is kept, in as few entries as it needs."""
        for data in self._entries():
            self._written += len(data)
            yield data

    def _entries(self) -> Iterator[bytes]:
        yield _packed({"set": self._settings})
        for session, record in self._records.items():
            held = self._data.get(session)
            entry: dict[str, Any] = {"r": record.text()}
            if held is not None:
                plain = {key: value for key, value in held.values.items() if value is not None}
                if held.size > _PART:
                    yield from _parts(plain)
                    entry, plain = entry | {"parts": len(plain)}, {}
                entry |= {"c": [plain, held.lists, [], list(held.requests)]}
            yield _packed(entry)

    async def get(self, session: str, key: str) -> str | None:
        """One value."""
        held = self._data.get(session)
        return held.get(key) if held else None

    async def items(self, session: str) -> Mapping[str, str]:
        """All data of a session."""
        held = self._data.get(session)
        return held.items() if held else {}

    async def size(self, session: str) -> int:
        """Bytes of a session's data."""
        held = self._data.get(session)
        return held.size if held else 0

    async def requests(self, session: str) -> Iterable[str]:
        """The requests that have been carried out."""
        return self.numbers(session)

    async def carried_out(self, session: str, request: str) -> bool:
        """Whether a request has been carried out."""
        return request in self.numbers(session)

    def numbers(self, session: str) -> Iterable[str]:
        """The same, for those that cannot wait."""
        held = self._data.get(session)
        return held.requests if held else ()

    async def write(self, record: Record, changes: Changes, *, fresh: bool = False) -> None:
        """Put record and changes down together."""
        session = record.token.session

        def entry() -> dict[str, Any]:
            found: dict[str, Any] = {"r": record.text()}
            if fresh:
                found["fresh"] = 1
            if changes or fresh:
                put = {} if large else changes.put
                found["c"] = [put, changes.added, list(changes.gone), changes.requests]
            if large:
                found["parts"] = len(changes.put)
            return found

        large = sum(map(len, changes.put.values())) > _PART
        self._note(entry, chain([_NOTHING], _parts(changes.put)) if large else ())
        self._records[session] = record
        if fresh:
            self._data.pop(session, None)
        if changes or fresh:
            held = self._session(session)
            self.repeated += [(session, number) for number in changes.requests if number in held.requests]
            held.apply(changes)

    async def drop(self, record: Record) -> None:
        """Remove a session's data and put down the record."""
        self._note(lambda: {"r": record.text(), "drop": 1})
        self._records[record.token.session] = record
        self._data.pop(record.token.session, None)

    async def forget(self, session: str) -> None:
        """Remove all that is known of a session."""
        self._note(lambda: {"forget": session})
        self._records.pop(session, None)
        self._data.pop(session, None)

    async def setting(self, name: str) -> str | None:
        """A setting of the location."""
        return self._settings.get(name)

    async def set(self, name: str, value: str) -> None:
        """Put down a setting."""
        self._note(lambda: {"set": {name: value}})
        self._settings[name] = value

    async def close(self) -> None:
        """Nothing is open."""


def _parts(put: Mapping[str, str]) -> Iterator[bytes]:
    """An entry for each text."""
    return (_packed({"part": {"key": key, "data": value}}) for key, value in put.items())


def _packed(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
