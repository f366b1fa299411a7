"""The controller: learns which computers and routers there are, and fills the routers' tables."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from roles.serverless_on_edge.datasets import MEMBERS
from roles.serverless_on_edge.installers import (
    FlatInstaller,
    HierarchicalInstaller,
    Installer,
    Push,
    drop,
    host_of,
    read_distances,
)
from roles.serverless_on_edge.limits import MOST_MEMBERS, Refused, shown, wrong_with_endpoint
from roles.serverless_on_edge.members import Member, must_be_sound
from roles.serverless_on_edge.messages import (
    ANNOUNCE_COMPUTER,
    ANNOUNCE_ROUTER,
    CONFIGURE,
    GET_TABLE,
    OK,
    REMOVE_COMPUTER,
    REMOVE_ROUTER,
    Action,
    ComputerInfo,
    Container,
    EdgeRouterConf,
    RouterInfo,
    TableId,
    Void,
)
from roles.serverless_on_edge.options import ControllerOptions
from testbed.errors import TestbedError
from testbed.roles.api import CallFailed, Environment, Parameters, Role, Service, Site

AT_ONCE = 1000  # changes in one message, about 40 kB
LOOKS = 4  # for silent agents, within the time after which one counts as gone
PLACED = ("router", "dispatcher", "computer", "edgecomputerwsk")  # roles that need a row in a matrix of distances
log = logging.getLogger(__name__)


class Controller(Role):
    """Changes go to routers in the order of arrival; each is there when its announcement is answered.

    What arrives while changes are under way goes out together with the next ones: to routers that say they take many
    changes at once, in few messages, however many computers join.
    """

    parameters_model: ClassVar[type[Parameters]] = ControllerOptions
    env: Environment

    def __init__(self, site: Site, parameters: ControllerOptions) -> None:
        super().__init__(site, parameters)
        self.options = parameters
        self._pending: list[Push] = []
        self._round: asyncio.Future[None] | None = None  # the changes under way
        self._next: asyncio.Future[None] | None = None  # those that go out after them
        self._many: set[str] = set()  # routers that take many changes at once
        self._members: dict[str, Member] = {}
        self._containers: dict[str, tuple[Container, ...]] = {}
        self._configuration: dict[str, str] = {}
        self._began = 0.0

    async def start(self, env: Environment) -> None:
        """Serve; whoever is there will announce itself."""
        self.env, self._began = env, env.now()
        self.installer = self._make_installer()
        service: Service = {
            ANNOUNCE_COMPUTER: self.announce_computer,
            REMOVE_COMPUTER: self.remove_computer,
            ANNOUNCE_ROUTER: self.announce_router,
            REMOVE_ROUTER: self.remove_router,
        }
        await env.serve(self.options.server_endpoint, service)
        if self.options.expiry():
            env.spawn(self._expire())

    def _make_installer(self) -> Installer:
        if self.options.installer_type == "flat":
            return FlatInstaller()
        given = self.options.topology_file
        try:
            distances = read_distances(given if "\n" in given else Path(given).read_text())
        except (OSError, ValueError) as error:
            raise TestbedError(f"The hierarchical controller cannot read its topology-file: {error}.") from error
        names = list(distances)
        if self.options.topology_randomized:
            self.env.rng("topology").shuffle(names)
        renamed = {old: self.site.addresses.get(new, new) for old, new in zip(distances, names, strict=True)}
        by_address = {renamed[a]: {renamed[b]: d for b, d in row.items()} for a, row in distances.items()}
        self._check(by_address)
        return HierarchicalInstaller(by_address, self.options.hier_objective, self.env.rng("homes"))

    def _check(self, distances: dict[str, dict[str, float]]) -> None:
        agents = [node for role in PLACED for node in self.site.places.get(role, ())]
        unknown = sorted({node for node in agents if self.site.addresses[node] not in distances})
        if unknown:
            raise TestbedError(f"The topology-file of the controller has no row for {', '.join(unknown)}.")

    async def announce_computer(self, computer: ComputerInfo) -> Void:
        """Learn of a computer; the same announcement again changes nothing, another one replaces it.

        Raises Refused where it cannot be one.
        """
        endpoint = computer.endpoint
        self._must_fit(endpoint, "the endpoint of the computer")
        must_be_sound(computer.containers)
        self._hear(endpoint, computer.period_ms)
        known, pushes = self._containers.get(endpoint), list[Push]()
        if known != computer.containers:
            pushes = self.installer.computer_removed(endpoint) if known is not None else []
            self._containers[endpoint] = computer.containers
            pushes += self.installer.computer_added(endpoint, tuple(each.function for each in computer.containers))
            self._note("computer", endpoint, "announced" if known is None else "changed")
        await self._push(pushes)
        return Void()

    async def remove_computer(self, computer: ComputerInfo) -> Void:
        """Forget a computer, known or not."""
        await self._push(self._remove(computer.endpoint, "removed"))
        return Void()

    async def remove_router(self, router: RouterInfo) -> Void:
        """Forget a router that says good-bye, known or not."""
        await self._push(self._forget(router.endpoint, "removed"))
        return Void()

    async def announce_router(self, router: RouterInfo) -> Void:
        """Learn of a router, and give it what it should have unless it has that already; raises Refused."""
        endpoint = router.endpoint
        self._must_fit(endpoint, "the endpoint of the router")
        if wrong := wrong_with_endpoint("the endpoint of its tables", router.configuration_endpoint):
            raise Refused(wrong)
        known = endpoint in self._configuration
        self._hear(endpoint, router.period_ms)
        self._configuration[endpoint] = router.configuration_endpoint
        (self._many.add if router.many else self._many.discard)(endpoint)
        if not known:
            pushes = self.installer.router_added(endpoint)
            if router.heartbeat and self._knows_all():
                # It has missed changes while it was forgotten; what it has beyond ours is stale.
                pushes.insert(0, Push(endpoint, EdgeRouterConf(Action.FLUSH)))
            self._note("router", endpoint, "announced")
        else:
            pushes = [] if router.heartbeat else self.installer.view(endpoint)
        await self._push(pushes)
        return Void()

    def _must_fit(self, endpoint: str, what: str) -> None:
        wrong = wrong_with_endpoint(what, endpoint) or self.installer.refuses(endpoint)
        if not wrong and endpoint not in self._members and len(self._members) >= MOST_MEMBERS:
            wrong = f"this controller knows {MOST_MEMBERS} computers and routers, and takes no more"
        if wrong:
            raise Refused(wrong)

    def _knows_all(self) -> bool:
        """Whether this controller has run for long enough to have heard from every agent that is alive."""
        return self.env.now() - self._began > self.options.expiry() > 0

    def _hear(self, endpoint: str, period_ms: int) -> None:
        now, expiry = self.env.now(), self.options.expiry()
        says_so = 0 < period_ms / 1000 <= expiry
        if member := self._members.get(endpoint):
            member.hear(now, says_so, expiry)
        else:
            self._members[endpoint] = Member(now, says_so)

    def _remove(self, endpoint: str, why: str) -> list[Push]:
        if self._containers.pop(endpoint, None) is None:
            return []
        self._members.pop(endpoint, None)
        self._note("computer", endpoint, why)
        return self.installer.computer_removed(endpoint)

    async def _push(self, pushes: Sequence[Push]) -> None:
        """Return when these changes, and all before them, are at their routers."""
        if pushes:
            self._pending += pushes
            self._next = self._next or asyncio.get_running_loop().create_future()
            if self._round is None:
                self._begin_round()
                self.env.spawn(self._rounds())
        waiting = self._next or self._round
        if waiting is not None:
            await asyncio.shield(waiting)

    def _begin_round(self) -> None:
        self._round, self._next = self._next, None

    async def _rounds(self) -> None:
        """Send what there is, to each router in order; forget routers that cannot be reached; until nothing is left."""
        while self._round is not None:
            by_router: dict[str, list[EdgeRouterConf]] = {}
            for router, change in self._pending:
                if router in self._configuration:  # not if it was lost together with the one that caused the change
                    by_router.setdefault(router, []).append(change)
            self._pending = []
            reached = await asyncio.gather(*(self._send(router, changes) for router, changes in by_router.items()))
            lost = [router for router, ok in zip(by_router, reached, strict=True) if not ok]
            self._pending += [push for router in lost for push in self._forget(router, "forgotten")]
            if self._pending and self._next is None:
                continue  # whoever waits for this round waits for what it has caused, too
            self._round.set_result(None)
            self._begin_round()

    async def _send(self, router: str, changes: Sequence[EdgeRouterConf]) -> bool:
        timeout = self.options.push_timeout
        for change in _gathered(changes) if router in self._many else changes:
            try:
                answer = await self.env.call(self._configuration[router], CONFIGURE, change, timeout)
            except (CallFailed, KeyError) as failure:  # no key: it said good-bye meanwhile
                log.warning("router %s is forgotten: %s", router, failure)
                return False
            if answer.msg != OK:
                log.warning("router %s refuses a change of its tables: %s", router, shown(answer.msg))
        return True

    def _forget(self, router: str, why: str) -> list[Push]:
        if self._configuration.pop(router, None) is None:
            return []
        self._members.pop(router, None)
        self._many.discard(router)
        self._note("router", router, why)
        return self.installer.router_removed(router)

    async def _expire(self) -> None:
        """Look for silent agents, and compare tables after every :data:`LOOKS` looks."""
        expiry, looks = self.options.expiry(), 0
        while True:
            await self.env.sleep(expiry / LOOKS)
            now = self.env.now()
            for endpoint in [each for each, member in self._members.items() if member.silent(now, expiry)]:
                member = self._members.get(endpoint)
                if member is not None and member.silent(self.env.now(), expiry):
                    await self._push(self._expel(endpoint))
            looks += 1
            if looks % LOOKS == 0:
                await self._compare()

    async def _compare(self) -> None:
        """Put right what routers have missed while this controller was away, or heard late or twice.

        A table is compared when it comes: changes on their way to it are sent once more, which does no harm.
        """
        timeout = self.options.push_timeout
        for router in list(self.installer.routers):
            if router not in self._configuration:
                continue  # it went while others were asked
            try:
                table = await self.env.call(self._configuration[router], GET_TABLE, TableId(0), timeout)
            except CallFailed as failure:
                log.warning("router %s does not tell its table: %s", router, failure)
                continue
            has = {(each.function, each.destination): each.final for each in table.entries}
            await self._push(self._differences(router, has))

    def _differences(self, router: str, has: Mapping[tuple[str, str], bool]) -> list[Push]:
        """What a router lacks; and what it should not have, once everybody who lives has been heard.

        Entries for hosts outside the experiment are left alone: whoever made them knows why.
        """
        wanted = {(each.change.function, each.change.destination): each for each in self.installer.view(router)}
        lacking = [push for key, push in wanted.items() if has.get(key) is not push.change.final]
        hosts = set(self.site.addresses.values())
        stale = [Push(router, drop(function, to)) for function, to in has
                 if (function, to) not in wanted and host_of(to) in hosts]  # fmt: skip
        return [*lacking, *stale] if self._knows_all() else lacking

    def _expel(self, endpoint: str) -> list[Push]:
        known = endpoint in self._containers
        return self._remove(endpoint, "expired") if known else self._forget(endpoint, "expired")

    def _note(self, kind: str, endpoint: str, action: str) -> None:
        who = {"node": self.env.node, "kind": kind, "endpoint": endpoint, "action": action}
        self.env.emit(MEMBERS.name, {"t": self.env.now(), **who})


def _gathered(changes: Sequence[EdgeRouterConf]) -> Iterator[EdgeRouterConf]:
    """The same changes in few messages: the first of each carries those that follow it."""
    for first in range(0, len(changes), AT_ONCE):
        change, *more = changes[first : first + AT_ONCE]
        yield replace(change, more=tuple(more)) if more else change
