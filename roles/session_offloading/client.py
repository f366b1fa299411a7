"""The client: it begins at its edge node and follows its session, hop by hop."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar
from urllib.parse import quote, urlsplit

from roles.session_offloading.messages import REQUEST_ID, SESSION
from roles.session_offloading.options import ClientOptions
from testbed.errors import TestbedError
from testbed.roles.api import CallFailed, Client, Environment, Invocation, Outcome, Parameters, Site, Status
from testbed.roles.web import WEB, WebReply, WebRequest, fields
from testbed.tables import Row

_STATUS: dict[int, Status] = {200: "ok", 208: "ok", 503: "rejected", 504: "error"}


@dataclass(frozen=True, slots=True)
class _Hop:
    """One answer on the way, from ``address`` after ``seconds``."""

    address: str
    seconds: float


class SessionClient(Client):
    """Follows 307 with verb, body and headers kept. A session that has moved is found again from the edge node."""

    parameters_model: ClassVar[type[Parameters]] = ClientOptions

    def __init__(self, site: Site, parameters: ClientOptions) -> None:
        super().__init__(site, parameters)
        near = parameters.location or site.nearest("location")
        if near is None:
            raise TestbedError("A client of session_offloading needs a location to begin at. Place one (duty gateway).")
        if near not in site.places.get("location", ()):
            raise TestbedError(f"The client of {site.node} should begin at {near!r}, which is no location.")
        self._edge = site.endpoint(near, parameters.port)
        self._options = parameters
        self._last: dict[str, str] = {}
        self.acknowledged: dict[str, list[str]] = {}  # session -> the numbers of its requests that were answered well

    async def invoke(self, env: Environment, invocation: Invocation, timeout: float) -> Outcome:
        """One invocation, with all its redirects."""
        session = invocation.session or self._session(invocation)
        headers = {SESSION: session, "content-type": "text/plain; charset=utf-8"}
        if self._options.request_ids:
            headers[REQUEST_ID] = f"{self.site.node}-{invocation.invocation_id}"
        start = self._last.get(session, self._edge) if self._options.remember else self._edge
        target = f"/function/{quote(invocation.function)}"
        body = invocation.payload.encode("utf-8", "surrogatepass")
        request = WebRequest("POST", target, fields(headers), body, self._options.keep_alive)
        due, hops = env.now() + timeout, list[_Hop]()
        try:
            reply = await self._followed(env, request, start, due, hops)
        except CallFailed as failure:
            self._last.pop(session, None)
            status: Status = "timeout" if failure.kind == "timeout" else "error"
            outcome = Outcome(status, str(failure), hops=len(hops))
        else:
            self._last[session] = hops[-1].address
            outcome = _outcome(reply, hops)
            if self._options.request_ids and outcome.status == "ok":
                self.acknowledged.setdefault(session, []).append(headers[REQUEST_ID])
        env.emit("so_requests", _row(env.now(), invocation, session, hops, outcome))
        return outcome

    def _session(self, invocation: Invocation) -> str:
        """Users of a closed loop keep theirs, and share them if there are too few; in an open loop all take turns."""
        number = int(invocation.user.rpartition(".")[2]) if invocation.user else invocation.invocation_id
        return f"{self.site.node}-{number % self._options.sessions}"

    async def _followed(
        self, env: Environment, request: WebRequest, address: str, due: float, hops: list[_Hop]
    ) -> WebReply:
        while True:
            begun = env.now()
            reply = await self._asked(env, request, address, due - begun)
            hops.append(_Hop(address, env.now() - begun))
            if reply.status != 307:
                return reply
            if len(hops) > self._options.most_hops:
                way = " -> ".join(hop.address for hop in hops)
                raise CallFailed("protocol", f"after {len(hops)} redirects still no answer: {way}")
            to = urlsplit(reply.header("location"))
            address = to.netloc
            request = replace(request, target=f"{to.path}?{to.query}" if to.query else to.path)

    async def _asked(self, env: Environment, request: WebRequest, address: str, timeout: float) -> WebReply:
        """The answer; asked once more where requests are numbered and no answer came."""
        due = env.now() + timeout
        try:
            return await env.call(address, WEB, request, timeout)
        except CallFailed as failure:
            if not self._options.request_ids or failure.kind == "timeout":
                raise
        return await env.call(address, WEB, request, due - env.now())


def _outcome(reply: WebReply, hops: list[_Hop]) -> Outcome:
    status = _STATUS.get(reply.status, "ok" if reply.status < 300 else "error")
    text = reply.text
    return Outcome(
        status,
        "" if status == "ok" else f"{reply.status}: {text.strip()[:300]}",
        node=reply.header("x-location"),
        hops=len(hops),
        init_s=_seconds(reply, "x-init-s"),
        queue_s=_seconds(reply, "x-queue-s"),
        exec_s=_seconds(reply, "x-exec-s"),
        response_bytes=len(reply.content),
        output=text,
    )


def _seconds(reply: WebReply, name: str) -> float | None:
    try:
        return float(reply.header(name))
    except ValueError:
        return None


def _row(now: float, invocation: Invocation, session: str, hops: list[_Hop], outcome: Outcome) -> Row:
    return {
        "t": now,
        "invocation_id": invocation.invocation_id,
        "session": session,
        "location": outcome.node,
        "redirects": max(0, len(hops) - 1),
        "hop_s": " ".join(f"{hop.seconds:.6f}" for hop in hops),
        "status": outcome.status,
    }
