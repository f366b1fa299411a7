"""The compute nodes as the head sees them: who is a member, what was ordered of it, and who fell silent.

A membership has a name, the epoch, that every order carries. A node that was lost or has restarted gets a new one, and
is empty when it holds: head and node never disagree on what is there. An order that fails ends the membership, too.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from roles.serverless_compute import events
from roles.serverless_compute.datasets import NODES
from roles.serverless_compute.messages import TIDY, Announce, Done, Ended, Room, Tidy, Welcome
from roles.serverless_compute.model import NodeSpec
from roles.serverless_compute.turns import STRANGER
from testbed.roles.api import CallFailed, Environment, Method

Reply = TypeVar("Reply", Done, Ended)

FOREVER_S = 86_400.0  # an order takes as long as it takes: it fails when its node is lost
log = logging.getLogger(__name__)


class Member:
    """One node; ``room`` is what it is to throw away before its next order."""

    def __init__(self, spec: NodeSpec, endpoint: str) -> None:
        self.spec, self.endpoint = spec, endpoint
        self.epoch, self.up, self.heard = "", False, 0.0
        self.said: tuple[float, int] = (0.0, 0)  # life and beat of its last announcement
        self.number = 0
        self.room: list[Room] = []
        self.calls: dict[asyncio.Task[Any], None] = {}

    def numbered(self) -> int:
        """The number of the next order."""
        self.number += 1
        return self.number - 1

    def take_room(self) -> tuple[Room, ...]:
        """What is to go before the next order, once."""
        if not self.room:
            return ()
        room, self.room = tuple(self.room), []
        return room


class Members:
    """``happened`` is told when a node goes (NodeDown) and when it is there, again or for the first time (NodeUp)."""

    def __init__(self, env: Environment, expire_after: float, happened: Callable[[events.Event], None]) -> None:
        self._env, self._expire_after, self._happened = env, expire_after, happened
        self.known: dict[str, Member] = {}
        self.closed: Mapping[str, NodeSpec] | None = None  # once set, no further nodes and no other specifications
        self._untidy: dict[Member, None] = {}
        self._life, self._epochs = round(1000 * env.now()), 0

    @property
    def up(self) -> list[Member]:
        """The members in force."""
        return [each for each in self.known.values() if each.up]

    # ---- coming and going

    async def announce(self, message: Announce) -> Welcome:
        """A node announces itself: a heartbeat, the confirmation of a membership, or a stranger."""
        member, said = self.known.get(message.node), (message.life, message.beat)
        if member is not None and said <= member.said:
            return Welcome(member.epoch)  # an old one that was late
        if member is None or message.epoch != member.epoch or not member.epoch:
            return Welcome(self._offer(message, member))
        member.said, member.heard = said, self._env.now()
        if not member.up:
            member.up = True
            self._note(message.node, "up", message.endpoint)
            self._happened(events.NodeUp(message.node))
        return Welcome(member.epoch)

    def _offer(self, message: Announce, member: Member | None) -> str:
        spec = NodeSpec(message.node, message.slots, _or_inf(message.disk_bytes), _or_inf(message.memory_bytes))
        if self.closed is not None and self.closed.get(message.node) != spec:
            why = "came too late to be counted on" if message.node not in self.closed else f"has changed to {spec}"
            log.warning("the node %s %s; it is not used", message.node, why)
            self._note(message.node, "refused", why)
            return ""
        if member is not None and member.up:
            self.lost(member, "it has restarted")
        member = self.known[message.node] = Member(spec, message.endpoint)
        self._epochs += 1
        member.epoch, member.said = f"{self._life}-{self._epochs}", (message.life, message.beat)
        return member.epoch

    def lost(self, member: Member, why: str) -> None:
        """A node is gone with all that was on it."""
        if not member.up:
            return
        member.up, member.epoch = False, ""
        member.room.clear()
        calls, member.calls = member.calls, {}
        for call in calls:
            call.cancel()
        log.warning("the node %s is lost: %s", member.spec.name, why)
        self._note(member.spec.name, "down", why)
        self._happened(events.NodeDown(member.spec.name))

    async def watch(self) -> None:
        """Notice who has fallen silent. A head that was itself held up gives everybody another chance."""
        period = self._expire_after / 4
        while True:
            asleep = self._env.now()
            await self._env.sleep(period)
            now = self._env.now()
            for member in self.up:
                if now - asleep > 2 * period:
                    member.heard = now
                elif now - member.heard > self._expire_after:
                    self.lost(member, f"nothing was heard of it for {now - member.heard:.1f} s")

    def _note(self, node: str, event: str, detail: str) -> None:
        self._env.emit(NODES.name, {"t": self._env.now(), "node": node, "event": event, "detail": detail})

    # ---- orders

    def make_room(self, node: str, what: Room) -> None:
        """Something is to go from a node before anything else is ordered there."""
        member = self.known.get(node)
        if member is not None and member.up:
            member.room.append(what)
            self._untidy[member] = None

    def tidy(self) -> None:
        """Order what is to go where no other order has taken it along."""
        if not self._untidy:
            return
        untidy, self._untidy = self._untidy, {}
        for member in untidy:
            if member.room and member.up:
                order = Tidy(member.epoch, member.numbered(), member.take_room())
                self._env.spawn(self._tidied(member, order))

    async def _tidied(self, member: Member, order: Tidy) -> None:
        await self.order(member, TIDY, order)

    async def order(self, member: Member, method: Method[Any, Reply], order: Any) -> Reply | None:
        """Have a node do something; None if it was lost meanwhile, of which ``happened`` has heard."""
        task = asyncio.current_task()
        assert task is not None
        member.calls[task] = None
        try:
            reply = await self._env.call(member.endpoint, method, order, FOREVER_S)
        except CallFailed as failure:
            if member.epoch == order.epoch:
                member.calls.pop(task, None)  # this one ends by itself
                self.lost(member, f"{method.name} failed: {failure}")
            return None
        finally:
            member.calls.pop(task, None)
        if member.epoch != order.epoch:
            return None
        if reply.cause == STRANGER:
            self.lost(member, f"{method.name} was refused: {reply.detail}")
            return None
        return reply


def _or_inf(size: int | None) -> float:
    return math.inf if size is None else size
