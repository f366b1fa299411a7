"""Where a location is: its neighbours in the tree, their addresses, and how to send them a command."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from roles.session_offloading import tree
from roles.session_offloading.messages import MANAGER, PROOF, Refused, SessionToken
from roles.session_offloading.options import LocationOptions
from testbed.errors import TestbedError
from testbed.roles.api import CallFailed, Environment, Site
from testbed.roles.web import WEB, WebReply, WebRequest, fields, poured

LOCATION = "location"
_USUAL = {1: ("cloud",), 2: ("cloud", "edge"), 3: ("cloud", "cloudlet", "edge")}


def tree_of(site: Site, options: LocationOptions) -> tree.Tree:
    """The tree of all locations, the same at each of them."""
    locations = site.places[LOCATION]
    if options.tree is not None:
        return tree.given(options.tree, locations)
    return tree.grown(site.graph, locations, site.places.get("client", ()))


class Place:
    """One location among the others. ``name`` is its own."""

    def __init__(self, site: Site, options: LocationOptions) -> None:
        self.name, self.tree = site.node, tree_of(site, options)
        self.is_root, self.is_leaf = self.name == self.tree.root, self.tree.is_leaf(self.name)
        self.parent = None if self.is_root else self.tree.parents[self.name]
        self.levels = options.levels or _usual(self.tree.height + 1)
        self._site, self._port = site, options.port
        if len(self.levels) <= self.tree.height:
            found = f"{len(self.levels)} levels for a tree that has {self.tree.height + 1}"
            raise TestbedError(f"The parameter levels names {found}. Name each, the root's first.")

    def address(self, location: str) -> str:
        """Where a location's gateway listens; raises Refused (400) for a location that does not exist."""
        if location not in self.tree.children:
            raise Refused(400, f"There is no location {location!r} in the tree.")
        return self._site.endpoint(location, self._port)

    def has(self, marks: Sequence[str]) -> bool:
        """Whether this location is meant by names, levels, or all, root, middle, leaf."""
        own = {"all", self.name, self.levels[self.tree.depth(self.name)]}
        own |= {"root"} if self.is_root else {"leaf"} if self.is_leaf else {"middle"}
        return not own.isdisjoint(marks)

    def reached(self, level: str) -> tuple[str, ...]:
        """The locations on the way from ``level`` down to here, both included; of a list of levels, exactly those."""
        path = self.tree.path(self.name)
        wanted = [each.strip() for each in level.split(",")]
        depths = [self.levels.index(each) for each in wanted if each in self.levels]
        if len(wanted) == 1 and depths:
            return path[depths[0] :]
        return tuple(path[depth] for depth in sorted(set(depths)) if depth < len(path))


def _usual(count: int) -> tuple[str, ...]:
    return _USUAL.get(count) or ("cloud", *(f"cloudlet{number}" for number in range(1, count - 1)), "edge")


class Signing:
    """Signs what moves sessions, where there is a key; without one everybody is believed."""

    def __init__(self, key: bytes | None) -> None:
        self._key = key

    def proof(self, token: SessionToken, purpose: str) -> dict[str, str]:
        """The header that proves who wrote ``token`` and what for."""
        return {PROOF: self._mac(token, purpose)} if self._key is not None else {}

    def check(self, request: WebRequest, token: SessionToken, purpose: str) -> None:
        """Raise Refused (403) unless the request carries the proof."""
        given = request.header(PROOF).encode("utf-8", "surrogatepass")
        if self._key is not None and not hmac.compare_digest(given, self._mac(token, purpose).encode()):
            raise Refused(403, f"This request is not signed by a location of the tree (header {PROOF}).")

    def _mac(self, token: SessionToken, purpose: str) -> str:
        text = "\0".join((purpose, token.session, token.owner, token.current))
        return hmac.new(self._key or b"", text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def signing(options: LocationOptions) -> Signing:
    """With the key in the file that the options name; raises TestbedError if it cannot be used."""
    if options.key is None:
        return Signing(None)
    try:
        key = Path(options.key).read_bytes().strip()
    except OSError as error:
        raise TestbedError(f"The key that signs sessions cannot be read: {options.key}: {error.strerror}.") from error
    if len(key) < 16:
        raise TestbedError(f"The key in {options.key} is too short: it needs 16 bytes at least.")
    return Signing(key)


@dataclass(frozen=True)
class Post:
    """What a location needs to deal with others. ``ask_again`` is the time between two attempts, in seconds."""

    place: Place
    courier: Courier
    signing: Signing
    env: Environment
    ask_again: float


class Courier:
    """Sends commands to other locations."""

    def __init__(self, env: Environment, place: Place, options: LocationOptions) -> None:
        self._env, self._place, self._options = env, place, options

    async def send(
        self,
        location: str,
        command: str,
        body: bytes = b"",
        headers: Mapping[str, str] = {},
        timeout: float | None = None,
        sink: Callable[[bytes], object] | None = None,
        **query: str,
    ) -> WebReply:
        """The answer, whatever its status; raises Refused (502) if there is none.

        ``sink`` takes the body of one of status 200, as it comes.
        """
        target = f"/function/{MANAGER}?{urlencode({'command': command, **query}, errors='surrogatepass')}"
        kind = {"content-type": "application/json"} if body else {}
        request = WebRequest("POST", target, fields({**kind, **headers}), body, self._options.keep_alive, sink)
        patience = timeout or self._options.call_timeout
        try:
            reply = await self._env.call(self._place.address(location), WEB, request, patience)
        except CallFailed as failure:
            raise Refused(502, f"The location {location} does not answer to {command}: {failure}.") from failure
        if sink is not None:
            poured(reply, sink)
        return reply
