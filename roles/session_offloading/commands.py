"""The commands of the session offloading manager: /function/session-offloading-manager?command=…, by any verb."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from roles.session_offloading.messages import (
    FORCED,
    ONLOAD_TO,
    VERSION,
    Refused,
    SessionToken,
    parsed,
    token_of,
    version_of,
)
from roles.session_offloading.records import Record
from testbed.roles.web import WebReply, WebRequest, said, told

if TYPE_CHECKING:
    from roles.session_offloading.location import Location

STATUSES = ("accept", "reject")
NOT_ROOT = "the root of the tree, which has nobody above it"
NOT_LEAF = "a leaf of the tree, which has nobody below it"
Command = Callable[[WebRequest], Awaitable[WebReply]]


class Commands:
    """What one location does when it is told to."""

    def __init__(self, location: Location) -> None:
        self._location = location
        self._place, self._book = location.place, location.book
        self._given: Mapping[str, tuple[Command, str]] = {
            "set-offload-status": (self._set_status, NOT_ROOT),
            "force-offload": (self._force_offload, NOT_ROOT),
            "force-onload": (self._force_onload, NOT_ROOT),
            "offload-session": (self._offload, NOT_LEAF),
            "onload-session": (self._onload, NOT_LEAF),
            "update-session": (self._update, ""),
            "migrate-session": (location.giving.migrate, ""),
            "register-receive-propagate": (self._register, ""),
            "receive-propagate": (self._receive, ""),
            "test-function": (self._test, ""),
            "metrics": (self._metrics, ""),
            "garbage-collector": (self._collect, ""),
        }

    async def answer(self, request: WebRequest) -> WebReply:
        """Carry a command out; raises Refused."""
        name = request.query.get("command", "")
        if name not in self._given:
            known = "".join(f"\n\t{each}" for each in self._given)
            return said(404, f"There is no command {name!r}. Commands:{known}\n")
        command, nowhere = self._given[name]
        if nowhere and (self._place.is_root if nowhere is NOT_ROOT else self._place.is_leaf):
            raise Refused(400, f"The command {name} does not belong here: {self._place.name} is {nowhere}.")
        return await command(request)

    # For the oracle.

    async def _set_status(self, request: WebRequest) -> WebReply:
        status = request.query.get("status", "")
        if status not in STATUSES:
            raise Refused(400, f"The status is accept or reject, not {status!r}.")
        before = self._location.status
        await self._location.set_status(status)
        return said(200, f"Offloading status from <{before}> to <{status}>\n")

    async def _force_offload(self, request: WebRequest) -> WebReply:
        forced = request.header(FORCED)
        movable = [forced] if forced and self._book.serves(forced) else [] if forced else self._book.movable()
        if not movable:
            which = f"the session {forced!r} is not here" if forced else "no session is here"
            raise Refused(400, f"Nothing to offload from {self._place.name}: {which}.")
        return await self.offload(self._location.chosen(movable))

    async def offload(self, session: str) -> WebReply:
        """Offer a session to the parent."""
        parent = self._place.parent
        assert parent is not None

        async def until(record: Record) -> WebReply:
            headers = {VERSION: str(record.version), **self._location.signing.proof(record.token, "offload")}
            body = str(record.token).encode("utf-8", "surrogatepass")
            reply = await self._location.courier.send(parent, "offload-session", body, headers)
            if reply.status != 200:
                raise Refused(reply.status, f"{parent} does not take {session!r}: {reply.text[:300].strip()}")
            return said(200, f"Offloading to {parent}:\n\t{record.token}\n")

        return await self._location.giving.offering(session, until)

    async def _force_onload(self, request: WebRequest) -> WebReply:
        moved = await self._location.taking.pull(self._location.options.onload_climb)
        lines = "".join(f"Unloaded:\n\tOld: {old}\n\tNew: {new}\n" for old, new in moved)
        return said(200, lines)

    # Between locations.

    async def _offload(self, request: WebRequest) -> WebReply:
        token = token_of(parsed(request.body, "a session token"))
        self._location.signing.check(request, token, "offload")
        if self._location.status == "reject" and self._place.parent is not None:
            headers = {name: value for name, value in request.headers if name.startswith("x-session")}
            return await self._location.courier.send(self._place.parent, "offload-session", request.body, headers)
        return await self._location.taking.accept(token)

    async def _onload(self, request: WebRequest) -> WebReply:
        if request.query.get("action") == "release-session" and self._location.options.sticky_locks:
            self._location.offers.release(request.query.get("session", ""), request.query.get("random-value", ""))
            return said(200, "Released\n")
        to = request.header(ONLOAD_TO)
        if not to:
            raise Refused(400, f"Say who asks: the header {ONLOAD_TO} is missing.")
        self._location.signing.check(request, SessionToken("-", to, to), "onload")
        if to == self._place.name or not self._place.tree.holds(self._place.name, to):
            raise Refused(400, f"{to!r} is not below {self._place.name}.")
        fit = [each for each in self._book.movable()
               if self._place.tree.holds(to, self._book.records[each].token.owner)]  # fmt: skip
        tokens = await self._location.offers.down(fit, to)
        if not tokens:
            raise Refused(400, f"No session from the subtree of {to} is at {self._place.name}.")
        if self._location.options.onload_batch > 1:
            return told(200, [token.data() for token in tokens])
        held = self._location.options.sticky_locks and request.query.get("action") == "get-session"
        secret = [("x-random-value", self._location.offers.secret(tokens[0].session))] if held else []
        return told(200, tokens[0].data(), *secret)

    async def _update(self, request: WebRequest) -> WebReply:
        token = token_of(parsed(request.body, "a session token"))
        self._location.signing.check(request, token, "update")
        if token.owner != self._place.name:
            raise Refused(400, f"The session {token.session!r} is not of {self._place.name}: {token}.")
        record = self._book.records.get(token.session)
        if record is None:
            raise Refused(400, f"{self._place.name} does not know the session {token.session!r}.")
        self._place.address(token.current)
        version = version_of(request.header(VERSION))
        if record.leaving and version is None:
            raise Refused(503, f"The session {token.session!r} is on its way to {record.leaving}.")
        if not await self._book.learned(token, version):
            return said(200, f"Known already, and more: {record.token}\n")
        if record.leaving:
            self._location.giving.settled(token.session)
        return said(200, f"Updated:\n\tOld: {record.token}\n\tNew: {token}\n")

    # Propagation.

    async def _register(self, request: WebRequest) -> WebReply:
        function = request.query.get("function", "")
        if function not in self._location.functions:
            raise Refused(400, f"The function {function!r} is not deployed at {self._place.name}.")
        await self._location.register(function)
        return said(200, f"{function} receives what is propagated to {self._place.name}\n")

    async def _receive(self, request: WebRequest) -> WebReply:
        data = parsed(request.body, "a value and the name of a function")
        if not isinstance(data, dict) or not all(isinstance(data.get(key), str) for key in ("value", "function")):
            raise Refused(400, 'Propagated data look like {"value": "...", "function": "..."}.')
        if data["function"] in self._location.receivers:
            return await self._location.deliver(data["function"], data["value"])
        return said(200, "")

    # For people.

    async def _test(self, request: WebRequest) -> WebReply:
        session = request.query.get("session", "")
        record = self._book.records.get(session)
        if request.query.get("format") == "json":
            return told(200 if record else 400, await self._details(session, record))
        if record is None:
            raise Refused(400, f"{self._place.name} does not know the session {session!r}.")
        away = record.token.current != record.token.owner
        return said(200, f"offloaded: yes ({record.token.current})\n" if away else "offloaded: no\n")

    async def _details(self, session: str, record: Record | None) -> dict[str, Any]:
        return {
            "token": record.token.data() if record else None,
            "version": str(record.version) if record else "",
            "here": bool(record and record.here),
            "leaving": record.leaving if record else "",
            "taking": session in self._book.taking,
            "bytes": await self._book.storage.size(session) if record else 0,
        }

    async def _metrics(self, request: WebRequest) -> WebReply:
        return told(200, await self._location.metrics())

    async def _collect(self, request: WebRequest) -> WebReply:
        """An extension: delete a session, or all that were not used for long. The body counts them."""
        policy, session = request.query.get("deletePolicy", ""), request.query.get("sessionId", "")
        if policy == "moved":
            return await self._moved_and_gone(request, session)
        if policy not in ("expiration", "forced"):
            raise Refused(400, f"The deletePolicy is expiration or forced, not {policy!r}.")
        limit = self._location.options.collect_after
        if policy == "expiration" and limit is None:
            raise Refused(400, "Sessions never expire here: the parameter collect_after is not set.")
        chosen = [session] if session else self._book.movable()
        old = [each for each in chosen if policy == "forced" or self._location.idle_s(each) >= (limit or 0.0)]
        return said(200, str(sum([await self._location.remove(each) for each in old])))


    async def _moved_and_gone(self, request: WebRequest, session: str) -> WebReply:
        """The holder of an own session has deleted it."""
        record = self._book.records.get(session)
        if record is not None and not record.here:
            self._location.signing.check(request, record.token, "collect")
            await self._book.forget(session)
            self._location.written.discard(session)
        return said(200, "1" if record is not None and not record.here else "0")
