"""From what a source has to what a topology can have: no links to oneself, no idle nodes, no loops of switches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import networkx

from testbed.topology.exchange.sketch import Note, Sketch, SketchLink, SketchNode

_MANY = 8


def settled(sketch: Sketch) -> Sketch:
    """The sketch as a topology can be, its notes in the order of the source."""
    if sketch.is_own:
        return sketch
    notes = list(sketch.notes)
    links = [link for link in sketch.links if link.ends[0] != link.ends[1]]
    notes += [Note(link.line, f"The link from {link.ends[0]} to itself is left out.")
              for link in sketch.links if link.ends[0] == link.ends[1]]
    linked = {end for link in links for end in link.ends}
    nodes = [node for node in sketch.nodes if node.name in linked]
    notes += [Note(node.line, f"The node {node.name} is left out, since it has no link.")
              for node in sketch.nodes if node.name not in linked]
    nodes, more = _routed(nodes, links)
    notes += [*more, *_parallel(links), *_parts(nodes, links)]
    notes.sort(key=lambda each: each.line)
    return replace(sketch, nodes=nodes, links=links, notes=tuple(dict.fromkeys(notes)))


def _parallel(links: Sequence[SketchLink]) -> Iterator[Note]:
    seen: Counter[frozenset[str]] = Counter()
    for link in links:
        pair = frozenset(link.ends)
        seen[pair] += 1
        if seen[pair] > 1 and not link.name:
            a, b = link.ends
            yield Note(link.line, f"This is link {seen[pair]} between {a} and {b}; routes use one of them.")


def _parts(nodes: Sequence[SketchNode], links: Sequence[SketchLink]) -> Iterator[Note]:
    graph = networkx.Graph(link.ends for link in links)
    parts = sorted(networkx.connected_components(graph), key=len, reverse=True)
    lines = {node.name: node.line for node in nodes}
    for part in parts[1:]:
        first = min(part, key=lambda name: (lines[name], name))
        apart = f"nothing outside reaches {listed(sorted(part))}"
        yield Note(lines[first], f"The network is in {len(parts)} parts; {apart}.")


def _routed(nodes: Sequence[SketchNode], links: Sequence[SketchLink]) -> tuple[list[SketchNode], list[Note]]:
    """Switches that form a loop, or that a node is linked to twice, as routers: a LAN has no second way."""
    switches = {node.name for node in nodes if node.kind == "switch"}
    lans: networkx.Graph[str] = networkx.Graph()
    lans.add_nodes_from(switches)
    lans.add_edges_from(link.ends for link in links if switches.issuperset(link.ends))
    routed: set[str] = set()
    notes = []
    for lan in networkx.connected_components(lans):
        if _has_second_way(lan, links):
            routed |= lan
            what = f"The switches {listed(sorted(lan))} form" if len(lan) > 1 else f"The switch {min(lan)} forms"
            line = min(node.line for node in nodes if node.name in lan)
            notes.append(Note(line, f"{what} a loop; routers stand for them, since a LAN without a spanning tree has "
                                    "one way only."))
    return [replace(node, kind="router") if node.name in routed else node for node in nodes], notes


def _has_second_way(lan: set[str], links: Sequence[SketchLink]) -> bool:
    inside = sum(lan.issuperset(link.ends) for link in links)
    outside = Counter(end for link in links if len(lan.intersection(link.ends)) == 1
                      for end in link.ends if end not in lan)
    return inside >= len(lan) or any(count > 1 for count in outside.values())


def listed(names: Sequence[str]) -> str:
    """Names for a sentence: all of a few, the first of many."""
    rest = len(names) - _MANY
    return ", ".join(names[:_MANY]) + (f" and {rest} more" if rest > 0 else "")
