"""Real machines with the topology's shapes between them: what a path asks for is put in force where packets leave."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from testbed.errors import ShapeNotInForce
from testbed.substrate.parts_wire import shape_to_wire
from testbed.substrate.remote import RemoteNetwork, Sessions
from testbed.topology.model import End, Topology
from testbed.topology.shape import Shape

Pair = tuple[str, str]


class ShapedNetwork(RemoteNetwork):
    """Machines as hosts, each of which shapes what it sends to each other one."""

    shaped = True

    def __init__(self, topology: Topology, sessions: Sessions, later: Mapping[str, Sequence[Shape]]) -> None:
        super().__init__(topology, sessions)
        self._now = {End(link.name, end.node): end.shape for link in topology.links.values() for end in link.ends}
        self._cut: set[str] = set()
        self._paths = {pair: topology.path(*pair) for pair in self.pairs}
        self._numbers: dict[Pair, int] = {}
        for node in self.machine_of:
            self._open(node, [*self._now.values(), *(shape for shapes in later.values() for shape in shapes)])
        for pair in self._paths:
            self._put(pair)
        self.mechanisms = dict.fromkeys(topology.links, "paths")
        self.notes = {"links": "between machines, by htb, netem and tbf where packets leave, for each path as a whole"}

    def shape(self, end: End, shape: Shape) -> None:
        """Change what leaves one end, on all paths that cross it."""
        self._now[end] = shape
        self._renew(lambda ends: end in ends)

    def connect(self, link: str, up: bool) -> None:
        """Cut or mend a link: nothing passes on the paths that cross it."""
        if up != (link not in self._cut):
            (self._cut.discard if up else self._cut.add)(link)
            self._renew(lambda ends: any(end.link == link for end in ends))

    def _renew(self, is_concerned: Callable[[Sequence[End]], bool]) -> None:
        for pair, ends in self._paths.items():
            if is_concerned(ends):
                self._put(pair)

    def _open(self, node: str, shapes: Sequence[Shape]) -> None:
        """Have a machine get ready for its paths to all others; ShapeNotInForce where it cannot carry all shapes."""
        others = [each for each in self.machine_of if each != node]
        session = self._sessions[self.machine_of[node]]
        told = session.ask(
            "path.open", interface=session.entry.interface, sudo=session.entry.sudo,
            addresses=[self.addresses[each] for each in others],
        )  # fmt: skip
        self._numbers.update({(node, other): number for number, other in enumerate(others, 1)})
        if not told["netem"] and any(shape.touches_packets for shape in shapes):
            raise ShapeNotInForce(f"The kernel of machine {session.name!r} has no netem, so that only rates can be put "
                                  "in force there, not delay, jitter or loss. Load sch_netem there (Debian, Ubuntu: "
                                  "linux-modules-extra), or take the links as they are (`links: real`).")  # fmt: skip

    def _put(self, pair: Pair) -> None:
        ends = self._paths[pair]
        is_cut = any(end.link in self._cut for end in ends)
        shape = None if is_cut else shape_to_wire(combined([self._now[end] for end in ends]))
        self._sessions[self.machine_of[pair[0]]].ask("path.shape", number=self._numbers[pair], shape=shape)


def combined(shapes: Sequence[Shape]) -> Shape:
    """One shape that does to packets what all of these do one after the other.

    Delays add up, so do the variances of their jitter; the smallest rate counts, with its queue and its burst. That
    several queues share what waits, and that jitter on links with different distributions has another one, is lost.
    """
    slowest = min(shapes, key=lambda shape: math.inf if shape.rate is None else shape.rate)
    roughest = max(shapes, key=lambda shape: shape.jitter)
    return Shape.model_construct(
        delay=sum(shape.delay for shape in shapes),
        jitter=math.sqrt(sum(shape.jitter**2 for shape in shapes)), distribution=roughest.distribution,
        loss=_any(shape.loss for shape in shapes), duplicate=_any(shape.duplicate for shape in shapes),
        reorder=_any(shape.reorder for shape in shapes), corrupt=_any(shape.corrupt for shape in shapes),
        rate=slowest.rate, burst=slowest.burst, queue=slowest.queue,
    )  # fmt: skip


def _any(shares: Iterable[float]) -> float:
    """The share of packets to which at least one of these happens."""
    return 1.0 - math.prod(1.0 - share for share in shares)
