"""Many transfers through one bottleneck: a beginning or an end costs O(log n), not a look at all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from heapq import heappop, heappush
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from testbed.twin.fluid import Flow, Resource
    from testbed.twin.loop import VirtualLoop


class Pool:
    """Flows that hang together and are all limited by one resource, so that they have the same ``rate``.

    ``clock`` counts the bytes that a flow has moved which was there from the start: a flow that joins ends when the
    clock has gone on by its size, whatever the rate does until then (the virtual time of processor sharing). All this
    holds while the share is at most ``limit``: the least that another resource or a flow's cap allows.
    """

    def __init__(self, loop: VirtualLoop, bottleneck: Resource) -> None:
        self._loop, self.bottleneck = loop, bottleneck
        self.flows: dict[Flow, None] = {}
        self.rate, self.limit = 0.0, inf
        self._clock, self._since = 0.0, loop.now
        self._ends: list[tuple[float, int, Flow]] = []  # on the clock; those of flows that left are passed over
        self._added = self._version = 0

    def add(self, flow: Flow) -> None:
        """A flow joins, which draws from the bottleneck already; :meth:`share` follows at this instant."""
        self._advance()
        self.flows[flow] = None
        flow.pool, flow.when, flow.idle_since = self, inf, None
        flow.mark, flow.goal = self._clock, self._clock + flow.left
        self._added += 1
        heappush(self._ends, (flow.goal, self._added, flow))
        self.limit = min(self.limit, flow.cap)
        for resource in flow.resources:
            if resource.capacity is not None:
                resource.pool = self
                if resource is not self.bottleneck:
                    self.limit = min(self.limit, resource.capacity / len(resource.flows))

    def account(self, flow: Flow) -> None:
        """Bring up to date what a flow has moved."""
        self._advance()
        clock = min(self._clock, flow.goal)
        moved, flow.mark = max(0.0, clock - flow.mark), clock
        flow.left = flow.goal - clock
        for resource in flow.resources:
            resource.moved(moved)

    def remove(self, flow: Flow) -> None:
        """A flow has left all its resources; :meth:`share` follows at this instant."""
        self._advance()
        del self.flows[flow]
        flow.pool = None
        for resource in flow.resources:
            if not resource.flows:
                resource.pool = None

    def dissolve(self) -> None:
        """Let go of all flows, each with what is left of it."""
        now, self._version = self._loop.now, self._version + 1
        for flow in self.flows:
            self.account(flow)
            flow.pool, flow.rate, flow.since = None, 0.0, now
            for resource in flow.resources:
                resource.pool = None
        self.flows.clear()

    def share(self) -> bool:
        """Give all the same rate from now on; False if that is not fair any more, so that the pool must dissolve."""
        rate = (self.bottleneck.capacity or 0.0) / len(self.flows)
        if not 0.0 < rate <= self.limit:
            return False
        self._advance()
        self.rate = rate
        self._arm()
        return True

    def _advance(self) -> None:
        now = self._loop.now
        if now > self._since:
            self._clock += self.rate * (now - self._since)
            self._since = now

    def _arm(self) -> None:
        """Set the timer of whoever ends next."""
        ends = self._ends
        while ends and ends[0][2].pool is not self:
            heappop(ends)
        self._version += 1
        if ends:
            when = self._loop.now + max(0.0, ends[0][0] - self._clock) / self.rate
            self._loop.at(when, self._end, self._version)

    def _end(self, version: int) -> None:
        if version != self._version:
            return
        ends = self._ends
        self._clock, self._since = ends[0][0], self._loop.now  # exactly: rounding does not add up
        while ends and ends[0][0] <= self._clock:
            flow = heappop(ends)[2]
            if flow.pool is self and not flow.done.done():
                self.account(flow)
                flow.done.set_result(None)


def pooled(loop: VirtualLoop, rates: Mapping[Flow, float], resources: Iterable[Resource]) -> Pool | None:
    """The pool of these flows, if their fair shares are those of one bottleneck; the flows have been accounted."""
    share = next(iter(rates.values()))
    if share <= 0.0 or any(rate != share for rate in rates.values()):
        return None
    for resource in resources:
        if len(resource.flows) == len(rates) and resource.capacity and resource.capacity / len(rates) == share:
            pool = Pool(loop, resource)
            for flow in rates:
                pool.add(flow)
            if pool.share():
                return pool
            pool.dissolve()
    return None


def pool_for(flow: Flow) -> Pool | None:
    """The pool that a beginning flow can join: that of all whom it meets; it draws from its resources already."""
    limited = [each for each in flow.resources if each.capacity is not None]
    pool = next((each.pool for each in limited if each.pool is not None), None)
    if pool is None or pool.bottleneck not in limited:
        return None
    apart = any((each.pool is not pool and len(each.flows) > 1) or not each.capacity for each in limited)
    return None if apart else pool
