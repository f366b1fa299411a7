"""Bulk transfers as fluids: each gets its max-min fair share of every link and disk that it uses.

Shares change when a transfer begins or ends and when a link's shape changes, is cut or mended; between such moments all
rates are constant, so that ends are known exactly.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from math import inf
from typing import TYPE_CHECKING

from testbed.twin.fluid_pool import Pool, pool_for, pooled

if TYPE_CHECKING:
    from testbed.twin.loop import VirtualLoop


MANY = 32  # flows that hang together: so many are put into a pool if one bottleneck limits them all


class TransferFailed(Exception):
    """A transfer moved nothing for longer than its owner has patience; what had moved is discarded."""


class Resource:
    """Something that flows share. ``capacity`` in bytes per second; None: no limit."""

    def __init__(self, capacity: float | None) -> None:
        self.capacity = capacity
        self.flows: dict[Flow, None] = {}  # that draw from it now, in the order of their beginning
        self.awaited: dict[Flow, None] = {}  # by those that have begun and of which nothing has arrived yet
        self.pool: Pool | None = None  # of all flows that draw from it

    def shared(self, flows: int) -> None:
        """So many flows draw from it from now on."""

    def moved(self, size: float) -> None:
        """So many bytes of payload have passed."""


class Disk(Resource):
    """A disk's reading or writing side."""


class Flow:
    """Some bytes that move through several resources at one rate, ``cap`` bytes per second at most.

    In a pool, ``goal`` is where it ends on the pool's clock, ``mark`` up to where it was accounted.
    """

    __slots__ = (
        "cap", "done", "goal", "idle_since", "left", "mark", "patience", "pool", "rate", "resources", "since", "what",
        "when",
    )  # fmt: skip

    pool: Pool | None

    def __init__(
        self, what: str, size: int, resources: Sequence[Resource], cap: float, patience: float,
        done: asyncio.Future[None],
    ) -> None:  # fmt: skip
        self.what, self.left, self.resources, self.cap = what, float(size), tuple(resources), cap
        self.patience, self.done = patience, done
        self.rate = self.since = self.goal = self.mark = 0.0
        self.pool = None
        self.when = inf  # it ends, at its present rate
        self.idle_since: float | None = None


class Fluid:
    """All flows of a twin."""

    def __init__(self, loop: VirtualLoop, many: int = MANY) -> None:
        self._loop, self._many = loop, many
        self._flows: dict[Flow, None] = {}
        self._changed: dict[Resource, None] = {}
        self._unsettled: dict[Pool, None] = {}
        self._recounted: dict[Resource, None] = {}  # of pools
        self._is_asked = False

    async def move(
        self, what: str, size: int, resources: Sequence[Resource], cap: float = inf, patience: float = inf,
        lead: float = 0.0,
    ) -> None:  # fmt: skip
        """Return when ``size`` bytes have passed, of which the first arrives after ``lead`` seconds.

        Raises TransferFailed, with ``what`` in its text, when nothing moves for ``patience`` seconds.
        """
        flow = Flow(what, size, list(dict.fromkeys(resources)), cap, patience, self._loop.create_future())
        for resource in flow.resources:
            resource.awaited[flow] = None
        if any(resource.capacity == 0.0 for resource in flow.resources):
            self._halt(flow)
        self._loop.at(self._loop.now + lead, self._join, flow)
        try:
            await flow.done
        finally:
            self._leave(flow)

    def account(self) -> None:
        """Bring up to date what has moved."""
        for flow in self._flows:
            self._account(flow)

    def _join(self, flow: Flow) -> None:
        if flow.done.done():
            return
        self._flows[flow] = None
        flow.since = self._loop.now
        for resource in flow.resources:
            del resource.awaited[flow]
            resource.flows[flow] = None
        pool = pool_for(flow)
        if pool is not None:
            pool.add(flow)
            self._resettle(pool, flow)
        elif any(resource.capacity is not None for resource in flow.resources):
            self.changed(*flow.resources)
        else:
            self._set_rate(flow, flow.cap)

    def _resettle(self, pool: Pool, flow: Flow) -> None:
        """``flow`` joined or left a pool."""
        self._unsettled[pool] = None
        self._recounted.update(dict.fromkeys(flow.resources))
        self.changed()

    def changed(self, *resources: Resource) -> None:
        """The capacity or the flows of these changed: shares are computed anew at this instant, once."""
        for resource in resources:
            self._changed[resource] = None
        if not self._is_asked:
            self._is_asked = True
            self._loop.at(self._loop.now, self.settle)

    def settle(self) -> None:
        """Compute the shares of all flows that a change can have touched."""
        self._is_asked = False
        for pool in self._unsettled:
            if pool.flows and not pool.share():
                self._changed[pool.bottleneck] = None
        for resource in self._recounted:
            resource.shared(len(resource.flows))
        self._unsettled.clear()
        self._recounted.clear()
        if self._changed:
            self._settle_anew()

    def _settle_anew(self) -> None:
        changed, self._changed = self._changed, {}
        for resource in changed:
            if resource.capacity == 0.0:
                for flow in resource.awaited:
                    self._halt(flow)
        resources, flows = _touched(changed)
        for pool in dict.fromkeys(flow.pool for flow in flows if flow.pool is not None):
            pool.dissolve()
        for resource in resources:
            resource.shared(len(resource.flows))
        rates = _shares(resources, flows)
        if len(rates) >= self._many:
            for flow in flows:
                self._account(flow)
            if pooled(self._loop, rates, resources) is not None:
                return
        for flow, rate in rates.items():
            if rate != flow.rate or (rate == 0.0 and flow.idle_since is None):
                self._set_rate(flow, rate)

    def _account(self, flow: Flow) -> None:
        if flow.pool is not None:
            flow.pool.account(flow)
            return
        now = self._loop.now
        moved = min(flow.left, flow.rate * (now - flow.since)) if now > flow.since else 0.0
        flow.left -= moved
        flow.since = now
        for resource in flow.resources:
            resource.moved(moved)

    def _leave(self, flow: Flow) -> None:
        flow.when = inf
        for resource in flow.resources:
            resource.awaited.pop(flow, None)
        if flow in self._flows:
            self._account(flow)
            del self._flows[flow]
            for resource in flow.resources:
                del resource.flows[flow]
            pool = flow.pool
            if pool is not None:
                pool.remove(flow)
                self._resettle(pool, flow)
            else:
                self.changed(*flow.resources)

    def _set_rate(self, flow: Flow, rate: float) -> None:
        now = self._loop.now
        self._account(flow)
        flow.rate = rate
        if rate > 0.0:
            flow.idle_since = None
            flow.when = now + flow.left / rate
            self._loop.at(flow.when, self._end, flow, flow.when)
        else:
            flow.when = inf
            self._halt(flow)

    def _end(self, flow: Flow, when: float) -> None:
        if flow.when == when and not flow.done.done():
            for resource in flow.resources:
                resource.moved(flow.left)
            flow.left = 0.0
            flow.done.set_result(None)

    def _halt(self, flow: Flow) -> None:
        """Nothing moves; its owner's patience begins."""
        if flow.idle_since is None:
            flow.idle_since = self._loop.now
            if flow.patience < inf:
                self._loop.at(flow.idle_since + flow.patience, self._give_up, flow, flow.idle_since)

    def _give_up(self, flow: Flow, since: float) -> None:
        if flow.idle_since == since and not flow.done.done():
            flow.done.set_exception(TransferFailed(f"{flow.what}: nothing moved for {flow.patience:g} s"))


def _touched(changed: dict[Resource, None]) -> tuple[dict[Resource, None], dict[Flow, None]]:
    """All resources and flows that hang together with what changed."""
    resources, flows = dict(changed), dict[Flow, None]()
    todo = list(changed)
    while todo:
        for flow in todo.pop().flows:
            if flow not in flows:
                flows[flow] = None
                fresh = [each for each in flow.resources if each not in resources and each.capacity is not None]
                resources.update(dict.fromkeys(fresh))
                todo += fresh
    return resources, flows


def _shares(resources: dict[Resource, None], flows: dict[Flow, None]) -> dict[Flow, float]:
    """The max-min fair rate of each flow: fill all alike, and fix those that meet the next limit."""
    rates: dict[Flow, float] = {}
    left = {each: each.capacity for each in resources if each.capacity is not None and each.flows}
    count = {each: len(each.flows) for each in left}
    capped = sorted((flow for flow in flows if flow.cap < inf), key=lambda flow: flow.cap)
    while len(rates) < len(flows):
        share, tight = min(_offers(left, count), default=(inf, None), key=lambda offer: offer[0])
        capped = [flow for flow in capped if flow not in rates]
        if capped and capped[0].cap <= share:
            share, fixed = capped[0].cap, [capped[0]]
        else:
            fixed = [flow for flow in (flows if tight is None else tight.flows) if flow not in rates]
        for flow in fixed:
            rates[flow] = share
            for resource in flow.resources:
                if resource in left:
                    left[resource] = max(0.0, left[resource] - share)
                    count[resource] -= 1
    return rates


def _offers(left: dict[Resource, float], count: dict[Resource, int]) -> Iterator[tuple[float, Resource]]:
    return ((left[each] / count[each], each) for each in left if count[each])
