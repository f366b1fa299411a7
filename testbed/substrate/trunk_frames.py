"""Frames on their way through a UDP tunnel: how they are bundled, cut into datagrams, and put together again.

A **bundle** holds the frames that were waiting at once, each as a record: number of its link, number of the frame on
that link, length, then the frame with its notes on offload (see ``shaping/frames.py``). A bundle is cut into datagrams
that fit the way between the machines, each with a head: the run's secret, number of the bundle, number of the piece,
how many pieces. So frames of any size fit any way, and one system call sends many. All numbers are in network order.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

SECRET_BYTES = 16
HEAD = Struct(f"!{SECRET_BYTES}sIHH")
PROBE = Struct("!Bdd")  # 0 for a question and 1 for its answer, when it was asked, how long the answerer held it
_RECORD = Struct("!HII")
_HALF = 1 << 31
_UNFINISHED = 64  # bundles of one peer that may wait for pieces; the oldest is given up


class Outbox:
    """What waits to be sent to one peer, as one bundle. ``piece`` is the largest datagram that fits the way."""

    def __init__(self, secret: bytes, piece: int) -> None:
        self._secret, self._room = secret, piece - HEAD.size
        self._bundle = 0
        self._parts: list[bytes] = []
        self.size = 0

    def add(self, link: int, number: int, frame: bytes) -> None:
        """One more frame for the bundle."""
        self._parts += (_RECORD.pack(link, number, len(frame)), frame)
        self.size += _RECORD.size + len(frame)

    def datagrams(self) -> list[bytes]:
        """The datagrams of the bundle, all but the last of the same size; the next frame begins a new one."""
        bundle, room = b"".join(self._parts), self._room
        pieces = -(-len(bundle) // room)
        heads = (HEAD.pack(self._secret, self._bundle, number, pieces) for number in range(pieces))
        found = [head + bundle[number * room : (number + 1) * room] for number, head in enumerate(heads)]
        self._bundle = self._bundle + 1 & 0xFFFFFFFF
        self._parts, self.size = [], 0
        return found


class Inbox:
    """Puts together the bundles that one peer sent. Pieces may be lost and overtake each other."""

    def __init__(self) -> None:
        self._unfinished: dict[int, dict[int, bytes]] = {}

    def take(self, bundle: int, piece: int, pieces: int, content: bytes) -> bytes | None:
        """The bundle, if this was its last missing piece."""
        if pieces == 1:
            return content
        found = self._unfinished.setdefault(bundle, {})
        found[piece] = content
        if len(found) == pieces:
            del self._unfinished[bundle]
            return b"".join(found[number] for number in sorted(found))
        if len(self._unfinished) > _UNFINISHED:
            del self._unfinished[next(iter(self._unfinished))]
        return None


def records(bundle: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Link, number on that link, and frame of each record; what is left of a broken one is dropped."""
    at = 0
    while at + _RECORD.size <= len(bundle):
        link, number, length = _RECORD.unpack_from(bundle, at)
        at += _RECORD.size
        if at + length > len(bundle):
            return
        yield link, number, bundle[at : at + length]
        at += length


class Tally:
    """How many frames of one link were lost on the way, by the gaps in their numbers."""

    def __init__(self) -> None:
        self._next = -1  # the first frame may not be the first: this end was not up yet
        self.missing = 0

    def note(self, number: int) -> None:
        """A frame arrived; one that was overtaken is no longer missing."""
        ahead = number - self._next & 0xFFFFFFFF if self._next >= 0 else 0
        if ahead < _HALF:
            self.missing += ahead
            self._next = number + 1 & 0xFFFFFFFF
        else:
            self.missing = max(0, self.missing - 1)
