"""One topology, several machines: whose node is whose, which links that cuts, and each machine's part as a topology.

In a part, a cut link keeps its name and its near end; in the place of the far node is a **stub**, a switch with this
one port, to which a trunk (see ``trunk.py``) brings what the other machine sends. So a part is built, shaped and
counted by the same code as any network: what leaves the near end is shaped where it is sent, what arrives is not.

    machine one    h1 ──link── ~link ══ trunk ══ ~link ──link── r1    machine two
"""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from testbed.errors import UsageError
from testbed.topology.model import End, Interface, Link, Node, Topology
from testbed.topology.shape import Shape

PLAIN = Shape.model_validate({})
Owner = Mapping[str, str]  # node -> the machine that has it


@dataclass(frozen=True, slots=True)
class Cut:
    """A link between two machines: ``nodes`` and ``machines`` in the order of its ends, ``number`` from 1 on."""

    link: str
    number: int
    nodes: tuple[str, str]
    machines: tuple[str, str]
    mtu: int


@dataclass(frozen=True)
class Parts:
    """A split topology: ``owner`` of each node, one topology a machine, and the links between machines."""

    whole: Topology
    owner: Owner
    topologies: Mapping[str, Topology]
    cuts: Mapping[str, Cut]

    def machines_of(self, link: str) -> tuple[str, ...]:
        """The machines that have an end of this link: one, or two for a cut link."""
        return tuple(dict.fromkeys(self.owner[end.node] for end in self.whole.links[link].ends))

    def cuts_of(self, machine: str) -> tuple[Cut, ...]:
        """The cut links that end on this machine."""
        return tuple(cut for cut in self.cuts.values() if machine in cut.machines)


def stub(link: str) -> str:
    """The name of the switch that stands for the far node of a cut link; no node of a file can have such a name."""
    return f"~{link}"


def assign(topology: Topology, wanted: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The owner of each node. ``wanted``: for each machine, names, patterns (``edge*``) or ``tag:leaf`` of its nodes.

    A plain name goes before a pattern. Nodes that nobody names go where most of their neighbours are. Raises UsageError
    for names that mean nothing and for nodes that two machines name alike.
    """
    named: dict[str, str] = {}
    for is_exact in (True, False):
        claims = _claims(topology, wanted, is_exact)
        for node, machines in claims.items():
            if len(machines) > 1 and node not in named:
                raise UsageError(f"The node {node} is given to both {' and '.join(machines)}: name it at one of them.")
        named = {**{node: machines[0] for node, machines in claims.items()}, **named}
    return _joined(topology, named, list(wanted))


def _claims(topology: Topology, wanted: Mapping[str, Sequence[str]], is_exact: bool) -> dict[str, list[str]]:
    claims: dict[str, list[str]] = {}
    for machine, patterns in wanted.items():
        for pattern in patterns:
            if (pattern in topology.nodes) == is_exact:
                for node in _meant(topology, pattern, machine):
                    if machine not in claims.setdefault(node, []):
                        claims[node].append(machine)
    return claims


def _meant(topology: Topology, pattern: str, machine: str) -> list[str]:
    if pattern.startswith("tag:"):
        found = [node.name for node in topology.nodes.values() if pattern[4:] in node.tags]
    else:
        found = [name for name in topology.nodes if name == pattern or fnmatch.fnmatchcase(name, pattern)]
    if not found:
        raise UsageError(f"The part of {machine} names {pattern!r}, which no node of {topology.name} has.")
    return found


def _joined(topology: Topology, named: Mapping[str, str], machines: Sequence[str]) -> dict[str, str]:
    """``named``, with all other nodes added, those with most named neighbours first."""
    owner = dict(named)
    open_nodes = [name for name in topology.nodes if name not in owner]
    while open_nodes:
        votes = {name: Counter(_neighbours_owners(topology, name, owner)) for name in open_nodes}
        best = max(open_nodes, key=lambda name: votes[name].total())  # the first of equals, in the file's order
        counted = votes[best]
        fewest = Counter(owner.values())
        owner[best] = max(machines, key=lambda each: (counted[each], -fewest[each]))
        open_nodes.remove(best)
    return owner


def _neighbours_owners(topology: Topology, name: str, owner: Owner) -> Iterator[str]:
    for link, _ in topology.interfaces[name]:
        beyond = link.beyond(name).node
        if beyond in owner:
            yield owner[beyond]


def split(topology: Topology, owner: Owner, machines: Sequence[str]) -> Parts:
    """The parts of a topology; a machine without a node has an empty one."""
    cuts: dict[str, Cut] = {}
    for link in topology.links.values():
        one, two = link.ends
        if owner[one.node] != owner[two.node]:
            both = (owner[one.node], owner[two.node])
            cuts[link.name] = Cut(link.name, len(cuts) + 1, (one.node, two.node), both, link.mtu)
    return Parts(topology, owner, {each: _part(topology, owner, each) for each in machines}, cuts)


def _part(topology: Topology, owner: Owner, machine: str) -> Topology:
    nodes = {name: node for name, node in topology.nodes.items() if owner[name] == machine}
    links: dict[str, Link] = {}
    for link in topology.links.values():
        near = [owner[end.node] == machine for end in link.ends]
        if all(near):
            links[link.name] = link
        elif any(near):
            one, two = (end if is_near else _stub_end(link, end) for end, is_near in zip(link.ends, near, strict=True))
            links[link.name] = Link(link.name, (one, two), link.mtu)
            nodes[stub(link.name)] = Node(stub(link.name), "switch", (), ())
    return replace(topology, nodes=nodes, links=links)


def _stub_end(link: Link, far: Interface) -> Interface:
    """The port of the stub. It never speaks for itself: its hardware address is the far end's with one bit changed."""
    first, rest = far.mac.split(":", 1)
    return Interface(stub(link.name), "trunk", f"{int(first, 16) ^ 0x80 | 0x02:02x}:{rest}", None, None, PLAIN)


def near_ends(part: Topology) -> Iterator[End]:
    """The ends of a part's links that are ends of the whole topology's: all but the stubs'."""
    for link in part.links.values():
        for end in link.ends:
            if end.node != stub(link.name):
                yield End(link.name, end.node)


def relieved(shape: Shape, taken_s: float) -> Shape:
    """``shape`` with a delay that is smaller by what the way between the machines takes already, at least 0."""
    return shape.model_copy(update={"delay": max(0.0, shape.delay - taken_s)}) if shape.delay else shape
