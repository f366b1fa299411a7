"""What the network builder and the shapers agree on.

A link is **direct** (one veth pair, no shaper or a kernel qdisc at each end) or **relayed** (two veth pairs whose inner
ends, ``Port``s, a user-space relay reads and writes). :func:`testbed.shaping.choose.choose` decides before anything is
built, from the shapes that the link will ever have and from what the kernel offers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from testbed.topology.model import End
from testbed.topology.shape import Shape

Mechanism = Literal["none", "netem", "tbf", "relay"]


@dataclass(frozen=True, slots=True)
class Counters:
    """What passed one end of one link, in the direction that leaves the node, since the network came up.

    ``dropped_queue`` counts drop-tail losses at the queue, ``dropped_loss`` the random losses that were asked for,
    ``dropped_down`` packets that met a link which was down, ``dropped_relay`` those that nobody asked to drop and that
    an overloaded relay could not read in time. Kernel shapers that cannot tell them apart report all drops as
    ``dropped_queue`` and the asked ones as 0.
    """

    packets: int = 0
    size_bytes: int = 0
    dropped_queue: int = 0
    dropped_loss: int = 0
    dropped_down: int = 0
    dropped_relay: int = 0


@dataclass(frozen=True, slots=True)
class Lateness:
    """How much later than asked a relay sent packets since the last question (seconds): count, p50, p99, maximum."""

    packets: int
    p50_s: float
    p99_s: float
    max_s: float


@dataclass(frozen=True, slots=True)
class Port:
    """A network interface as a mechanism reaches it: descriptor of its network namespace, name and index there."""

    netns: int
    name: str
    index: int


@dataclass(frozen=True, slots=True)
class Wire:
    """One link as the network builder made it; every pair is in the order of the link's ends.

    ``outer`` are the nodes' own interfaces (switch ports included); kernel mechanisms put their qdiscs there. ``inner``
    are, on relayed links alone, their veth peers, up and with the MTU of the link, in a namespace where nothing else
    reads them. The builder keeps the namespaces' descriptors open for as long as the shaper lives.
    """

    link: str
    nodes: tuple[str, str]
    outer: tuple[Port, Port]
    inner: tuple[Port, Port] | None
    shapes: tuple[Shape, Shape]
    mtu: int = 1500

    def side(self, node: str) -> int:
        """0 or 1: which end of the link is at ``node``."""
        return self.nodes.index(node)


class Shaper(Protocol):
    """One running mechanism that serves a set of link ends."""

    mechanism: Mechanism

    def shape(self, end: End, shape: Shape) -> None:
        """Put ``shape`` in force on what leaves ``end``, while traffic flows. Raises ShapeNotInForce if it cannot."""

    def connect(self, link: str, up: bool) -> None:
        """Cut or mend both directions of ``link``; packets that were under way at a cut are lost."""

    def counters(self) -> dict[End, Counters]:
        """What each served end has let pass and dropped."""

    def lateness(self) -> Lateness | None:
        """How late packets left since the last call, or None for a mechanism inside the kernel."""

    def check(self) -> None:
        """Raise ShapeNotInForce, with the reason, if the mechanism no longer runs."""

    def close(self) -> None:
        """End the mechanism; what it held goes with the arena."""
