"""Which invoker runs what, after the original's sharding balancer.

An action has a home invoker, by the hash of its name, so that its containers stay warm; where that has no memory left,
the next ones are tried in steps that are the action's own; where none has, one at random gets it, to wait there. An
invoker is down from the moment when a job sent to it gets no answer, or it misses a look, until it answers again.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Any

from roles.openwhisk.activation import INTERNAL_ERROR, Done
from roles.openwhisk.boxes import Job
from roles.openwhisk.entities import Action, stored
from roles.openwhisk.errors import Refused
from roles.openwhisk.options import ServerOptions
from testbed.roles.api import CallFailed, Environment, Site
from testbed.roles.web import WEB, WebReply, WebRequest

LOOK_S, AGAIN_S = 1.0, 0.2  # between two looks at an invoker that is up, and that is down
GREET_S = 1.0  # for all invokers to be there, before a server takes what comes without them
UNKNOWN = 412  # the invoker's answer to a job whose action it does not know
JSON = (("content-type", "application/json"),)


@dataclass(eq=False)
class Invoker:
    """What the server knows of an invoker; ``used_mb`` is what it gave it to do. ``known`` are keys of actions."""

    node: str
    address: str
    up: bool = False
    capacity_mb: int = 0
    used_mb: int = 0
    known: set[str] = field(default_factory=set)


class Balancer:
    """Sends jobs to invokers."""

    def __init__(self, env: Environment, site: Site, options: ServerOptions) -> None:
        self._env, self._options, self._rng = env, options, env.rng("balancer")
        self.invokers = [
            Invoker(node, site.endpoint(node, options.invoker_port)) for node in site.places.get("invoker", ())
        ]
        self._steps = [step for step in range(1, len(self.invokers) + 1) if math.gcd(step, len(self.invokers)) == 1]
        self.waiting = 0

    async def start(self) -> None:
        """Look at all invokers, and from then on again and again. Those that start beside this one are waited for."""
        late = self._env.now() + GREET_S
        while not all(each.up for each in self.invokers) and self._env.now() <= late:
            await asyncio.gather(*(self._look(each) for each in self.invokers if not each.up))
            await self._env.sleep(0.0 if all(each.up for each in self.invokers) else GREET_S / 20)
        for each in self.invokers:
            self._env.spawn(self._watch(each))

    async def _watch(self, invoker: Invoker) -> None:
        while True:
            await self._env.sleep(LOOK_S if invoker.up else AGAIN_S)
            await self._look(invoker)

    async def _look(self, invoker: Invoker) -> None:
        request = WebRequest("GET", "/health")
        try:
            reply = await self._env.call(invoker.address, WEB, request, self._options.invoker_timeout)
            invoker.capacity_mb = json.loads(reply.content)["capacity_mb"]
        except (CallFailed, ValueError, KeyError, TypeError):
            self._lose(invoker)
        else:
            invoker.up = True

    def _lose(self, invoker: Invoker) -> None:
        invoker.up = False
        invoker.known.clear()

    def submit(self, job: Job) -> None:
        """Send a job to an invoker; raises Refused (503) if there is none."""
        invoker = self._chosen(job.action)
        if invoker is None:
            raise Refused(503, "No invokers available to process the request.")
        invoker.used_mb += job.action.limits.memory_mb
        self.waiting += 1
        self._env.spawn(self._send(invoker, job))

    def at_once(self, job: Job) -> None:
        """Never: jobs travel."""

    def _chosen(self, action: Action) -> Invoker | None:
        digest = int.from_bytes(hashlib.sha256(action.name.path.encode()).digest()[:8], "big")
        count, need = len(self.invokers), action.limits.memory_mb
        step = self._steps[digest % len(self._steps)]
        for turn in range(count):
            each = self.invokers[(digest + turn * step) % count]
            if each.up and each.used_mb + need <= each.capacity_mb:
                return each
        up = [each for each in self.invokers if each.up]
        return self._rng.choice(up) if up else None

    async def _send(self, invoker: Invoker, job: Job) -> None:
        try:
            done = await self._ran(invoker, job)
        except CallFailed as failed:
            self._lose(invoker)
            done = Done.failed(INTERNAL_ERROR, f"The invoker {invoker.node} gave no answer: {failed}")
        invoker.used_mb -= job.action.limits.memory_mb
        self.waiting -= 1
        done.invoker = invoker.node
        if job.told is not None:
            job.told(done)

    async def _ran(self, invoker: Invoker, job: Job) -> Done:
        """How a job went; raises CallFailed if nobody knows."""
        patience = 2 * job.limit_s + self._options.answer_wait
        for whole in (job.action.key not in invoker.known, True):
            reply = await self._env.call(invoker.address, WEB, order(job, whole=whole), patience)
            if reply.status != UNKNOWN:
                break
        if reply.status != 200:
            return Done.failed(INTERNAL_ERROR, f"{reply.status}: {reply.text[:300]}")
        invoker.known.add(job.action.key)
        return done_of(reply)


def order(job: Job, *, whole: bool) -> WebRequest:
    """What an invoker is sent for a job; the ``whole`` of the action, or its key."""
    data: dict[str, Any] = {"id": job.id, "key": job.action.key, "args": job.args, "arrived": job.arrived,
                            "most": job.result_bytes}  # fmt: skip
    if whole:
        data["action"] = stored(job.action)
    return WebRequest("POST", "/run", JSON, json.dumps(data).encode())


def told_of(done: Done) -> dict[str, Any]:
    """How a run went, as an invoker answers."""
    return {"status": done.status, "result": done.result, "began": done.began, "ended": done.ended,
            "init_s": done.init_s, "cold": done.cold, "timed_out": done.timed_out, "logs": done.logs,
            "size": done.size}  # fmt: skip


def done_of(reply: WebReply) -> Done:
    """What :func:`told_of` gave; raises CallFailed for anything else."""
    try:
        return Done(**json.loads(reply.content))
    except (ValueError, TypeError) as error:
        raise CallFailed("protocol", f"the answer of an invoker cannot be read: {error}") from None
