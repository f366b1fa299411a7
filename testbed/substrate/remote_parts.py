"""One network over several machines, seen from the driver: each carries its part, and this is all of them together."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from testbed.errors import InputError, UsageError
from testbed.shaping.base import Counters, Lateness
from testbed.substrate.base import LimitUse
from testbed.substrate.part_network import sum_of, worst
from testbed.substrate.partition import partition
from testbed.substrate.parts import Parts, assign, relieved, split
from testbed.substrate.parts_wire import shape_to_wire, to_wire
from testbed.substrate.remote import MachinesNetwork, Sessions
from testbed.substrate.remote_host import RemoteHost
from testbed.substrate.remote_session import Session
from testbed.substrate.remote_trunks import Agreed, agree
from testbed.topology.model import End, Link, Topology
from testbed.topology.shape import Shape

_OPEN_S, _OPEN_NODE_S = 120.0, 0.2  # for a machine to build its part
_SETTLE_S = 600.0  # for routers to find their ways; the machines know better limits
_CHECK_EVERY_S = 1.0
_BY_DETAIL = ("none", "relay", "tbf", "netem")  # from what tells most of packets to what tells least


class PartsNetwork(MachinesNetwork):
    """A network in parts on several machines."""

    def __init__(
        self, parts: Parts, sessions: Sessions, agreed: Agreed, taken: Mapping[str, float], opened: Mapping[str, Any]
    ) -> None:
        """``taken``: for each cut link what the way between its machines takes off its delay, in seconds."""
        hosts = {
            node: RemoteHost(sessions[name], node, Path(folder))
            for name, told in opened.items() for node, folder in told["hosts"].items()
        }  # fmt: skip
        super().__init__(parts.whole, sessions, parts.owner, hosts)
        self._parts, self._taken = parts, taken
        self.mechanisms: Mapping[str, str] = _mechanisms(parts.whole, opened)
        of_parts = {f"{name}: {key}": note for name, told in opened.items() for key, note in told["notes"].items()}
        self.notes: Mapping[str, str] = {**agreed.notes(parts, bool(taken)), **of_parts}
        self._rows: dict[str, list[list[Any]]] = {name: [] for name in sessions.by_name}
        self.refused = dict.fromkeys(sessions.by_name, 0)
        """Of each machine, how many datagrams its tunnel refused as strangers', when it was last asked."""
        self._checked = 0.0

    def shape(self, end: End, shape: Shape) -> None:
        """Change what leaves one end, at the machine that has it; raises ShapeNotInForce."""
        wanted = shape_to_wire(relieved(shape, self._taken.get(end.link, 0.0)))
        self._sessions[self.machine_of[end.node]].ask("part.shape", link=end.link, node=end.node, shape=wanted)

    def connect(self, link: str, up: bool) -> None:
        """Cut or mend a link, at both machines if it is between two."""
        names = self._parts.machines_of(link)
        self._sessions.some(names, lambda session: session.ask("part.connect", link=link, up=up))

    def counters(self) -> Mapping[End, Counters]:
        """What each end of each link has let pass and dropped; of a lost machine, what it told last."""
        self._sessions.each(self._count)
        found: dict[End, Counters] = {}
        for rows in self._rows.values():
            for link, node, *numbers in rows:
                end = End(link, node)
                found[end] = sum_of(found.get(end, Counters()), Counters(*numbers))
        ends = (End(link.name, end.node) for link in self.topology.links.values() for end in link.ends)
        return {end: found[end] for end in ends if end in found}

    def _count(self, session: Session) -> None:
        if not session.lost:
            told = session.ask("part.counters")
            self._rows[session.name], self.refused[session.name] = told["rows"], told["refused"]

    def lateness(self) -> Lateness | None:
        """How late packets left relays and tunnels since the last call, the worst of all machines."""
        told = self._sessions.each(lambda session: None if session.lost else session.ask("part.lateness")["late"])
        return worst([None if each is None else Lateness(*each) for each in told])

    def check(self) -> None:
        """Raise MachineLost if a machine no longer answers, ShapeNotInForce if one no longer moves packets."""
        super().check()
        if time.monotonic() >= self._checked:
            self._sessions.each(lambda session: session.ask("part.check"))
            self._checked = time.monotonic() + _CHECK_EVERY_S

    def limit_use(self) -> Mapping[str, LimitUse]:
        """What the limits of each host that has some have done so far."""
        told = self._sessions.each(lambda session: {} if session.lost else session.ask("part.limits"))
        return {name: LimitUse(*use) for each in told for name, use in each.items()}

    def settle(self) -> None:
        """Return when routers that find their ways by themselves have found them."""
        if self.topology.routing.protocol == "ospf":
            told = self._sessions.each(lambda session: session.ask("part.settle", timeout=_SETTLE_S))
            found = [each["notes"]["routing"] for each in told]
            self.notes = {**self.notes, "routing": next((each for each in found if each != "no routers"), found[0])}


def _mechanisms(topology: Topology, opened: Mapping[str, Any]) -> dict[str, str]:
    """What shapes each link; where the two machines of one differ, that which tells less of what became of packets."""
    found: dict[str, str] = {}
    for link in topology.links:
        used = [told["mechanisms"][link] for told in opened.values() if link in told["mechanisms"]]
        found[link] = max(used, key=_BY_DETAIL.index)
    return found


def divided(sessions: Sessions, topology: Topology) -> Parts:
    """The parts that the inventory asks for; raises InputError for names that mean nothing."""
    inventory = sessions.inventory
    wanted = inventory.file.parts
    machines = list(wanted)
    try:
        is_open = not any(wanted.values())
        owner = partition(topology, machines) if is_open else assign(topology, wanted)
    except UsageError as error:
        raise InputError([inventory.document.problem(("parts",), str(error), "nodes of the network")]) from error
    return split(topology, owner, machines)


@contextmanager
def open_parts(
    sessions: Sessions, topology: Topology, folder: Path, seed: int, later: Mapping[str, Sequence[Shape]]
) -> Iterator[PartsNetwork]:
    """The network over all machines; its hosts' folders are copied to ``folder/<host>`` when the context ends."""
    parts = divided(sessions, topology)
    agreed = agree(sessions, parts)
    taken = agreed.taken_s if sessions.inventory.file.latency == "subtract" else {}
    order = partial(
        _opened, whole=to_wire(relieve(topology, taken)), parts=parts, agreed=agreed, seed=seed,
        later={link: [relieved(each, taken.get(link, 0.0)) for each in shapes] for link, shapes in later.items()},
    )  # fmt: skip
    opened = dict(zip(sessions.by_name, sessions.each(order), strict=True))
    network = PartsNetwork(parts, sessions, agreed, taken, opened)
    with ExitStack() as undo:
        undo.callback(network.gather, folder)
        network.settle()
        yield network


def relieve(topology: Topology, taken: Mapping[str, float]) -> Topology:
    """``topology`` with the delays of cut links smaller by what the ways between their machines take."""
    changed = {name: _relieved_link(topology.links[name], taken_s) for name, taken_s in taken.items()}
    return replace(topology, links={**topology.links, **changed})


def _relieved_link(link: Link, taken_s: float) -> Link:
    one, two = (replace(end, shape=relieved(end.shape, taken_s)) for end in link.ends)
    return replace(link, ends=(one, two))


def _opened(
    session: Session, *, whole: Mapping[str, Any], parts: Parts, agreed: Agreed, seed: int,
    later: Mapping[str, Sequence[Shape]],
) -> Any:  # fmt: skip
    """Have one machine build its part."""
    mine = parts.topologies[session.name].links
    shapes = {link: [shape_to_wire(each) for each in later[link]] for link in mine if link in later}
    return session.ask(
        "part.open", timeout=_OPEN_S + _OPEN_NODE_S * len(parts.whole.nodes), machine=session.name, topology=whole,
        owner=dict(parts.owner), seed=seed, later=shapes, kind=agreed.kind, base=agreed.base,
    )  # fmt: skip


