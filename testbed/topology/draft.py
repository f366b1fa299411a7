"""The network between file and model: all nodes and links spelt out, with defaults applied, without addresses yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network
from typing import Any

from testbed.document import Place
from testbed.topology.limits import UNLIMITED, Limits, given, merged
from testbed.topology.model import Kind
from testbed.topology.schema import LanEntry, LinkEntry, TopologyFile
from testbed.topology.shape import LinkShape, Shape

_SHAPE_KEYS = frozenset(Shape.model_fields)


@dataclass(frozen=True, slots=True)
class NodeDraft:
    """A node of the file, or one that a generator or a LAN makes; ``place`` is where the file asks for it."""

    name: str
    kind: Kind
    tags: tuple[str, ...]
    place: Place
    limits: Limits = UNLIMITED


@dataclass(frozen=True, slots=True)
class LinkDraft:
    """A link with both shapes; ``shapes[0]`` acts from ``ends[0]`` to ``ends[1]``."""

    name: str
    ends: tuple[str, str]
    shapes: tuple[Shape, Shape]
    mtu: int
    place: Place
    subnets: tuple[IPv4Network | IPv6Network, ...] = ()
    addresses: Mapping[str, tuple[IPv4Interface | IPv6Interface, ...]] = field(default_factory=dict)
    is_named: bool = False

    def beyond(self, node: str) -> str:
        """The node at the other end."""
        return self.ends[1] if self.ends[0] == node else self.ends[0]


@dataclass(frozen=True, slots=True)
class Draft:
    """All nodes and links, in the order of the file: nodes, LANs, generated ones."""

    nodes: tuple[NodeDraft, ...]
    links: tuple[LinkDraft, ...]


@dataclass(frozen=True, slots=True)
class Wish:
    """A link that is asked for, before defaults and a name."""

    ends: tuple[str, str]
    entry: LinkShape
    place: Place
    backward: Shape | None = None
    forward: Shape | None = None
    name: str | None = None


def draft(file: TopologyFile, generated: tuple[Iterable[NodeDraft], Iterable[Wish]]) -> Draft:
    """Spell out ``file`` together with what its generators made."""
    default = file.defaults.node
    nodes = [
        NodeDraft(name, entry.kind if "kind" in entry.model_fields_set else default.kind,
                  entry.tags if "tags" in entry.model_fields_set else default.tags, ("nodes", name), entry)
        for name, entry in file.nodes.items()
    ]
    nodes += [NodeDraft(name, "switch", (), ("lans", name)) for name in file.lans]
    wishes = [Wish(link.ends, link, ("links", index), link.backward, link.forward, link.name)
              for index, link in enumerate(file.links)]
    wishes += [wish for name, lan in file.lans.items() for wish in _spokes(name, lan)]
    usual = given(default)
    limited = [_limited(node, usual) for node in (*nodes, *generated[0])]
    return Draft(tuple(limited), tuple(_named([*wishes, *generated[1]], file.defaults.link)))


def _limited(node: NodeDraft, default: Mapping[str, Any]) -> NodeDraft:
    """The node with the limits that hold for it: a switch has those alone that its own entry names."""
    return replace(node, limits=merged({} if node.kind == "switch" else default, node.limits))


def _spokes(name: str, lan: LanEntry) -> Iterator[Wish]:
    for index, member in enumerate(lan.members):
        yield Wish((member, name), lan, ("lans", name, "members", index))


def _named(wishes: list[Wish], default: LinkShape) -> Iterator[LinkDraft]:
    taken = {wish.name for wish in wishes if wish.name is not None}
    shapes = _Shapes(default)
    for wish in wishes:
        name = wish.name if wish.name is not None else _free("-".join(wish.ends), taken)
        taken.add(name)
        yield shapes.link(name, wish)


def _free(wanted: str, taken: set[str]) -> str:
    name, number = wanted, 2
    while name in taken:
        name, number = f"{wanted}-{number}", number + 1
    return name


class _Shapes:
    """Merges defaults, link and direction; what was merged once is shared."""

    def __init__(self, default: LinkShape) -> None:
        self._default = default
        self._made: dict[tuple[tuple[str, Any], ...], Shape] = {}

    def link(self, name: str, wish: Wish) -> LinkDraft:
        entry = wish.entry
        both = _given(self._default) | _given(entry)
        mtu = entry.mtu if "mtu" in entry.model_fields_set else self._default.mtu
        lan = entry if isinstance(entry, (LinkEntry, LanEntry)) else None
        addresses = lan.addresses if lan else {}
        if isinstance(entry, LanEntry):  # the addresses of a LAN are shared out to the links of its members
            addresses = {wish.ends[0]: addresses[wish.ends[0]]} if wish.ends[0] in addresses else {}
        forward, backward = self._shape(both | _given(wish.forward)), self._shape(both | _given(wish.backward))
        return LinkDraft(name, wish.ends, (forward, backward), mtu, wish.place, lan.subnets if lan else (),
                         addresses, wish.name is not None)

    def _shape(self, values: dict[str, Any]) -> Shape:
        key = tuple(sorted(values.items()))
        if key not in self._made:
            self._made[key] = Shape.model_construct(**values)
        return self._made[key]


def _given(shape: Shape | None) -> dict[str, Any]:
    """The keys that the file names, with their values."""
    return {key: getattr(shape, key) for key in shape.model_fields_set & _SHAPE_KEYS} if shape else {}
