"""OSPF in the twin: after a link was lost or has come back, all routers change their routes at one later moment.

As with BIRDs that all start together, hello packets and the working out of ways are at the same multiples of a second,
whose phase is drawn. A neighbour is lost when no hello (or BFD packet) of its was heard for its time, and found again
with the second hello. Packets of the protocol are not modelled, nor that routers learn one after the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from math import ceil
from typing import TYPE_CHECKING

from testbed import seeds
from testbed.topology.model import Node, Topology
from testbed.topology.reroute import rerouted

if TYPE_CHECKING:
    from testbed.twin.loop import VirtualLoop

TICK_S = 1.0  # BIRD works out the ways at most once in this time, its least
EXCHANGE_S = 0.02  # for neighbours to tell each other what they know
Ways = Mapping[str, str]  # a destination -> its new way


class Rerouting:
    """Follows which links pass packets; ``lead`` is given the topology with its new routes when those are in force.

    ``told`` hears of each router whose routes changed, and what is new.
    """

    def __init__(
        self, topology: Topology, seed: int, loop: VirtualLoop, lead: Callable[[Topology], None]
    ) -> None:
        self._topology = self._now = topology
        self._loop, self._lead = loop, lead
        self._rng = seeds.stream(seed, "ospf")
        self._silent: dict[str, None] = {}  # links that pass nothing
        self._turns: Counter[str] = Counter()  # how often each has changed
        self._lost: dict[str, None] = {}  # those that the routers know of
        self._phase = self._rng.uniform(0, TICK_S)
        self.told: Callable[[str, Ways], object] = lambda router, ways: None

    def passes(self, link: str, is_passing: bool) -> None:
        """Whether packets pass a link from now on, in both directions; routers learn of it in their time."""
        kinds = [self._topology.nodes[end.node].kind for end in self._topology.links[link].ends]
        if self._topology.routing.protocol != "ospf" or "host" in kinds or is_passing != (link in self._silent):
            return
        if is_passing:
            del self._silent[link]
        else:
            self._silent[link] = None
        self._turns[link] += 1
        noticed = self._heard_again() if is_passing else self._missed()
        self._loop.at(self._next(noticed, TICK_S), self._learn, link, self._turns[link])

    def _missed(self) -> float:
        """When the neighbours are lost."""
        routing, now = self._topology.routing, self._loop.now
        if routing.bfd is not None:
            return now + self._rng.uniform(*routing.loss_noticed_s)
        return self._next(now, routing.hello) - routing.hello + routing.dead_s

    def _heard_again(self) -> float:
        """When they are neighbours again: what they tell of each other is worked out after that, not at once."""
        return self._next(self._loop.now, self._topology.routing.hello) + self._topology.routing.hello + EXCHANGE_S

    def _next(self, t: float, period: float) -> float:
        """The first multiple of ``period`` in the routers' phase from ``t`` on; rounding errors aside."""
        return self._phase + ceil((t - self._phase) / period - 1e-6) * period

    def _learn(self, link: str, turn: int) -> None:
        if turn != self._turns[link] or (link in self._silent) == (link in self._lost):
            return  # it changed again before anybody noticed
        if link in self._lost:
            del self._lost[link]
        else:
            self._lost[link] = None
        before, self._now = self._now, rerouted(self._topology, self._lost.keys())
        self._lead(self._now)
        for router in self._now.of_kind("router"):
            ways = dict(_changed(before.nodes[router.name], router))
            if ways:
                self.told(router.name, ways)


def _changed(before: Node, now: Node) -> Iterator[tuple[str, str]]:
    gateways = {route.destination: route.gateway for route in before.routes}
    for route in now.routes:
        if gateways.pop(route.destination, None) != route.gateway:
            yield str(route.destination), f"via {route.gateway}"
    for destination in gateways:
        yield str(destination), "none"
