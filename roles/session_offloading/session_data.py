"""The data of a session on their way, neither written nor read in one piece; ``messages.py`` says how they look."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

from roles.session_offloading.messages import Refused

_ESCAPED = bytes(range(32)) + b'"\\'
_LONG = 1 << 18  # characters of a text in one part of a body
_BEGINNING = b'{"session_data":['
_NEXT = b'},{"key":"'  # no text can have these within, since its quotation marks are escaped


class Written(Sequence[bytes]):
    """Session data as the parts of a body, each of which is made when somebody asks for it: nobody holds all of them.

    A text that is longer than ``_LONG`` characters is in several parts. The data may not change meanwhile.
    """

    def __init__(self, data: Mapping[str, str]) -> None:
        self._cuts: list[tuple[bytes, str, int, bytes]] = []  # what comes before, the text, from where on, what follows
        for number, (key, text) in enumerate(data.items()):
            before = b'%b{"key":"%b","data":"' % (b"," if number else b"", _escaped(key))
            for begin in range(0, len(text) or 1, _LONG):
                self._cuts.append((b"" if begin else before, text, begin, b"" if begin + _LONG < len(text) else b'"}'))

    def __len__(self) -> int:
        return len(self._cuts) + 2

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | Sequence[bytes]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        if index % len(self) == 0:
            return _BEGINNING
        if index % len(self) == len(self) - 1:
            return b"]}"
        before, text, begin, after = self._cuts[index % len(self) - 1]
        return b"%b%b%b" % (before, _escaped(text[begin : begin + _LONG]), after)


def _escaped(text: str) -> bytes:
    """A text as it stands in JSON; most have nothing in them that must be escaped, which is quick to see."""
    data = text.encode("utf-8", "surrogatepass")
    if len(data.translate(None, _ESCAPED)) == len(data):
        return data
    return json.dumps(text, ensure_ascii=False).encode("utf-8", "surrogatepass")[1:-1]


class Reading:
    """Takes the body of session data in, piece by piece, and keeps no more of it than the entry that is not whole yet.

    That holds for what :class:`Written` writes. Of what others write, all may have to be kept until the end.
    """

    def __init__(self) -> None:
        self._data: dict[str, str] = {}
        self._rest, self._seen = bytearray(), 0
        self._before: bytes | None = None  # what has been taken off the beginning of ``_rest``; None: not looked at yet
        self._in_pieces = False

    def take(self, piece: bytes) -> None:
        """The next bytes. What is wrong with them is told in the end."""
        self._rest += piece
        if self._before is None:
            if len(self._rest) < len(_BEGINNING):
                return
            self._in_pieces = self._rest.startswith(_BEGINNING)
            self._before = _BEGINNING if self._in_pieces else b""
            del self._rest[: len(self._before)]
        at = 0
        while self._in_pieces and (end := self._rest.find(_NEXT, max(at, self._seen))) >= 0:
            self._in_pieces = self._keep(bytes(self._rest[at : end + 1]))
            at = end + 2 if self._in_pieces else at
        del self._rest[:at]
        self._seen = max(0, len(self._rest) - len(_NEXT))

    def _keep(self, entries: bytes) -> bool:
        """Whether these are entries."""
        try:
            found = dict(_entries(json.loads(b"[%b]" % entries)))
        except (ValueError, KeyError, TypeError, RecursionError):
            return False
        self._data.update(found)
        return True

    def done(self) -> dict[str, str]:
        """All the data; raises Refused (502) for what is none, since another location should have written it."""
        rest = bytes((self._before or b"") + self._rest)
        self._rest.clear()
        try:
            self._data.update(_entries(json.loads(rest)["session_data"]))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            why = f"{type(error).__name__}: {str(error)[:80]}"
            raise Refused(502, f"What came is no session data ({why}); it begins with {rest[:60]!r}.") from None
        return self._data


def _entries(entries: Iterable[Any]) -> Iterator[tuple[str, str]]:
    for entry in entries:
        key, value = entry["key"], entry["data"]
        if not isinstance(key, str) or not isinstance(value, str):
            raise ValueError(f"the key {str(key)[:40]!r} has no text")
        yield key, value
