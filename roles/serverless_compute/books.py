"""Whether a head's books are right: within themselves, and beside the nodes' own."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from roles.serverless_compute.core import Core
from roles.serverless_compute.head import Head
from roles.serverless_compute.model import NodeSpec, State
from roles.serverless_compute.node import Node as NodeRole
from roles.serverless_compute.state import Call, Node, Stage


def wrong(core: Core) -> Iterator[str]:
    """What does not add up, a sentence for each."""
    yield from _wrong_at_head(core)
    for node in core.cluster.nodes:
        yield from _wrong_at(node) if node.up else _left_at(node)
    busy = sum(each.call is not None for each in core.cluster.containers.values())
    if busy != core.cluster.busy:
        yield f"{core.cluster.busy} containers are busy; there are {busy}"


def _wrong_at_head(core: Core) -> Iterator[str]:
    taken = sum(each.image.size_bytes for each in core.head.images.values())
    if core.head.free != core.config.head_bytes - taken:
        yield f"{core.head.free:g} bytes are free at the head, of {core.config.head_bytes:g} without {taken}"
    pins = Counter(call.registration.function.image.name for call in core.calls.values()
                   if call.state in (State.ADMITTED, State.SCHEDULABLE))  # fmt: skip
    pins.update(each.image.name for _, each in core.cluster.transfers.values() if each.stage is Stage.COPYING)
    for name, entry in core.head.images.items():
        if entry.pins != pins.pop(name, 0):
            yield f"the image {name} has {entry.pins} pins at the head"
    for name in pins:
        yield f"the image {name} is needed and not at the head"


def _wrong_at(node: Node) -> Iterator[str]:
    spec, images, containers = node.spec, node.images.values(), node.containers.values()
    functions = [each.registration.function for each in containers]
    disk = sum(each.image.size_bytes for each in images) + sum(each.storage_bytes for each in functions)
    ram = sum(each.image.ram_bytes for each in images if each.stage in (Stage.LOADING, Stage.IN_RAM))
    ram += sum(each.memory_bytes for each in functions)
    busy = sum(each.call is not None for each in containers)
    for what, free, there, taken in (("slots", node.free_slots, spec.slots, busy),
                                     ("bytes on disk", node.free_disk, spec.disk_bytes, disk),
                                     ("bytes of memory", node.free_ram, spec.memory_bytes, ram)):  # fmt: skip
        if free != there - taken:
            yield f"{free:g} {what} are free on {spec.name}, of {there:g} without {taken}"
    pinned = Counter((each.image.image.name, each.call is not None) for each in containers)
    for name, entry in node.images.items():
        if (entry.busy, entry.idle) != (pinned[name, True], pinned[name, False]):
            yield f"{name} on {spec.name} has {entry.busy} busy and {entry.idle} idle containers"
        if (entry.busy or entry.idle) and entry.stage is not Stage.IN_RAM:
            yield f"{name} on {spec.name} is used and {entry.stage.name}"
    for name, _ in pinned:
        if name not in node.images:
            yield f"{name} is used on {spec.name} and not there"


def _left_at(node: Node) -> Iterator[str]:
    if node.images or node.containers or node.free_slots:
        yield f"{node.spec.name} is lost and has {len(node.images)} images, {len(node.containers)} containers"


def different(node: Node, role: NodeRole) -> Iterator[str]:
    """Where a head's view of a node is not the node's own, which has done all that was ordered."""
    there = role.files.sizes().keys()
    for name, entry in node.images.items():
        if entry.stage is not Stage.COPYING and name not in there:
            yield f"it has no image {name}"
    for name in there - node.images.keys():
        yield f"it has the image {name}, too"
    containers = role.containers.keys() | role.modelled.keys()
    for number in containers - node.containers.keys():
        yield f"it has the container {number}, too"
    for number, container in node.containers.items():
        if container.call is None and number not in containers:
            yield f"it has no container {number}"
    busy = {each.call.id for each in node.containers.values() if each.call is not None}
    for number in role.began.keys() - busy:
        yield f"it runs the call {number}"


def same_size(spec: NodeSpec, role: NodeRole) -> bool:
    """Whether a node has the size that its head has taken it to have."""
    options = role.options
    room = tuple(math.inf if each is None else each for each in (options.disk, options.memory))
    return (role.slots, *room) == (spec.slots, spec.disk_bytes, spec.memory_bytes)


def forgotten(core: Core, scheduler: str) -> Iterator[str]:
    """Calls for which nothing is under way although it could be. A policy of the user's own may leave them there."""
    yield from _unadmitted(core.head)
    if scheduler == "balancing":
        yield from _at_rest(core)
    elif scheduler in ("fcfs", "random"):
        yield from _without_place(core)


def _at_rest(core: Core) -> Iterator[str]:
    for call in core.pending.calls.values():
        fit = [node for node in core.cluster.nodes if node.up and node.bit & call.registration.fits]
        if fit and all(_stands_still(call, node, core) for node in core.cluster.nodes if node.up):
            yield f"call {call.id} waits, and no node does anything"


def _without_place(core: Core) -> Iterator[str]:
    """With a policy that gives each call a place at a node, where something is done then."""
    claimed = Counter(call.place.index for call in core.pending.calls.values() if call.place is not None)
    for call in core.pending.calls.values():
        if call.place is None:
            for node in core.cluster.nodes:
                if node.bit & call.registration.fits and node.free_slots > claimed[node.index]:
                    yield f"call {call.id} has no place, and {node.spec.name} has a free slot that nobody claims"
        elif _stands_still(call, call.place, core):
            yield f"call {call.id} waits for {call.place.spec.name}, where nothing is done"


def _unadmitted(head: Head) -> Iterator[str]:
    first = next((each for each in head.new if each.state is State.NEW), None)
    if first is None:
        return
    image = first.registration.function.image
    room = head.free + sum(each.image.size_bytes for each in head.images.values() if each.present and not each.pins)
    if image.name in head.images or room >= image.size_bytes:
        yield f"call {first.id} waits for room for {image.name}, which could be had"


def _stands_still(call: Call, node: Node, core: Core) -> bool:
    """Whether a node has nothing to do for a call that waits there, nor for any other, and will not have."""
    if not node.up:
        return True
    may_wait = not core.config.evict_idle_for_images and any(each.call is None for each in node.containers.values())
    busy = any(each.call is not None for each in node.containers.values())
    moving = any(not each.settled for each in node.images.values())
    resting = node.resting.get(call.registration.function.image.name, 0.0) > core.shared.now
    return not (busy or moving or resting or may_wait)
