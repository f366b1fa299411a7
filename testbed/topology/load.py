"""From YAML to a :class:`Topology`: read, check, spell out, address, route."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path

from testbed.document import Document, Finding, Place, dotted, in_order, parse_document, read
from testbed.errors import InputError, Problem
from testbed.topology import check
from testbed.topology.address import Plan, PoolIsEmpty, interface_names, macs, plan
from testbed.topology.draft import Draft, draft
from testbed.topology.exchange import formats
from testbed.topology.exchange.sketch import Sketch
from testbed.topology.generate import generate
from testbed.topology.model import End, Interface, Link, Node, Topology
from testbed.topology.route import Router
from testbed.topology.schema import Addressing, TopologyFile
from testbed.topology.segment import Segment, segments


def load(path: Path) -> Topology:
    """The topology that the file ``path`` describes; raises InputError with every problem of the file.

    Files of other programs are told by their ending; what they have and the topology does not is in its ``notes``.
    """
    if formats.is_foreign(path):
        return from_sketch(formats.read(path))
    return from_document(read(path))


def from_sketch(sketch: Sketch) -> Topology:
    """The topology of another program's network; raises InputError."""
    return replace(from_document(sketch.document()), notes=sketch.told)


def parse(text: str, name: str) -> Topology:
    """The topology that ``text`` describes; ``name`` stands for the file in messages."""
    return from_document(parse_document(text, name))


def from_document(document: Document, prefix: Place = ()) -> Topology:
    """The topology below ``prefix`` of a document, for files that hold one inside; raises InputError."""
    file, rest, problems = document.attempt(TopologyFile, prefix)
    if file is None:
        raise InputError(problems)
    found = list(check.families(file))
    spelt = draft(file, generate(() if found else file.generate))
    misnamed = list(check.names(spelt))
    found += misnamed
    found += check.entries(file, spelt, _known(spelt, document, prefix, [*problems, *document.tell(found, prefix)]))
    if not problems and not misnamed:
        found += _of_whole(spelt, is_complete=not found)
    if problems or found:
        raise InputError(in_order([*problems, *rest.tell(found, prefix)]))
    return _finish(file, spelt, document, prefix)


def _known(spelt: Draft, document: Document, prefix: Place, problems: Sequence[Problem]) -> list[str] | None:
    """The names of all nodes, also of those with faults; None if faults leave open which there are."""
    whole, made = {dotted((*prefix, key)) for key in ("nodes", "lans")}, dotted((*prefix, "generate"))
    if any(each.path in whole or each.path.startswith(made) for each in problems):
        return None
    known = dict.fromkeys(node.name for node in spelt.nodes)
    match document.at(prefix):
        case dict(data):
            return list(known | dict.fromkeys([*(data.get("nodes") or ()), *(data.get("lans") or ())]))
    return list(known)


def _of_whole(spelt: Draft, is_complete: bool) -> Iterator[Finding]:
    sound = spelt if is_complete else check.sound(spelt)
    for finding in check.whole(sound, *segments(sound)):
        if is_complete or "without a link" not in finding.found:
            yield finding


def _finish(file: TopologyFile, spelt: Draft, document: Document, prefix: Place) -> Topology:
    parts, _ = segments(spelt)
    plans, problems = _plans(file.addressing, parts)
    if problems:
        raise InputError(document.tell(problems, prefix))
    router = Router(spelt, parts, plans, file.routing.metric)
    interfaces = _interfaces(spelt, plans)
    nodes = {}
    for node in spelt.nodes:
        is_routed = node.kind != "switch" and file.routing.protocol != "none"
        routes = router.routes(node.name, interfaces) if is_routed else ()
        nodes[node.name] = Node(node.name, node.kind, node.tags, routes, node.limits)
    links = {
        link.name: Link(link.name, (interfaces[End(link.name, link.ends[0])], interfaces[End(link.name, link.ends[1])]),
                        link.mtu)
        for link in spelt.links
    }
    return Topology(file.name or Path(document.file).stem, nodes, links, document.file, file.routing)


def _plans(addressing: Addressing, parts: Sequence[Segment]) -> tuple[list[Plan], list[Finding]]:
    plans, problems = [], []
    for version, pool in ((4, addressing.ipv4), (6, addressing.ipv6)):
        try:
            plans.append(plan(parts, pool, version))
        except PoolIsEmpty:
            found = f"{pool}, which is too small"
            problems.append(Finding(("addressing", f"ipv{version}"), found, f"room for {len(parts)} subnets"))
    return plans, problems


def _interfaces(spelt: Draft, plans: Sequence[Plan]) -> Mapping[End, Interface]:
    names = interface_names(spelt)
    hardware = macs(names)
    made = {}
    for link in spelt.links:
        for node, shape in zip(link.ends, link.shapes, strict=True):
            end = End(link.name, node)
            ipv4, ipv6 = (each.addresses.get(end) for each in plans)
            assert ipv4 is None or isinstance(ipv4, IPv4Interface)
            assert ipv6 is None or isinstance(ipv6, IPv6Interface)
            made[end] = Interface(node, names[end], hardware[end], ipv4, ipv6, shape)
    return made
