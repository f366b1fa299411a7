"""The messages between the driver and its deputies: JSON objects, each after its length in four bytes.

    request  {"id": 7, "op": "run", "args": {...}}
    answer   {"id": 7, "ok": {...}}  or  {"id": 7, "error": {"kind": "FileNotFoundError", "text": "..."}}

A machine that lacks something adds its ``remedy``, and ``text`` is then what is missing alone.

A message of more than ``LARGEST`` bytes ends the connection: whoever sends one is broken. Files travel in pieces.
"""

from __future__ import annotations

import json
import struct
from typing import IO, Any

LARGEST = 16 << 20
PIECE = 1 << 20  # of a file, in one message
_LENGTH = struct.Struct("!I")

Message = dict[str, Any]


class Broken(ConnectionError):
    """What came is no message, or only half of one."""


def encoded(message: Message) -> bytes:
    """The bytes of a message; ValueError if it is too large to be sent."""
    body = json.dumps(message, separators=(",", ":")).encode()
    if len(body) > LARGEST:
        raise ValueError(f"a message of {len(body)} bytes; at most {LARGEST} may be sent")
    return _LENGTH.pack(len(body)) + body


def receive(source: IO[bytes]) -> Message | None:
    """The next message; None where the other side has ended in order. Raises Broken."""
    head = source.read(_LENGTH.size)
    if not head:
        return None
    if len(head) < _LENGTH.size:
        raise Broken("half a message")
    length = _LENGTH.unpack(head)[0]
    if length > LARGEST:
        raise Broken(f"a message of {length} bytes; at most {LARGEST} are taken")
    body = source.read(length)
    if len(body) < length:
        raise Broken("half a message")
    try:
        message = json.loads(body)
    except ValueError as error:
        raise Broken(f"what is no JSON ({error})") from None
    if not isinstance(message, dict):
        raise Broken("JSON that is no object")
    return message
