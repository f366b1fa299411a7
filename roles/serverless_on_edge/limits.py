"""What is too much, too long or no name at all: a request that has it is refused in words."""

from __future__ import annotations

import re

MOST_BYTES = 64 * 2**20  # of one message
MOST_CALLS = 10_000  # at one server at a time, those that wait included
MOST_BYTES_HELD = 512 * 2**20  # of the requests that one server has taken and not answered
MOST_PARTS = 100_000  # fields of one request, those of all that is in it included
MOST_NAME = 1_000  # characters of a function's or state's name, and of a uuid
MOST_FUNCTIONS = 256  # of a chain or DAG that computers drive; a chain has used up its hops before
MOST_ENTRIES = 100_000  # of one table
MOST_MEMBERS = 10_000  # computers and routers that one controller knows
MOST_CONTAINERS = 10_000  # of one computer
MOST_SERVICE_S = 86_400.0  # that an input may state
MOST_HOPS = 254
_SHOWN = 60
_ENDPOINT = re.compile(r"(?:\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[\w.-]+):([0-9]{1,5})", re.ASCII)


class Refused(ValueError):
    """A request that nobody can carry out; the caller is told the text."""


def cut(text: str) -> str:
    """A text of others, cut if it is longer than a name may be."""
    return text if len(text) <= MOST_NAME else f"{text[:_SHOWN]}... ({len(text)} characters)"


def shown(text: str) -> str:
    """A text of others in quotes, cut if it is longer than a name may be."""
    return repr(text) if len(text) <= MOST_NAME else f"{text[:_SHOWN]!r}... ({len(text)} characters)"


def wrong_with_name(what: str, name: str) -> str:
    """Why this is no name of ``what``; empty if it is one."""
    if not name:
        return f"the name of {what} is empty"
    if len(name) > MOST_NAME:
        return f"the name of {what} has {len(name)} characters; {MOST_NAME} at most"
    return ""


def wrong_with_endpoint(what: str, text: str) -> str:
    """Why this is no ``host:port``; empty if it is one."""
    found = _ENDPOINT.fullmatch(text) if len(text) <= MOST_NAME else None
    if found is None or not 0 < int(found[1]) < 65536:
        return f"{what} is {shown(text)}; it must be host:port"
    return ""
