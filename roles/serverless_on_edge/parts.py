"""How many parts a message in its bytes is made of, found out before anything is made of them.

A part of two bytes takes a hundred times as many once it is an object: a message of the greatest size that has nothing
but such parts would take gigabytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from roles.serverless_on_edge.limits import MOST_PARTS, Refused
from roles.serverless_on_edge.messages import Wired

Inner = Mapping[int, Any]  # what the fields hold that have parts themselves, by number: an Inner, or PACKED
PACKED = "packed"
_VARINT, _FIXED64, _SIZED, _FIXED32 = 0, 1, 2, 5


def inner(kind: type[Any]) -> Inner:
    """Which fields of a message type have parts."""
    found = dict[int, Any]()
    for each in fields(kind):
        wired: Wired = each.metadata["wired"]
        held = inner(wired.holds) if wired.kind == "message" and wired.holds else None
        if wired.shape == "map":
            found[wired.number] = {} if held is None else {2: held}
        elif held is not None:
            found[wired.number] = held
        elif wired.shape == "many" and wired.kind not in ("string", "bytes"):
            found[wired.number] = PACKED
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80 or shift > 63:
            return value, at
        shift += 7


def _count(data: bytes, at: int, end: int, fields_in: Inner, parts: int) -> int:
    while at < end:
        key, at = _varint(data, at)
        parts += 1
        if key & 7 == _VARINT:
            _, at = _varint(data, at)
        elif key & 7 in (_FIXED64, _FIXED32):
            at += 8 if key & 7 == _FIXED64 else 4
        elif key & 7 == _SIZED:
            size, at = _varint(data, at)
            held = fields_in.get(key >> 3)
            if held is PACKED:
                parts += size
            elif held is not None:
                parts = _count(data, at, min(at + size, end), held, parts)
            at += size
        if parts > MOST_PARTS:
            raise Refused(f"the request is made of more than {MOST_PARTS} parts")
    return parts


def check(of: Inner, data: bytes) -> None:
    """Raise Refused for a request of more than MOST_PARTS parts. Bytes that are no message are not found out here."""
    if len(data) > MOST_PARTS:  # a smaller one cannot have so many
        try:
            _count(data, 0, len(data), of, 0)
        except IndexError:
            return  # it ends in the middle of a number: decoding will say so
