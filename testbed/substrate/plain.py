"""Links that pass packets untouched: nothing to shape, but still to be counted, cut and mended."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from testbed.errors import ShapeNotInForce
from testbed.netlink import Netlink
from testbed.shaping import tc
from testbed.shaping.base import Counters, Lateness, Mechanism, Wire
from testbed.topology.model import End
from testbed.topology.shape import Shape

_RX_PACKETS, _TX_PACKETS, _RX_BYTES, _TX_BYTES = 0, 1, 2, 3


class PlainLinks:
    """The mechanism ``none``. A buffer of segmentation offload (up to 64 KiB) counts as one packet."""

    mechanism: Mechanism = "none"

    def __init__(self, wires: Sequence[Wire]) -> None:
        self._wires = {wire.link: wire for wire in wires}
        self._cut: set[str] = set()
        self._lost: Counter[End] = Counter()  # at cuts that are mended

    def shape(self, end: End, shape: Shape) -> None:
        """Nothing to do for a plain shape; ShapeNotInForce for any other."""
        if not shape.is_plain:
            raise ShapeNotInForce(f"Link {end.link} was built without a shaper: announce each shape before the start.")

    def connect(self, link: str, up: bool) -> None:
        """Cut or mend both directions: a cut end swallows every packet. Addresses, routes and carrier stay."""
        if up == (link not in self._cut):
            return
        if up:
            self._lost.update(self._losses(link))
        for port in self._wires[link].outer:
            with Netlink(port.netns) as netlink:
                netlink.do([tc.remove(port.index) if up else tc.swallow(port.index)])
        (self._cut.discard if up else self._cut.add)(link)

    def _losses(self, link: str) -> dict[End, int]:
        """What the ends of a cut link have swallowed up to now."""
        wire, found = self._wires[link], {}
        for node, port in zip(wire.nodes, wire.outer, strict=True):
            with Netlink(port.netns) as netlink:
                found[End(link, node)] = tc.drops(netlink).get(port.index, 0)
        return found

    def counters(self) -> dict[End, Counters]:
        """What each end has let pass, as the kernel counts it.

        What leaves one end of a veth pair enters the other, so both directions are read at one end: the one whose
        namespace holds most interfaces, since asking a namespace is what costs.
        """
        held = Counter(port.netns for wire in self._wires.values() for port in wire.outer)
        asked: dict[int, list[tuple[Wire, int]]] = defaultdict(list)
        for wire in self._wires.values():
            side = 0 if held[wire.outer[0].netns] >= held[wire.outer[1].netns] else 1
            asked[wire.outer[side].netns].append((wire, side))
        lost = self._lost.copy()
        for link in self._cut:
            lost.update(self._losses(link))
        found: dict[End, Counters] = {}
        for netns, sides in asked.items():
            with Netlink(netns) as netlink:
                counted = netlink.statistics()
            for wire, side in sides:
                found.update(_both(wire, side, counted[wire.outer[side].index], lost))
        return found

    def lateness(self) -> Lateness | None:
        """None: the kernel alone moves these packets."""
        return None

    def check(self) -> None:
        """Nothing runs that could fail."""

    def close(self) -> None:
        """Nothing to end."""


def _both(wire: Wire, side: int, numbers: Sequence[int], lost: Mapping[End, int]) -> dict[End, Counters]:
    here, there = End(wire.link, wire.nodes[side]), End(wire.link, wire.nodes[1 - side])
    return {
        here: Counters(numbers[_TX_PACKETS], numbers[_TX_BYTES], dropped_down=lost.get(here, 0)),
        there: Counters(numbers[_RX_PACKETS], numbers[_RX_BYTES], dropped_down=lost.get(there, 0)),
    }
