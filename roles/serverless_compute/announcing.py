"""How a node makes itself known to its head, and stays known."""

from __future__ import annotations

import logging
from typing import Protocol

from roles.serverless_compute.messages import ANNOUNCE, Announce
from roles.serverless_compute.options import HeadOptions, NodeOptions, located
from testbed.errors import TestbedError
from testbed.roles.api import CallFailed, Environment, Site

PATIENCE_S = 5.0
FEWEST_S = 1.0  # that an announcement is waited for; at least two heartbeats
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0
log = logging.getLogger(__name__)


class Membership(Protocol):
    """What a node is to its head."""

    endpoint: str
    slots: int

    @property
    def epoch(self) -> str: ...

    def joined(self, epoch: str) -> None: ...


class Announcer:
    """Announces a node until it is a member, then at each heartbeat; becomes a member anew where it has to."""

    def __init__(self, env: Environment, site: Site, options: NodeOptions, member: Membership) -> None:
        head = located(site, "head", options.head, HeadOptions().port)
        if head is None:
            raise TestbedError("A node of serverless_compute needs a head to work for. Place one (duty gateway).")
        self._env, self._site, self._options, self._member, self._head = env, site, options, member, head
        self._life, self._beat = env.now(), 0

    async def start(self) -> None:
        """Return when this node is a member, or after five seconds without a head; heartbeats go on trying then."""
        deadline, pause = self._env.now() + PATIENCE_S, FIRST_PAUSE_S
        while (failure := await self._announce()) is not None and self._env.now() + pause < deadline:
            await self._env.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)
        if failure is not None:
            log.warning("the head at %s has not heard this node: %s", self._head, failure)
        self._env.spawn(self._go_on(failure is not None))

    async def _go_on(self, silent: bool) -> None:
        while True:
            await self._env.sleep(self._options.heartbeat)
            failure = await self._announce()
            if failure is not None and not silent:
                log.warning("the head at %s is silent: %s", self._head, failure)
            silent = failure is not None

    async def _announce(self) -> CallFailed | None:
        """Once, or twice where the head begins a new membership, which holds when the node knows it."""
        try:
            if await self._told():
                await self._told()
        except CallFailed as failure:
            return failure
        return None

    async def _told(self) -> bool:
        options, member = self._options, self._member
        self._beat += 1
        message = Announce(
            self._site.node, member.endpoint, member.slots, options.disk, options.memory, self._life, self._beat,
            member.epoch,
        )  # fmt: skip
        welcome = await self._env.call(self._head, ANNOUNCE, message, max(FEWEST_S, 2 * options.heartbeat))
        if welcome.epoch in (member.epoch, ""):
            return False
        member.joined(welcome.epoch)
        return True
