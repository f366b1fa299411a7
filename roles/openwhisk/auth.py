"""Who asks: HTTP Basic authentication with one key for each namespace.

A key is ``uuid:secret``. A file of keys has lines ``NAMESPACE UUID:SECRET``; what begins with ``#`` is skipped. It may
not be open to everybody on its machine.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from roles.openwhisk.errors import BAD_CREDENTIALS, CHALLENGE, NO_CREDENTIALS, Refused
from testbed.errors import TestbedError

SYSTEM = "whisk.system"  # the experiment's own clients; may use every namespace
GUEST = "guest"

# The original ships these for trying things out, and its tools know them: they are names, not secrets.
PUBLIC = {
    GUEST: "23bc46b1-71f6-4ed5-8c54-816aa4f8c502:123zO3xZCLrMN6v2BKK1dXYFpXlPkccOFqm12CdAsMgRU4VrNZ9lyGVCGuMDGIwP",
    SYSTEM: "789c46b1-71f6-4ed5-8c54-816aa4f8c502:abczO3xZCLrMN6v2BKK1dXYFpXlPkccOFqm12CdAsMgRU4VrNZ9lyGVCGuMDGIwP",
}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks. The system's own key may use every namespace."""

    namespace: str
    secret: str

    @property
    def is_system(self) -> bool:
        """Whether it may use every namespace."""
        return self.namespace == SYSTEM


class Keys:
    """All keys, by namespace."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._known: dict[bytes, Identity] = {}
        for namespace, key in keys.items():
            uuid, colon, secret = key.partition(":")
            if not uuid or not colon or not secret:
                raise TestbedError(f"The key of the namespace {namespace!r} is not UUID:SECRET.")
            self._known[uuid.encode()] = Identity(namespace, secret)

    @property
    def namespaces(self) -> tuple[str, ...]:
        """The namespaces that have a key."""
        return tuple(each.namespace for each in self._known.values())

    def identity(self, header: str) -> Identity:
        """Whoever sends this Authorization header; raises Refused (401)."""
        scheme, _, text = header.partition(" ")
        if scheme.lower() != "basic" or not text:
            raise Refused(401, NO_CREDENTIALS, CHALLENGE)
        try:
            uuid, _, secret = base64.b64decode(text.strip(), validate=True).partition(b":")
        except (binascii.Error, ValueError):
            raise Refused(401, BAD_CREDENTIALS, CHALLENGE) from None
        found = self._known.get(uuid)
        if found is None or not hmac.compare_digest(found.secret.encode(), secret):
            raise Refused(401, BAD_CREDENTIALS, CHALLENGE)
        return found


def header(key: str) -> str:
    """The Authorization header for ``uuid:secret``, or for what is base64 already."""
    return "Basic " + (base64.b64encode(key.encode()).decode() if ":" in key else key)


def namespace_of(identity: Identity, asked: str) -> str:
    """The namespace that a path means for whoever asks; raises Refused (403)."""
    if asked in ("_", identity.namespace):
        return identity.namespace
    if not identity.is_system:
        raise Refused(403, f"The supplied authentication is not authorized to access '{asked}'.")
    return asked


def read_keys(path: Path) -> dict[str, str]:
    """The keys in a file, by namespace; raises TestbedError."""
    try:
        if path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
            raise TestbedError(f"{path}: everybody may read these keys. Keep others out: chmod 600 {path}")
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TestbedError(f"{path}: the keys cannot be read: {error}") from None
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        words = line.split()
        if words and not words[0].startswith("#"):
            if len(words) != 2 or ":" not in words[1]:
                raise TestbedError(f"{path}:{number}: expected NAMESPACE UUID:SECRET.")
            found[words[0]] = words[1]
    return found
