"""Segments: the parts of a network between hosts and routers, which share a subnet.

A segment is a single link, or all links that switches join. Switches must join links without loops: a Linux bridge
without a spanning tree protocol would send a frame round a loop for ever, and one with it would silently take links
out of use.
"""

from __future__ import annotations

from dataclasses import dataclass

from testbed.topology.draft import Draft, LinkDraft


@dataclass(frozen=True, slots=True)
class Segment:
    """The links of one subnet and the ends on hosts and routers, as (node, link), in the order of the file."""

    links: tuple[LinkDraft, ...]
    members: tuple[tuple[str, LinkDraft], ...]


def segments(draft: Draft) -> tuple[list[Segment], list[LinkDraft]]:
    """The segments in the order of their first links, and the links that close a loop of switches."""
    switches = {node.name for node in draft.nodes if node.kind == "switch"}
    leader = {name: name for name in switches}
    loops = []
    for link in draft.links:
        if link.ends[0] in switches and link.ends[1] in switches:
            a, b = (_root(leader, end) for end in link.ends)
            if a == b:
                loops.append(link)
            leader[a] = b
    groups: dict[str, list[LinkDraft]] = {}
    for link in draft.links:
        switch = next((end for end in link.ends if end in switches), None)
        group = f"switch {_root(leader, switch)}" if switch is not None else f"link {link.name}"
        groups.setdefault(group, []).append(link)
    return [_segment(links, switches) for links in groups.values()], loops


def _segment(links: list[LinkDraft], switches: set[str]) -> Segment:
    return Segment(tuple(links), tuple((end, link) for link in links for end in link.ends if end not in switches))


def _root(leader: dict[str, str], name: str) -> str:
    while leader[name] != name:
        leader[name] = leader[leader[name]]
        name = leader[name]
    return name
