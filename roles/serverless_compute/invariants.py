"""What always holds of the service, whatever dies, returns, is cut off, or is delivered late or twice."""

from __future__ import annotations

from collections.abc import Iterator

from roles.serverless_compute.node import Node
from roles.serverless_compute.service import Service
from roles.serverless_compute.state import Stage
from testbed.roles.api import Invariant, Observed


def _open(seen: Observed) -> Iterator[Service]:
    """The heads that have opened."""
    for role in seen.agents.values():
        if isinstance(role, Service) and role.is_open:
            yield role


def _within_capacity(seen: Observed) -> Iterator[str]:
    for head in _open(seen):
        if head.core.head.free < 0:
            yield f"{head.site.node} has promised {-head.core.head.free:g} bytes more than it has"
        for node in head.core.cluster.nodes:
            for what, free in (("slots", node.free_slots), ("disk", node.free_disk), ("memory", node.free_ram)):
                if free < 0:
                    yield f"{head.site.node} has promised more {what} of {node.spec.name} than there is ({free:g})"


def _agreed(seen: Observed) -> Iterator[str]:
    """Every image that the head counts on is on the node's disk, where both speak of the same membership."""
    for head in _open(seen):
        for node in head.core.cluster.nodes:
            role, member = seen.agents.get((node.spec.name, "node")), head.members.known.get(node.spec.name)
            if not isinstance(role, Node) or member is None or not member.up or role.epoch != member.epoch:
                continue
            there = role.files.sizes()
            for name, entry in node.images.items():
                if entry.stage is not Stage.COPYING and name not in there and not role.is_behind(member.number):
                    yield f"{head.site.node} counts on {name}, which {node.spec.name} has not"


def _members_again(seen: Observed) -> Iterator[str]:
    if not seen.final:
        return
    for head in _open(seen):
        if len(head.site.places.get("head", ())) > 1:
            continue
        for name in head.core.cluster.by_name:
            member = head.members.known.get(name)
            if (name, "node") in seen.agents and (member is None or not member.up):
                yield f"{name} lives and is no member at {head.site.node}"


ALL = (
    Invariant("within-capacity", "No more slots, disk, memory or room at the head is given away than there is.",
              _within_capacity),
    Invariant("agreed", "What the head takes to be on a node's disk is there.", _agreed),
    Invariant("members-again", "After all faults are healed, every living node is a member.", _members_again),
)  # fmt: skip
