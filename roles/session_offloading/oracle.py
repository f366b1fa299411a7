"""The metrics oracle: looks at every location again and again, and tells it what the policy decides."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import urlencode

from roles.session_offloading.messages import FORCED, MANAGER
from roles.session_offloading.options import OracleOptions
from roles.session_offloading.place import LOCATION
from roles.session_offloading.policies import Look, policy
from testbed.roles.api import CallFailed, Environment, Parameters, Role, Site
from testbed.roles.web import WEB, WebReply, WebRequest, fields

PATIENCE_S = 20.0


class Oracle(Role):
    """Knows all locations; those that do not answer are looked at again the next time."""

    parameters_model: ClassVar[type[Parameters]] = OracleOptions

    def __init__(self, site: Site, parameters: OracleOptions) -> None:
        super().__init__(site, parameters)
        self._options, self._policy = parameters, policy(parameters)
        self._before: dict[str, tuple[Look, Mapping[str, Any]]] = {}

    async def start(self, env: Environment) -> None:
        """Look after each location in a task of its own."""
        for location in self.site.places.get(LOCATION, ()):
            env.spawn(self._look_after(env, location))

    async def _look_after(self, env: Environment, location: str) -> None:
        while True:
            await env.sleep(self._options.period)
            try:
                await self._once(env, location)
            except CallFailed as failure:
                self._before.pop(location, None)
                env.emit("so_decisions", {"t": env.now(), "location": location, "did": str(failure)})

    async def _once(self, env: Environment, location: str) -> None:
        reply = await self._send(env, location, "metrics")
        if reply.status != 200:
            raise CallFailed("protocol", f"{location} tells no metrics: {reply.status} {reply.text.strip()[:200]}")
        found = json.loads(reply.content)
        before = self._before.get(location)
        now = look(found, before[1] if before else None)
        done, took = [], dict[str, list[float]]()
        for decision in () if found["root"] else self._policy(now, before[0] if before else None):
            begun = env.now()
            reply = await self._told(env, location, decision, now.status)
            done.append(decision if reply.status == 200 else f"{decision}: {reply.text.strip()[:120]}")
            if reply.status == 200:
                took.setdefault(decision.partition(" ")[0], []).append(env.now() - begun)
        self._before[location] = now, found
        env.emit("so_decisions", {
            "t": env.now(), "location": location, "sessions": len(now.sessions), "size_bytes": now.size_bytes,
            "busy": now.busy, "waiting": now.waiting, "response_s": now.response_s, "did": "; ".join(done),
            "offload_s": _mean(took.get("offload")), "onload_s": _mean(took.get("onload")),
        })  # fmt: skip

    async def _told(self, env: Environment, location: str, decision: str, status: str) -> WebReply:
        """Tell a location what was decided; what it is already it need not be told."""
        word, _, session = decision.partition(" ")
        if word in ("accept", "reject"):
            if word == status:
                return WebReply(200)
            return await self._send(env, location, "set-offload-status", status=word)
        headers = {FORCED: session} if session else {}
        return await self._send(env, location, f"force-{word}", headers)

    async def _send(
        self, env: Environment, location: str, command: str, headers: Mapping[str, str] | None = None, **query: str
    ) -> WebReply:
        target = f"/function/{MANAGER}?{urlencode({'command': command, **query})}"
        request = WebRequest("POST", target, fields(headers or {}))
        return await env.call(self.site.endpoint(location, self._options.port), WEB, request, PATIENCE_S)


def _mean(times: list[float] | None) -> float | None:
    return sum(times) / len(times) if times else None


def look(found: Mapping[str, Any], before: Mapping[str, Any] | None) -> Look:
    """What the metrics of a location mean, beside those before."""
    busy = response = None
    if before is not None and found["t"] > before["t"] and found["busy_s"] >= before["busy_s"]:
        capacity = (found["t"] - before["t"]) * max(1, found["replicas"])
        busy = (found["busy_s"] - before["busy_s"]) / capacity
        served = found["served"] - before["served"]
        response = (found["response_s"] - before["response_s"]) / served if served > 0 else None
    return Look(found["t"], found["location"], found["status"], found["sessions"], found["waiting"], busy, response)
