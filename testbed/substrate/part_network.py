"""One machine's part of a network, alive in its arena, with its ends of the trunks to the other machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import TestbedError
from testbed.shaping.base import Counters, Lateness
from testbed.shaping.choose import choose
from testbed.substrate.layout import FABRIC, Layout
from testbed.substrate.netns import NetnsNetwork, raised
from testbed.substrate.parts import Parts, near_ends, stub
from testbed.substrate.probe import probe
from testbed.substrate.trunk import Doors, Joint, Tunnel, Way, lay_vxlan
from testbed.topology.model import End
from testbed.topology.shape import Shape


@dataclass(frozen=True, slots=True)
class Trunks:
    """What carries the cut links of one machine: its doors, the ways to the others, and a running tunnel (or VXLAN).

    ``base`` is what VXLAN network identifiers count from.
    """

    doors: Doors
    ways: Mapping[str, Way]
    tunnel: Tunnel | None
    base: int


class Part:
    """What the deputy of one machine answers for: like a Network, for the near ends of its links."""

    def __init__(self, machine: str, parts: Parts, network: NetnsNetwork, tunnel: Tunnel | None) -> None:
        self.network, self.whole, self._tunnel = network, parts.whole, tunnel
        self.refused = 0
        """Datagrams that the tunnel got and that were not of the other machines, or had not the run's secret."""
        self._near = set(near_ends(parts.topologies[machine]))
        self._far = {cut.link: End(cut.link, cut.nodes[cut.machines[0] == machine]) for cut in parts.cuts_of(machine)}

    def counters(self) -> dict[End, Counters]:
        """Of each near end all that is counted; of far ends what was lost on the way here."""
        found = {end: counted for end, counted in self.network.counters().items() if end in self._near}
        if self._tunnel is None:
            return found
        told = self._tunnel.counters()
        self.refused = told["refused"]
        for link, overflow, missing in told["links"]:
            far = self._far[link]
            found[far] = Counters(dropped_relay=missing)
            near = next(end for end in self._near if end.link == link)
            found[near] = sum_of(found[near], Counters(dropped_relay=overflow))
        return found

    def lateness(self) -> Lateness | None:
        """Of the relay and of the tunnel, the worse of each."""
        return worst([self.network.lateness(), self._tunnel.lateness() if self._tunnel else None])

    def check(self) -> None:
        """Raise ShapeNotInForce if the relay or the tunnel no longer runs."""
        self.network.check()
        if self._tunnel is not None:
            self._tunnel.check()


def sum_of(one: Counters, two: Counters) -> Counters:
    """Both counts together."""
    return Counters(*(getattr(one, name) + getattr(two, name) for name in Counters.__slots__))


def worst(found: Sequence[Lateness | None]) -> Lateness | None:
    """Of several mechanisms, the greatest of each quantile; None where none is in user space."""
    late = [each for each in found if each is not None and each.packets]
    if not late:
        return next((each for each in found if each is not None), None)
    return Lateness(sum(each.packets for each in late), max(each.p50_s for each in late),
                    max(each.p99_s for each in late), max(each.max_s for each in late))  # fmt: skip


def open_part(
    parts: Parts, machine: str, folder: Path, seed: int, later: Mapping[str, Sequence[Shape]], trunks: Trunks,
    undo: ExitStack,
) -> Part:  # fmt: skip
    """Build the part of this machine, in its arena, and join it to the others; ``undo`` takes it away."""
    topology = parts.topologies[machine]
    mechanisms = choose(topology, later, probe())
    network, layout, spaces = raised(topology, folder, seed, mechanisms, undo, parts.whole)
    _join(_joints(parts, machine, layout, trunks), spaces.net[FABRIC], trunks)
    return Part(machine, parts, network, trunks.tunnel)


def _joints(parts: Parts, machine: str, layout: Layout, trunks: Trunks) -> list[Joint]:
    found = []
    for cut in parts.cuts_of(machine):
        other = cut.machines[cut.machines[0] == machine]
        bridge, port = layout.bridges[stub(cut.link)], layout.ends[End(cut.link, stub(cut.link))]
        found.append(Joint(cut.link, cut.number, trunks.ways[other], cut.mtu, bridge.index, port.index))
    return found


def _join(joints: Sequence[Joint], fabric: int, trunks: Trunks) -> None:
    try:
        if trunks.tunnel is not None:
            trunks.tunnel.carry(fabric, joints)
        else:
            lay_vxlan(trunks.doors, fabric, joints, trunks.base)
    except OSError as error:
        raise TestbedError(f"The links to other machines could not be laid: {error}.") from error
