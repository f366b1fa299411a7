"""OSPF in the twin: after a link was lost or has come back, all routers change their routes at one later moment.

That moment is drawn: a loss is noticed when hello packets (or BFD's) have been missing for their time, a link that is
back after the next hello of each side; BIRD then works out the ways once a second. Packets of the protocol are not
modelled, nor that routers learn one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from testbed import seeds
from testbed.topology.model import Node, Topology
from testbed.topology.reroute import rerouted

if TYPE_CHECKING:
    from testbed.twin.loop import VirtualLoop

TICK_S = 1.0  # BIRD works out the ways at most once in this time, its least
_TOLD = 3


class Rerouting:
    """Follows which links pass packets; ``lead`` is given the topology with its new routes when those are in force.

    ``told`` hears of each router whose routes changed, and what changed in words.
    """

    def __init__(
        self, topology: Topology, seed: int, loop: VirtualLoop, lead: Callable[[Topology], None]
    ) -> None:
        self._topology = self._now = topology
        self._loop, self._lead = loop, lead
        self._rng = seeds.stream(seed, "ospf")
        self._silent: dict[str, None] = {}  # links that pass nothing
        self._lost: dict[str, None] = {}  # those that the routers know of
        self.told: Callable[[str, str], object] = lambda router, words: None

    def passes(self, link: str, is_passing: bool) -> None:
        """Whether packets pass a link from now on, in both directions; routers learn of it in their time."""
        kinds = [self._topology.nodes[end.node].kind for end in self._topology.links[link].ends]
        if self._topology.routing.protocol != "ospf" or "host" in kinds or is_passing != (link in self._silent):
            return
        if is_passing:
            del self._silent[link]
        else:
            self._silent[link] = None
        noticed = self._heard_again() if is_passing else self._missed()
        self._loop.at(self._loop.now + noticed + self._rng.uniform(0, TICK_S), self._learn, link, is_passing)

    def _missed(self) -> float:
        return self._rng.uniform(*self._topology.routing.loss_noticed_s)

    def _heard_again(self) -> float:
        return self._topology.routing.hello * max(self._rng.random(), self._rng.random())

    def _learn(self, link: str, is_passing: bool) -> None:
        if is_passing == (link in self._silent):
            return  # it changed again before anybody noticed
        known = dict(self._lost)
        if is_passing:
            self._lost.pop(link, None)
        else:
            self._lost[link] = None
        if known == self._lost:
            return
        before, self._now = self._now, rerouted(self._topology, self._lost.keys())
        self._lead(self._now)
        for router in self._now.of_kind("router"):
            changed = list(_changed(before.nodes[router.name], router))
            if changed:
                rest = len(changed) - _TOLD
                self.told(router.name, ", ".join(changed[:_TOLD]) + (f" and {rest} more" if rest > 0 else ""))


def _changed(before: Node, now: Node) -> Iterator[str]:
    gateways = {route.destination: route.gateway for route in before.routes}
    for route in now.routes:
        if gateways.pop(route.destination, None) != route.gateway:
            yield f"{route.destination} via {route.gateway}"
    for destination in gateways:
        yield f"{destination} none"
