"""Operations of the deputy on the part of a network that its machine carries.

``prepare`` comes before the arena is entered, then, from all machines: ``facts``, ``ways``, ``measure``, ``open``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from testbed.errors import UsageError
from testbed.shaping.base import Counters
from testbed.substrate.deputy import Desk, Operation
from testbed.substrate.deputy_host import hosts
from testbed.substrate.part_network import Part, Trunks, open_part
from testbed.substrate.parts import split
from testbed.substrate.parts_wire import from_wire, shape_from_wire
from testbed.substrate.trunk import Doors, Tunnel, Way, own_address, without_vxlan
from testbed.topology.model import End


def _doors(desk: Desk) -> Doors:
    found: Doors = desk.kept["doors"]
    return found


def _tunnel(desk: Desk) -> Tunnel:
    found: Tunnel = desk.kept["tunnel"]
    return found


def _part(desk: Desk) -> Part:
    found: Part = desk.kept["part"]
    return found


def prepare(desk: Desk, *, address: str) -> Mapping[str, object]:
    """Open what the arena needs of the machine's own network; no ``address``: where the SSH server was reached."""
    if desk.folder.resolve().is_relative_to("/run"):
        raise UsageError(f"Parts have a /run of their own, so {desk.folder} is not seen there: name another folder.")
    doors = desk.kept["doors"] = Doors(address or own_address())
    desk.undo.callback(doors.close)
    return {}


def facts(desk: Desk) -> Mapping[str, object]:
    """Where the tunnel listens, and why this machine cannot have VXLAN devices (empty if it can)."""
    doors = _doors(desk)
    return {"address": doors.address, "port": doors.port, "without_vxlan": without_vxlan(doors), "order": sys.byteorder}


def ways(desk: Desk, *, secret: str, peers: list[tuple[str, str, int]]) -> Mapping[str, object]:
    """Get to know the other machines (name, address, port) and listen to them; gives the largest packet to each."""
    doors = _doors(desk)
    known = [Way(name, address, port, doors.mtu(address)) for name, address, port in peers]
    tunnel = desk.kept["tunnel"] = Tunnel(doors, secret, known)
    desk.undo.callback(tunnel.close)
    desk.kept["ways"] = {way.name: way for way in known}
    return {"mtus": {way.name: way.mtu for way in known}}


def measure(desk: Desk, *, peer: str) -> Mapping[str, object]:
    """What a question to another machine takes, in seconds; the other has to know the ways already."""
    trip = _tunnel(desk).measure(peer)
    return {"way_s": trip.way_s, "turn_s": trip.turn_s}


def open_network(
    desk: Desk, *, machine: str, topology: dict[str, Any], owner: dict[str, str], seed: int,
    later: dict[str, list[dict[str, Any]]], kind: str, base: int,
) -> Mapping[str, object]:  # fmt: skip
    """Build this machine's part of ``topology`` and join it to the others; gives its hosts with their folders."""
    whole = from_wire(topology)
    parts = split(whole, owner, [machine])
    if kind == "vxlan":
        _tunnel(desk).close()
    trunks = Trunks(_doors(desk), desk.kept["ways"], _tunnel(desk) if kind == "udp" else None, base)
    shapes = {link: [shape_from_wire(each) for each in found] for link, found in later.items()}
    part = open_part(parts, machine, desk.folder / "hosts", seed, shapes, trunks, desk.undo)
    desk.kept["part"] = part
    names = [node.name for node in part.network.topology.of_kind("host", "router")]
    hosts(desk).update({name: part.network.host(name) for name in names})
    return {"hosts": {name: str(part.network.host(name).folder) for name in names},
            "mechanisms": dict(part.network.mechanisms), "notes": dict(part.network.notes)}  # fmt: skip


def settle(desk: Desk) -> Mapping[str, object]:
    """Let the routers of this part find their ways, where a protocol does that; all other parts have to be open."""
    part = _part(desk)
    part.network.find_ways(part.whole)
    return {"notes": dict(part.network.notes)}


def limits(desk: Desk) -> Mapping[str, object]:
    """What hosts' limits have done: for each host that has some, the fields of LimitUse."""
    return {name: [use.throttled_s, use.killed] for name, use in _part(desk).network.limit_use().items()}


def shape(desk: Desk, *, link: str, node: str, shape: dict[str, Any]) -> Mapping[str, object]:
    """Change what leaves one near end."""
    with desk.turn():
        _part(desk).network.shape(End(link, node), shape_from_wire(shape))
    return {}


def connect(desk: Desk, *, link: str, up: bool) -> Mapping[str, object]:
    """Cut or mend a link, both directions at this machine."""
    with desk.turn():
        _part(desk).network.connect(link, up)
    return {}


def counters(desk: Desk) -> Mapping[str, object]:
    """Rows of link, node and the fields of Counters; and how many datagrams of strangers there were."""
    found = _part(desk).counters()
    rows = [[*end, *(getattr(each, name) for name in Counters.__slots__)] for end, each in found.items()]
    return {"rows": rows, "refused": _part(desk).refused}


def lateness(desk: Desk) -> Mapping[str, object]:
    """The fields of Lateness, or nothing where only the kernel moves packets."""
    late = _part(desk).lateness()
    return {"late": None if late is None else [late.packets, late.p50_s, late.p99_s, late.max_s]}


def check(desk: Desk) -> Mapping[str, object]:
    """Raise ShapeNotInForce if something that moves packets no longer runs."""
    _part(desk).check()
    return {}


OPERATIONS: Mapping[str, Operation] = {
    "prepare": prepare, "facts": facts, "ways": ways, "measure": measure, "open": open_network,
    "settle": settle, "limits": limits, "shape": shape, "connect": connect, "counters": counters,
    "lateness": lateness, "check": check,
}  # fmt: skip
