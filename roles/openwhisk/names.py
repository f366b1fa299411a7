"""Names and paths: what a request is about.

    /api/v1/namespaces/{namespace}/{collection}[/{package}]/{name}[/{rest}]
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import parse_qsl, unquote

from roles.openwhisk.errors import NO_ROUTE, Refused

BASE = "/api/v1"
OWN = "_"  # in a path: the namespace of whoever asks
DEFAULT = "default"  # a package that cannot be made: actions without a package are in it
COLLECTIONS = ("actions", "activations", "packages", "triggers", "rules", "limits")
_NAME = re.compile(r"[A-Za-z0-9_]([\w@ .&-]{0,254}[\w@.&-])?", re.ASCII)
_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Route:
    """A path taken apart: ``parts`` is what stands behind the collection; both are empty for the top paths."""

    namespace: str
    collection: str
    parts: tuple[str, ...]
    query: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Full:
    """The full name of an action; ``package`` is empty for one without."""

    namespace: str
    package: str
    name: str

    @property
    def path(self) -> str:
        """``namespace/name`` or ``namespace/package/name``."""
        return "/".join(part for part in (self.namespace, self.package, self.name) if part)

    @property
    def holder(self) -> str:
        """What records of it call its namespace: with the package, if it is in one."""
        return f"{self.namespace}/{self.package}" if self.package else self.namespace


@lru_cache(maxsize=4096)
def route(target: str) -> Route:
    """The path and query of a request line, taken apart; raises Refused (404, 400)."""
    path, _, raw = target.partition("?")
    query = dict(parse_qsl(raw, keep_blank_values=True, errors="replace"))
    if not path.startswith(BASE) or path[len(BASE) :][:1] not in ("", "/"):
        raise Refused(404, NO_ROUTE)
    parts = [unquote(part, errors="replace") for part in path[len(BASE) :].split("/")[1:]]
    while parts and not parts[-1]:
        parts.pop()  # collections are asked for with and without a slash behind them
    if not parts:
        return Route("", "", (), query)
    if parts[0] != "namespaces" or (len(parts) > 2 and parts[2] not in COLLECTIONS):
        raise Refused(404, NO_ROUTE)
    if len(parts) == 1:
        return Route("", "namespaces", (), query)
    namespace = parts[1] if parts[1] == OWN else named(parts[1], "The namespace contains illegal characters.")
    return Route(namespace, parts[2] if len(parts) > 2 else "", tuple(parts[3:]), query)


def is_name(name: str) -> bool:
    """Whether something can be called so."""
    return _NAME.fullmatch(name) is not None


def named(name: str, otherwise: str = "The name of the entity contains illegal characters.") -> str:
    """A name as it is; raises Refused (400) for what cannot be one."""
    if not is_name(name):
        raise Refused(400, otherwise)
    return name


def action_name(namespace: str, parts: tuple[str, ...]) -> Full:
    """The action that the parts of a path name; raises Refused."""
    if not 1 <= len(parts) <= 2:
        raise Refused(404, NO_ROUTE)
    package = parts[0] if len(parts) == 2 and parts[0] != DEFAULT else ""
    return Full(namespace, named(package) if package else "", named(parts[-1]))


def full_name(text: object, own: str) -> Full:
    """The action that ``/namespace/[package/]name``, ``package/name`` or ``name`` names; raises Refused (400)."""
    if not isinstance(text, str) or not text.strip("/"):
        raise Refused(400, "The name of the entity contains illegal characters.")
    parts = text.strip("/").split("/")
    if not text.startswith("/") and len(parts) < 3:
        parts.insert(0, own)
    if not 2 <= len(parts) <= 3:
        raise Refused(400, "The fully qualified name of the entity must contain at least the namespace and its name.")
    for part in parts[1:]:
        named(part)
    namespace = own if parts[0] == OWN else named(parts[0], "The namespace contains illegal characters.")
    package = parts[1] if len(parts) == 3 and parts[1] != DEFAULT else ""
    return Full(namespace, package, parts[-1])


def activation_id(text: str) -> str:
    """An activation's id as it is; raises Refused (400)."""
    if len(text) != 32:
        raise Refused(400, f"Activation id length is {len(text)} but must be 32.")
    if _ID.fullmatch(text) is None:
        raise Refused(400, "The activation id is not valid.")
    return text


# Queries.


def flag(query: Mapping[str, str], name: str, otherwise: bool = False) -> bool:
    """A query's ``name=true`` or ``false``; raises Refused (400) for anything else."""
    text = query.get(name)
    if text is None:
        return otherwise
    if text.lower() in ("true", "yes", "on", "1"):
        return True
    if text.lower() in ("false", "no", "off", "0", ""):
        return False
    raise Refused(400, f"The query parameter '{name}' was malformed:\n'{text[:80]}' is not a valid Boolean value")


def whole(query: Mapping[str, str], name: str, collection: str) -> int | None:
    """A query's whole number; raises Refused (400)."""
    text = query.get(name)
    if text is None:
        return None
    if re.fullmatch(r"-?[0-9]{1,18}", text) is None:
        raise Refused(400, f"The value '{text[:80]}' is not an integer for {collection}.")
    return int(text)


MOST_LISTED, USUALLY_LISTED = 200, 30


def window(query: Mapping[str, str], collection: str) -> tuple[int, int]:
    """What part of a list is asked for: how many to skip, and how many to give; raises Refused (400)."""
    limit, skip = whole(query, "limit", collection), whole(query, "skip", collection)
    if limit is not None and not 0 <= limit <= MOST_LISTED:
        raise Refused(400, f"The value '{limit}' is not in the range of 0 to {MOST_LISTED} for {collection}.")
    if skip is not None and skip < 0:
        raise Refused(400, f"The value '{skip}' is not greater than or equal to 0 for {collection}.")
    return skip or 0, USUALLY_LISTED if limit is None else limit or MOST_LISTED
