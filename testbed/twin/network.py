"""The network of the twin: a topology whose links, connections and transfers are a model in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import inf, sqrt
from typing import TYPE_CHECKING

from testbed import seeds
from testbed.errors import UsageError
from testbed.shaping.base import Counters, Lateness
from testbed.shaping.queue import Treatment
from testbed.substrate.base import Host
from testbed.topology.model import End, Topology
from testbed.topology.shape import Shape
from testbed.topology.walk import walk
from testbed.twin.fluid import Disk, Fluid, Resource
from testbed.twin.fluid import TransferFailed as TransferFailed
from testbed.twin.link import Lane
from testbed.twin.link_path import Path
from testbed.twin.options import TwinOptions
from testbed.twin.rerouting import Rerouting
from testbed.twin.tcp import FIRST_WINDOW, MSS, Costs
from testbed.twin.train import Target, Train
from testbed.twin.transport import Connection

if TYPE_CHECKING:
    from testbed.twin.loop import VirtualLoop

MATHIS = sqrt(1.5)  # Mathis et al. 1997: rate = MATHIS * MSS / (round trip * sqrt(loss))


class _Carrier(Resource):
    """A lane as transfers see it: the capacity for their payload, whether anything passes, and what they have sent."""

    def __init__(self, lane: Lane, efficiency: float) -> None:
        super().__init__(None)
        self._lane, self._efficiency = lane, efficiency
        self.back: _Carrier | None = None  # the other direction of the link
        self.payload = self.acknowledged = 0.0
        self.refresh()

    def refresh(self) -> None:
        """Follow the lane."""
        shape = self._lane.shape
        self.capacity = shape.rate * self._efficiency / 8 if shape.rate is not None else None
        if not self._lane.up or shape.loss >= 1:
            self.capacity = 0.0

    def shared(self, flows: int) -> None:
        """Messages get one share beside the flows."""
        if flows != self._lane.transfers:
            self._lane.share_with(flows)

    def moved(self, size: float) -> None:
        """Payload passed; acknowledgements went the other way."""
        self.payload += size
        if self.back is not None:
            self.back.acknowledged += size


class TwinNetwork:
    """A topology that is alive in virtual time; satisfies :class:`testbed.substrate.base.Network`."""

    def __init__(self, topology: Topology, seed: int, loop: VirtualLoop, options: TwinOptions) -> None:
        self.topology = topology
        self.mechanisms: Mapping[str, str] = dict.fromkeys(topology.links, "model")
        self.notes: Mapping[str, str] = {}
        self._loop, self._options, self._costs = loop, options, Costs.of(options)
        self._fluid = Fluid(loop)
        self._lanes: dict[End, Lane] = {}
        self._carriers: dict[End, _Carrier] = {}
        self._paths: dict[tuple[str, str], tuple[Path, Path]] = {}
        self._paths_over: dict[End, list[Path]] = {}
        self._machines = {node: Resource(None) for node in topology.nodes}
        self._cut: dict[str, None] = {}  # links
        self._attached: dict[str, str] = {}
        self._routed = topology  # with the routes that are in force now
        self.rerouting = Rerouting(topology, seed, loop, self._reroute)
        for link in topology.links.values():
            ends = [End(link.name, interface.node) for interface in link.ends]
            for end, interface in zip(ends, link.ends, strict=True):
                rng = partial(seeds.stream, seed, "link", *end)
                self._lanes[end] = Lane(loop, Treatment.of(interface.shape), rng)
                self._carriers[end] = _Carrier(self._lanes[end], options.tcp_efficiency)
            self._carriers[ends[0]].back, self._carriers[ends[1]].back = (self._carriers[end] for end in ends[::-1])

    def host(self, name: str) -> Host:
        """There is no machine to run commands on; raises UsageError."""
        raise UsageError(f"The twin has no machine called {name}: nothing runs in it but the roles. Use an emulation.")

    def now(self) -> float:
        """Virtual seconds."""
        return self._loop.now

    def lateness(self) -> Lateness | None:
        """None: in virtual time no packet is late."""
        return None

    def check(self) -> None:
        """Nothing can fail to run here."""

    def connection(self, client: str, server: str, listening: Callable[[], bool]) -> Connection:
        """A TCP connection between two nodes, not opened yet; ``listening`` is asked when a SYN is at the server."""
        return Connection(self._loop, (client, server), self._ways(client, server), self._costs, listening)

    def throw(self, a: str, b: str, count: int, wire: float, target: Target) -> None:
        """Send ``count`` packets of ``wire`` bytes each, one behind the other, which nobody sends again."""
        train = Train(0, 0, count, 0, wire, wire, self._loop.now)
        train.target, train.stops = target, self._ways(a, b)[0].stops
        train.stops[0].take(train)

    def delay(self, a: str, b: str) -> float:
        """The sum of the one-way delays from ``a`` to ``b``, in seconds."""
        return self._ways(a, b)[0].delay

    def narrowest(self, a: str, b: str) -> float | None:
        """The smallest rate on the way from ``a`` to ``b``, in bits per second; None where there is no limit."""
        return min((lane.shape.rate for lane in self._ways(a, b)[0].lanes if lane.shape.rate is not None), default=None)

    def shape(self, end: End, shape: Shape) -> None:
        """Change what leaves one end, at this instant."""
        self._lanes[end].reshape(self._loop.now, Treatment.of(shape))
        for path in self._paths_over.get(end, ()):
            path.refresh()
        self._refresh(end)
        self._tell_routers(end.link)

    def connect(self, link: str, up: bool) -> None:
        """Cut or mend a link at this instant; what is under way on it at a cut is lost."""
        self.topology.links[link]  # KeyError for an unknown one
        if up:
            self._cut.pop(link, None)
        else:
            self._cut[link] = None
        self._follow(link)

    def down(self, node: str, is_down: bool) -> None:
        """Take a machine down, or bring it back: whatever is on a link of its, reaches it or leaves it vanishes."""
        self._machines[node].capacity = 0.0 if is_down else None
        self._fluid.changed(self._machines[node])
        for link, _ in self.topology.interfaces[node]:
            self._follow(link.name)

    def _follow(self, link: str) -> None:
        """A link passes packets while it is not cut and the machines at both ends are up."""
        nodes = [interface.node for interface in self.topology.links[link].ends]
        up = link not in self._cut and all(self._machines[node].capacity is None for node in nodes)
        for node in nodes:
            self._lanes[End(link, node)].connect(self._loop.now, up)
            self._refresh(End(link, node))
        self._tell_routers(link)

    def _tell_routers(self, link: str) -> None:
        """Whether a link passes packets both ways decides whether the routers at its ends hear each other."""
        lanes = [self._lanes[End(link, interface.node)] for interface in self.topology.links[link].ends]
        self.rerouting.passes(link, all(lane.up and lane.shape.loss < 1 for lane in lanes))

    def _refresh(self, end: End) -> None:
        self._carriers[end].refresh()
        self._fluid.changed(self._carriers[end])

    def _ways(self, a: str, b: str) -> tuple[Path, Path]:
        """There and back. Answers go to where the question came from, also to a host with several addresses."""
        ways = self._paths.get((a, b))
        if ways is None:
            there, back = self._ends(a, b)
            ways = self._paths[a, b] = self._made(there), self._made(back)
        return ways

    def way(self, a: str, b: str) -> tuple[End, ...]:
        """The ends that a packet from ``a`` to ``b`` leaves through now; as first planned where no route leads."""
        try:
            return walk(self._routed, a, b, self._attached)
        except UsageError:
            if self._routed is self.topology:
                raise
            return walk(self.topology, a, b, self._attached)

    def _ends(self, a: str, b: str) -> tuple[tuple[End, ...], tuple[End, ...]]:
        there = self.way(a, b)
        try:
            return there, self.way(b, a)
        except UsageError:
            back = tuple(End(link, self.topology.links[link].beyond(node).node) for link, node in reversed(there))
            return there, back

    def attach(self, node: str, link: str) -> None:
        """All traffic of ``node`` goes over its ``link`` from now on; connections stay, what is under way goes on."""
        self._attached[node] = link
        self._lead_all()

    def _reroute(self, topology: Topology) -> None:
        """All traffic takes the routes of ``topology`` from now on, as with :meth:`attach`."""
        self._routed = topology
        self._lead_all()

    def _lead_all(self) -> None:
        for (a, b), ways in self._paths.items():
            for path, ends in zip(ways, self._ends(a, b), strict=True):
                lanes = tuple(self._lanes[end] for end in ends)
                if lanes != path.lanes:
                    self._lead(path, ends)

    def _lead(self, path: Path, ends: Sequence[End]) -> None:
        """Have a path take another way."""
        for paths in self._paths_over.values():
            if path in paths:
                paths.remove(path)
        for end in ends:
            self._paths_over.setdefault(end, []).append(path)
        path.lanes = tuple(self._lanes[end] for end in ends)
        path.refresh()

    def _made(self, ends: Sequence[End]) -> Path:
        path = Path(self._loop, [self._lanes[end] for end in ends], is_free=self._options.messages == "free")
        for end in ends:
            self._paths_over.setdefault(end, []).append(path)
        return path

    def disk(self, rate: float | None) -> Disk:
        """One side of a disk, of ``rate`` bytes per second; None: no limit."""
        return Disk(rate)

    async def read(self, disk: Disk, size: int) -> None:
        """Read or write ``size`` bytes, sharing the disk fairly with all that goes on there."""
        await self._fluid.move("a disk", size, [disk])

    async def transfer(self, source: str, target: str, size: int, disks: Sequence[Disk], patience: float) -> None:
        """Move ``size`` bytes of a file; TransferFailed when nothing moves for ``patience`` seconds.

        With a patience of 0 it fails at the very moment when a link of the path is cut or a node goes down.
        """
        carriers = [self._carriers[end] for end in self.way(source, target)]
        machines = [self._machines[source], self._machines[target]]
        resources = [*machines, *carriers, *disks]
        there, back = self._ways(source, target)
        share = min((each.capacity / (len(each.flows) + 1) for each in resources if each.capacity), default=inf)
        cap = _most(there, there.delay + back.delay)
        lead = there.delay + _start_up(size, there.delay + back.delay, min(share, cap))
        await self._fluid.move(f"from {source} to {target}", size, resources, cap, patience, lead)

    def counters(self) -> Mapping[End, Counters]:
        """What each end of each link has let pass and dropped since the start; transfers up to this instant."""
        self._fluid.account()
        return {end: self._count(lane, self._carriers[end]) for end, lane in self._lanes.items()}

    def _count(self, lane: Lane, carrier: _Carrier) -> Counters:
        efficiency = self._options.tcp_efficiency
        header = MSS * (1 / efficiency - 1)
        acks = carrier.acknowledged / (2 * MSS) if header else 0.0
        size = lane.size_bytes + carrier.payload / efficiency + acks * header
        packets = lane.packets + round(carrier.payload / MSS + acks)
        return Counters(packets, round(size), lane.dropped_queue, lane.dropped_loss, lane.dropped_down)


def _most(path: Path, round_trip: float) -> float:
    """What one connection gets at most in bytes per second over a path that loses packets (Mathis et al. 1997)."""
    passes = 1.0
    for lane in path.lanes:
        passes *= 1 - lane.shape.loss
    return MATHIS * MSS / (round_trip * sqrt(1 - passes)) if 0 < passes < 1 and round_trip else inf


def _start_up(size: int, round_trip: float, share: float) -> float:
    """The seconds that slow start adds: in each round trip, the time in which the window has run out."""
    window, extra = float(FIRST_WINDOW * MSS), 0.0
    while size > window and window < share * round_trip:
        extra += round_trip - window / share
        size -= int(window)
        window *= 2
    return extra
