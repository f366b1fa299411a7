"""What a topology file means as a whole: everything that the models of its single entries cannot see.

``entries`` looks at each entry beside the names that exist, and works on a file that has other faults; ``whole`` looks
at the network, and is asked once its parts are sound.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from testbed.document import Finding, Place, nearest, show
from testbed.topology.address import given_subnets
from testbed.topology.draft import Draft, LinkDraft
from testbed.topology.family import MAX_NODES, RandomGeometric
from testbed.topology.generate import radius_needed
from testbed.topology.schema import LanEntry, LinkEntry, TopologyFile
from testbed.topology.segment import Segment

_LABEL = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?\Z")
_LINK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,126}\Z")
_RESERVED = frozenset({"localhost"})


def families(file: TopologyFile) -> Iterator[Finding]:
    """What forbids building the generators."""
    room = MAX_NODES - len(file.nodes)
    for index, family in enumerate(file.generate):
        place: Place = ("generate", index)
        room -= family.size
        if room < 0:
            yield Finding(place, f"{family.size} nodes", f"a network of at most {MAX_NODES} nodes")
        elif family.prefix and not _LABEL.match(family.prefix.lower() + "x"):
            yield Finding((*place, "prefix"), show(family.prefix), "small letters, digits and hyphens, a letter first")
        elif family.prefix != family.prefix.lower():
            yield Finding((*place, "prefix"), show(family.prefix), "small letters", f"Try {family.prefix.lower()}.")
        elif isinstance(family, RandomGeometric):
            yield from _unconnected(family, place)


def _unconnected(family: RandomGeometric, place: Place) -> Iterator[Finding]:
    needed = radius_needed(family)
    if needed is not None:
        found = f"{family.radius:g}, which leaves the routers of seed {family.seed} in several parts"
        yield Finding((*place, "radius"), found, "a radius that connects them", f"Try {needed:g}, or another seed.")


def names(draft: Draft) -> Iterator[Finding]:
    """What is wrong with the names of nodes and links."""
    yield from _node_names(draft)
    yield from _link_names(draft)


def entries(file: TopologyFile, draft: Draft, known: Sequence[str] | None) -> Iterator[Finding]:
    """What is wrong with single links and LANs; ``known`` are the nodes that exist, None if nobody can tell."""
    if known is not None and not known:
        yield Finding((), "no nodes", "a network with nodes or generate", "Add nodes: {h1: {}, h2: {}}.")
    switches = {node.name for node in draft.nodes if node.kind == "switch"}
    for index, link in enumerate(file.links):
        yield from _ends(link, ("links", index), known)
        yield from _addressed(link, ("links", index), link.ends, switches)
    for name, lan in file.lans.items():
        yield from _members(name, lan, known)
        yield from _addressed(lan, ("lans", name), lan.members, switches)
    yield from _shapes(draft)
    yield from _limits(draft)
    if file.addressing.ipv4 is None and file.addressing.ipv6 is None and not any(
        link.subnets or link.addresses for link in draft.links
    ):
        yield Finding(("addressing",), "no pool in either family", "a pool, or given addresses")


def _limits(draft: Draft) -> Iterator[Finding]:
    for node in draft.nodes:
        if node.kind == "switch" and node.limits.kinds:
            found = f"{' and '.join(node.limits.kinds)} for a switch, on which no programs run"
            yield Finding((*node.place, node.limits.kinds[0]), found, "limits of hosts and routers alone")


def _node_names(draft: Draft) -> Iterator[Finding]:
    seen: dict[str, Place] = {}
    for node in draft.nodes:
        if node.name in seen and seen[node.name] != node.place:
            hint = "Give the generator a prefix." if node.place[0] == "generate" else "Rename one of the two."
            yield Finding(node.place, f"a second node {node.name}", "each name once", hint)
        elif not _LABEL.match(node.name) or node.name in _RESERVED:
            wanted = "a name of small letters, digits and hyphens, a letter first, at most 63"
            yield Finding(node.place, f"the name {show(node.name)}", wanted, _better_name(node.name))
        seen.setdefault(node.name, node.place)


def _better_name(name: str) -> str:
    better = re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")
    better = f"n{better}" if better and not better[0].isalpha() else better
    return f"Try {better}." if _LABEL.match(better) and better not in _RESERVED else ""


def _link_names(draft: Draft) -> Iterator[Finding]:
    seen: set[str] = set()
    for link in draft.links:
        place = (*link.place, "name")
        if link.is_named and link.name in seen:
            yield Finding(place, f"a second link {show(link.name)}", "each name once", "Rename one of the two.")
        elif link.is_named and not _LINK_NAME.match(link.name):
            yield Finding(place, show(link.name), "letters, digits, '-', '_' and '.', at most 127")
        seen.add(link.name)


def _ends(link: LinkEntry, place: Place, known: Sequence[str] | None) -> Iterator[Finding]:
    for name in dict.fromkeys(link.ends):
        if known is not None and name not in known:
            yield _unknown(name, place, known)
    if link.ends[0] == link.ends[1]:
        yield Finding(place, f"a link from {link.ends[0]} to itself", "two different nodes")


def _unknown(name: str, place: Place, known: Sequence[str]) -> Finding:
    listed = f"one of {', '.join(known[:8])}{', ...' if len(known) > 8 else ''}" if known else "a node of this file"
    return Finding(place, f"the unknown node {show(name)}", listed, nearest(name, known))


def _members(name: str, lan: LanEntry, known: Sequence[str] | None) -> Iterator[Finding]:
    for index, member in enumerate(lan.members):
        place = ("lans", name, "members", index)
        if member in lan.members[:index]:
            yield Finding(place, f"{member} a second time", "each member once")
        elif member == name:
            yield Finding(place, f"the LAN {name} as a member of itself", "other nodes")
        elif known is not None and member not in known:
            yield _unknown(member, place, known)


def _addressed(
    entry: LinkEntry | LanEntry, place: Place, nodes: Sequence[str], switches: set[str]
) -> Iterator[Finding]:
    versions: set[int] = set()
    for index, subnet in enumerate(entry.subnets):
        if subnet.version in versions:
            yield Finding((*place, "subnets", index), f"a second IPv{subnet.version} subnet", "one for each family")
        versions.add(subnet.version)
    for node, addresses in entry.addresses.items():
        at = (*place, "addresses", node)
        if node not in nodes:
            found = f"{show(node)}, which is not on this link"
            yield Finding(at, found, f"one of {', '.join(nodes)}", nearest(node, nodes))
        elif node in switches:
            yield Finding(at, f"an address for the switch {node}", "addresses of hosts and routers only")
        elif len(addresses) > len({address.version for address in addresses}):
            yield Finding(at, show(list(addresses)), "at most one address for each family")


def _shapes(draft: Draft) -> Iterator[Finding]:
    for link in draft.links:
        ways = [f" from {start} to {goal}" for start, goal in (link.ends, link.ends[::-1])]
        forward, backward = link.shapes
        for shape, way in [(forward, "")] if forward == backward else zip(link.shapes, ways, strict=True):
            if shape.jitter > shape.delay:
                found = f"more jitter than delay{way}"
                yield Finding(link.place, found, "at most as much, since no packet arrives before it is sent")
            if shape.reorder and not shape.delay:
                found = f"reordering without delay{way}"
                yield Finding(link.place, found, "a delay, which is what reordered packets skip")


def sound(draft: Draft) -> Draft:
    """The draft without links that have an unknown end or join a node to itself."""
    known = {node.name for node in draft.nodes}
    links = (link for link in draft.links if known.issuperset(link.ends) and link.ends[0] != link.ends[1])
    return Draft(draft.nodes, tuple(links))


def whole(draft: Draft, segments: Sequence[Segment], loops: Sequence[LinkDraft]) -> Iterator[Finding]:
    """What is wrong with the network, once its parts are sound."""
    linked = {end for link in draft.links for end in link.ends}
    for node in draft.nodes:
        if node.name not in linked:
            yield Finding(node.place, f"{node.name} without a link", "at least one link to each node")
    for loop in loops:
        found = f"a loop of switches, closed by the link {loop.name}"
        hint = "Drop the link, or make one of the switches a router."
        yield Finding(loop.place, found, "switches without loops", hint)
    for segment in segments:
        yield from _segment(segment)
    yield from _overlaps(segments)


def _segment(segment: Segment) -> Iterator[Finding]:
    first = segment.links[0]
    for link in segment.links[1:]:
        if link.mtu != first.mtu:
            expected = f"{first.mtu}, as on {first.name}, to which switches join it"
            yield Finding(link.place, f"an MTU of {link.mtu} on {link.name}", expected)
    nodes: dict[str, Place] = {}
    for node, link in segment.members:
        if node in nodes and not (link.place[0] == "lans" and nodes[node] == link.place[:2]):  # a member named twice
            yield Finding(link.place, f"a second link of {node} to the same LAN", "one link of a node to a LAN")
        nodes[node] = link.place[:2]
    for version in (4, 6):
        yield from _given(segment, version)
    if first.mtu < 1280 and any(given_subnets(segment, 6)):
        yield Finding(first.place, f"an MTU of {first.mtu} with IPv6", "an MTU of at least 1280")


def _given(segment: Segment, version: int) -> Iterator[Finding]:
    found = list(given_subnets(segment, version))
    if not found:
        return
    subnet, where = found[0]
    for other, place in found[1:]:
        if other != subnet:
            yield Finding(place, f"the subnet {other}", f"{subnet}, which another entry gives this LAN")
    usable = subnet.num_addresses - (2 if version == 4 else 1)
    if usable < len(segment.members):
        yield Finding(where, f"the subnet {subnet}", f"room for {len(segment.members)} addresses")
    yield from _given_addresses(segment, version)


def _given_addresses(segment: Segment, version: int) -> Iterator[Finding]:
    owners: dict[object, str] = {}
    for node, link in segment.members:
        for index, address in enumerate(link.addresses.get(node, ())):
            if address.version != version:
                continue
            place = (*link.place[:2], "addresses", node, index)
            edges = {address.network.network_address} | ({address.network.broadcast_address} if version == 4 else set())
            ip = address.ip
            if ip in edges or ip.is_multicast or ip.is_loopback or ip.is_unspecified or ip.is_link_local:
                yield Finding(place, str(address), "an address that a host can have in its subnet")
            if ip in owners:
                yield Finding(place, f"{ip}, which {owners[ip]} has", "each address once")
            owners[ip] = node


def _overlaps(segments: Sequence[Segment]) -> Iterator[Finding]:
    for version in (4, 6):
        given = [(subnet, place, number) for number, segment in enumerate(segments)
                 for subnet, place in given_subnets(segment, version)]
        given.sort(key=lambda each: (int(each[0].network_address), each[0].prefixlen))
        widest = None
        for subnet, place, number in given:
            if widest and number != widest[1] and int(subnet.network_address) <= int(widest[0].broadcast_address):
                yield Finding(place, f"the subnet {subnet}", f"one that does not overlap with {widest[0]} elsewhere")
            if widest is None or int(subnet.broadcast_address) > int(widest[0].broadcast_address):
                widest = (subnet, number)
