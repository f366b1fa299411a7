"""What always holds of the service, whatever dies, returns, is cut off, or is delivered late or twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, pairwise

from roles.serverless_compute import books
from roles.serverless_compute.announcing import FEWEST_S
from roles.serverless_compute.model import FINAL, State
from roles.serverless_compute.node import Node
from roles.serverless_compute.options import HeadOptions, located
from roles.serverless_compute.service import PATIENCE_S, Service
from testbed.roles.api import Invariant, Observed

LOOKS = 4  # of a head at who has fallen silent, within the time after which it counts as lost
SLACK_S = 1.0  # for messages on their way
RECENT = 50  # ends of invocations that are looked at again and again; all of them in the last look


@dataclass(frozen=True)
class _Realm:
    """A living head, and the living nodes that work for it."""

    head: Service
    nodes: tuple[Node, ...]

    @property
    def within_s(self) -> float:
        """Until nodes are members again, and those that are gone are not."""
        beats = [max(FEWEST_S, 2 * each.options.heartbeat) + each.options.heartbeat for each in self.nodes]
        return max(beats, default=0.0) + self.head.options.expire_after * (1 + 1 / LOOKS) + SLACK_S


def _realms(seen: Observed) -> Iterator[_Realm]:
    for role in seen.agents.values():
        if isinstance(role, Service):
            endpoint = role.site.endpoint(role.site.node, role.options.port)
            nodes = [each for each in seen.agents.values() if isinstance(each, Node)]
            own = [each for each in nodes if _head_of(each) == endpoint]
            yield _Realm(role, tuple(own))


def _head_of(node: Node) -> str | None:
    return located(node.site, "head", node.options.head, HeadOptions().port)


def _open(seen: Observed) -> Iterator[Service]:
    """The heads that have opened."""
    for role in seen.agents.values():
        if isinstance(role, Service) and role.is_open:
            yield role


def _settled(seen: Observed) -> Iterator[Service]:
    """The heads that have opened and have dealt with all that they have heard."""
    return (head for head in _open(seen) if head.is_settled)


# ---- at any moment


def _within_capacity(seen: Observed) -> Iterator[str]:
    for head in _open(seen):
        core, name = head.core, head.site.node
        if core.head.free < 0:
            yield f"{name} has promised {-core.head.free:g} bytes more than it has"
        for node in core.cluster.nodes:
            for what, free in (("slots", node.free_slots), ("disk", node.free_disk), ("memory", node.free_ram)):
                if free < 0:
                    yield f"{name} has promised more {what} of {node.spec.name} than there is ({free:g})"


def _nodes_within_capacity(seen: Observed) -> Iterator[str]:
    for role in seen.agents.values():
        if isinstance(role, Node):
            stored, room = sum(role.files.sizes().values()), role.options.disk
            if room is not None and stored > room:
                yield f"{role.site.node} has {stored} bytes on a disk of {room}"
            if len(role.began) > role.slots:
                yield f"{role.site.node} runs {len(role.began)} calls in {role.slots} slots"


def _balanced(seen: Observed) -> Iterator[str]:
    for head in _open(seen):
        for sentence in books.wrong(head.core):
            yield f"in the books of {head.site.node}, {sentence}"


def _ends_once(seen: Observed) -> Iterator[str]:
    for head in _settled(seen):
        calls, answers = head.core.calls, head.answers
        if head.options.max_queue is None and answers.count + len(calls) != head.core.accepted:
            yield (f"{head.site.node} has accepted {head.core.accepted} calls; {answers.count} have ended and "
                   f"{len(calls)} have not")  # fmt: skip
        for number in calls.keys() & answers.ends.keys():
            yield f"call {number} has ended, and {head.site.node} takes it to be {calls[number].state}"
        for number in answers.awaited.keys() - calls.keys():
            yield f"somebody at {head.site.node} waits for call {number}, which is not under way"


def _moments(seen: Observed) -> Iterator[str]:
    for head in _open(seen):
        ends = head.answers.ends
        for number, end in ends.items() if seen.final else islice(reversed(ends.items()), RECENT):
            moments = (end.t_submit, end.t_admit, end.t_schedulable, end.t_dispatch, end.t_start, end.t_end)
            reached = [each for each in moments if each is not None]
            if State(end.state) not in FINAL or any(later < earlier for earlier, later in pairwise(reached)):
                yield f"call {number} ended {end.state} with the moments {reached}"


def _transfers(seen: Observed) -> Iterator[str]:
    for head in _settled(seen):
        fetching = Counter(head.errands.fetching)
        for image, times in fetching.items():
            if times > 1:
                yield f"{head.site.node} downloads {image} {times} times at once"
        for image, entry in head.core.head.images.items():
            if not entry.present and image not in fetching:
                yield f"{head.site.node} waits for a download of {image} that nobody makes"
        for number, (node, each) in head.core.cluster.transfers.items():
            if number not in head.errands.moving:
                yield f"{head.site.node} waits for {each.image.name} at {node.spec.name}, which nobody moves"
    for role in seen.agents.values():
        if isinstance(role, Node):
            for image, times in Counter(role.copying).items():
                if times > 1:
                    yield f"{role.site.node} copies {image} {times} times at once"


def _running(seen: Observed) -> Iterator[str]:
    for head in _settled(seen):
        for number, call in head.core.calls.items():
            if call.container is not None and number not in head.errands.running:
                yield f"{head.site.node} waits for the end of call {number} on {call.ran_on}, which was not ordered"


def _agreed(seen: Observed) -> Iterator[str]:
    """Where head and node speak of the same membership, and the node has done all that was ordered."""
    for head in _settled(seen):
        for node in head.core.cluster.nodes:
            role, member = seen.agents.get((node.spec.name, "node")), head.members.known.get(node.spec.name)
            if not isinstance(role, Node) or member is None or not member.up or role.epoch != member.epoch:
                continue
            if member.room or role.is_behind(member.number):
                continue
            for sentence in books.different(node, role):
                yield f"{head.site.node} counts on {node.spec.name} and is mistaken: {sentence}"


def _idle_ones_end(seen: Observed) -> Iterator[str]:
    for head in _settled(seen):
        limit = head.core.config.idle_timeout_s
        for each in head.core.cluster.containers.values():
            if each.call is None and seen.now - each.idle_since > limit + SLACK_S:
                yield f"container {each.id} on {each.node.spec.name} is idle for more than {limit:g} s"


def _nobody_is_forgotten(seen: Observed) -> Iterator[str]:
    for head in _settled(seen):
        for sentence in books.forgotten(head.core, str(head.options.scheduler)):
            yield f"at {head.site.node} {sentence}"


# ---- within a time


def _members(seen: Observed) -> Iterator[str]:
    for realm in _realms(seen):
        head, peace = realm.head, seen.now - seen.since
        if not all(each.options.heartbeat < head.options.expire_after for each in realm.nodes):
            continue
        late = f"{peace:.2f} s after the last change; {realm.within_s:g} s are allowed"
        if not head.is_open:
            if realm.nodes and peace > PATIENCE_S + realm.within_s:
                yield f"{head.site.node} has not opened, {late} after {PATIENCE_S:g} s"
        elif peace > realm.within_s:
            yield from (f"{sentence}, {late}" for sentence in _strangers(realm))
            yield from (f"{sentence}, {late}" for sentence in _ghosts(realm))


def _strangers(realm: _Realm) -> Iterator[str]:
    """Living nodes that are not members; those that a head may refuse are left out."""
    head = realm.head
    for node in realm.nodes:
        name = node.site.node
        known = head.core.cluster.by_name.get(name)
        if known is not None and not books.same_size(known.spec, node):
            continue
        member = head.members.known.get(name)
        if known is None or member is None or not member.up or not known.up or node.epoch != member.epoch:
            yield f"{name} lives and is no member at {head.site.node}"


def _ghosts(realm: _Realm) -> Iterator[str]:
    alive = {each.site.node for each in realm.nodes}
    for node in realm.head.core.cluster.nodes:
        if node.up and node.spec.name not in alive:
            busy = sum(each.call is not None for each in node.containers.values())
            yield f"{node.spec.name} is dead and a member at {realm.head.site.node}, with {busy} calls"


_WITHIN = (
    f"the longer of {FEWEST_S:g} s and 2 heartbeats + heartbeat + {1 + 1 / LOOKS:g} x expire_after + {SLACK_S:g} s "
    "after the last change or disturbance"
)

ALL = (
    Invariant(
        "within capacity",
        "No more slots, disk, memory or room at the head is given away than there is, at any moment.",
        _within_capacity,
    ),
    Invariant(
        "nodes within capacity",
        "No node runs more calls than it has slots or has more images than its disk has room for, at any moment.",
        _nodes_within_capacity,
    ),
    Invariant(
        "books balance",
        "What is free is what there is without the images and containers that are there or on their way, at any "
        "moment: a service at rest has given away nothing else. Nothing is counted on a node that is lost.",
        _balanced,
    ),
    Invariant(
        "calls end once",
        "Each accepted call ends exactly once, in a state that is final, and nobody waits for one that has ended.",
        _ends_once,
    ),
    Invariant(
        "moments in order",
        "A call is submitted, admitted, schedulable, dispatched, started and ended in this order.",
        _moments,
    ),
    Invariant(
        "transfers are made once",
        "Each image that is awaited is on its way, and never twice at a time to the head or to a node.",
        _transfers,
    ),
    Invariant(
        "calls run",
        "Each call that holds a slot has been ordered of a member, whose answer or loss will end it.",
        _running,
    ),
    Invariant(
        "head and nodes agree",
        "A node that has done all that was ordered has the images and containers that its head counts on, and no "
        "others.",
        _agreed,
    ),
    Invariant(
        "idle containers end",
        f"No container is idle for longer than idle_timeout + {SLACK_S:g} s.",
        _idle_ones_end,
    ),
    Invariant(
        "nobody is forgotten",
        "No call waits for room at the head that could be made, nor while a node that could take it has a free slot "
        "that nobody claims, nor at a node that does nothing (fcfs, random), nor while no node does anything "
        "(balancing).",
        _nobody_is_forgotten,
    ),
    Invariant(
        "members are known",
        f"A head is open within {PATIENCE_S:g} s more, its living nodes are its members, and nobody else is: within "
        f"{_WITHIN}.",
        _members,
    ),
)
