"""The key with which an agent goes to an OpenWhisk server, or to a proxy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator

from roles.openwhisk.auth import PUBLIC, header, read_keys
from testbed.errors import TestbedError
from testbed.units import refuse


def _key(value: object) -> object:
    if isinstance(value, str) and not set(value) & set(" \t\r\n"):
        return value
    raise refuse("UUID:KEY, the same in base64, or the absolute path of a file with keys")


Key = Annotated[str, BeforeValidator(_key)]


def authorization(key: str, user: str) -> str:
    """The header that shows a key: one that is given, or that of ``user`` in a file, or the public one.

    Raises TestbedError, which does not tell the key.
    """
    if key and not key.startswith("/"):
        return header(key)
    known = read_keys(Path(key)) if key else PUBLIC
    if user not in known:
        raise TestbedError(f"There is no key of {user!r} among those of {', '.join(sorted(known))}.")
    return header(known[user])
