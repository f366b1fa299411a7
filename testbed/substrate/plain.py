"""Links that pass packets untouched: nothing to shape, but still to be counted, cut and mended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from testbed.errors import ShapeNotInForce
from testbed.shaping.base import Counters, Lateness, Mechanism, Port, Wire
from testbed.substrate.netlink import Netlink, block, unblock
from testbed.topology.model import End
from testbed.topology.shape import Shape

_RX_PACKETS, _TX_PACKETS, _RX_BYTES, _TX_BYTES, _TX_DROPPED = 0, 1, 2, 3, 7


class PlainLinks:
    """The mechanism ``none``. A buffer of segmentation offload (up to 64 KiB) counts as one packet."""

    mechanism: Mechanism = "none"

    def __init__(self, wires: Sequence[Wire]) -> None:
        self._wires = {wire.link: wire for wire in wires}

    def shape(self, end: End, shape: Shape) -> None:
        """Nothing to do for a plain shape; ShapeNotInForce for any other."""
        if not shape.is_plain:
            raise ShapeNotInForce(f"Link {end.link} was built without a shaper: announce each shape before the start.")

    def connect(self, link: str, up: bool) -> None:
        """Cut or mend both directions: a cut end swallows every packet. Addresses, routes and carrier stay."""
        for port in self._wires[link].outer:
            with Netlink(port.netns) as netlink:
                netlink.do([(unblock if up else block)(port.index, f"link {link}")])

    def counters(self) -> dict[End, Counters]:
        """What each end has let pass, as the kernel counts it."""
        places: dict[int, list[tuple[End, Port]]] = defaultdict(list)
        for wire in self._wires.values():
            for node, port in zip(wire.nodes, wire.outer, strict=True):
                places[port.netns].append((End(wire.link, node), port))
        found = {}
        for netns, ends in places.items():
            with Netlink(netns) as netlink:
                counted = netlink.statistics()
            for end, port in ends:
                numbers = counted[port.index]
                found[end] = Counters(numbers[_TX_PACKETS], numbers[_TX_BYTES], dropped_down=numbers[_TX_DROPPED])
        return found

    def lateness(self) -> Lateness | None:
        """None: the kernel alone moves these packets."""
        return None

    def check(self) -> None:
        """Nothing runs that could fail."""

    def close(self) -> None:
        """Nothing to end."""
