"""The mutable state behind the core: calls, registrations, containers, nodes, and the images on them.

Sets of nodes are integers, one bit a node, so that "the first node in order that has a free slot and this image in
memory" is two machine-speed operations, however many nodes there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from roles.serverless_compute.causes import FailureCause
from roles.serverless_compute.events import Effect
from roles.serverless_compute.model import (
    FunctionSpec,
    Image,
    InvocationRecord,
    NodeSpec,
    ServiceConfig,
    StartKind,
    State,
)


class Stage(IntEnum):
    """How far an image has come at a node; absent images have no entry."""

    COPYING = 0
    ON_DISK = 1
    LOADING = 2
    IN_RAM = 3


@dataclass(slots=True, eq=False)
class Registration:
    """A registered function: the nodes that it fits at all, and those with an idle container of it (bits)."""

    name: str
    function: FunctionSpec
    fits: int
    idle: int = 0


@dataclass(slots=True, eq=False)
class Call:
    """An accepted invocation on its way. ``place`` is where a policy lets it wait for its image, if anywhere."""

    id: int
    registration: Registration
    payload: str
    t_submit: float
    state: State = State.NEW
    t_admit: float | None = None
    t_schedulable: float | None = None
    t_dispatch: float | None = None
    t_start: float | None = None
    kind: StartKind | None = None
    container: Container | None = None
    place: Node | None = None
    ran_on: str = ""

    def ended(self, state: State, at: float, output: Any, cause: FailureCause | None) -> InvocationRecord:
        """The record of this call as it ends."""
        self.state = state
        return InvocationRecord(
            self.id, self.registration.name, state, self.ran_on, self.kind or "", output, cause, self.t_submit,
            self.t_admit, self.t_schedulable, self.t_dispatch, self.t_start, at,
        )  # fmt: skip


@dataclass(slots=True, eq=False)
class Container:
    """A container on a node; ``call`` is what it runs, None while it is idle (since ``idle_since``)."""

    id: int
    node: Node
    registration: Registration
    image: NodeImage
    call: Call | None = None
    idle_since: float = 0.0
    armed: bool = False


@dataclass(slots=True, eq=False)
class NodeImage:
    """An image at a node. ``busy`` and ``idle`` count the containers that pin it; ``used`` grows with each use."""

    image: Image
    stage: Stage
    used: int
    transfer: int = 0
    in_ram_since: float = 0.0
    busy: int = 0
    idle: int = 0

    @property
    def settled(self) -> bool:
        """Whether no transfer writes or reads it."""
        return self.stage in (Stage.ON_DISK, Stage.IN_RAM)


@dataclass(slots=True, eq=False)
class Node:
    """A compute node with what is reserved on it; ``bit`` stands for it in sets of nodes."""

    spec: NodeSpec
    index: int
    bit: int
    up: bool = True
    free_slots: int = 0
    free_disk: float = 0.0
    free_ram: float = 0.0
    images: dict[str, NodeImage] = field(default_factory=dict)
    containers: dict[int, Container] = field(default_factory=dict)
    idle: dict[str, dict[int, Container]] = field(default_factory=dict)  # by registration, longest idle first
    resting: dict[str, float] = field(default_factory=dict)  # images whose transfer failed, and until when

    def idle_containers(self) -> Iterator[Container]:
        """The idle containers of all registrations."""
        for kept in self.idle.values():
            yield from kept.values()

    def last_idle(self, registration: Registration) -> Container | None:
        """The idle container of a registration that was used last; of several at one moment, the first made."""
        kept = self.idle.get(registration.name)
        if not kept:
            return None
        last = next(reversed(kept.values()))
        found = last
        for each in reversed(kept.values()):
            if each.idle_since != last.idle_since:
                break
            if each.id < found.id:
                found = each
        return found

    def clear(self) -> None:
        """Make it an empty machine."""
        self.free_slots, self.free_disk, self.free_ram = self.spec.slots, self.spec.disk_bytes, self.spec.memory_bytes
        for kept in (self.images, self.containers, self.idle, self.resting):
            kept.clear()


@dataclass(slots=True, eq=False)
class Shared:
    """What the parts of the core share: the configuration, the present moment, and the effects gathered so far."""

    config: ServiceConfig
    now: float = 0.0
    out: list[Effect] = field(default_factory=list)
    uses: int = 0

    def use(self) -> int:
        """The next number in the order of uses; the least recently used has the smallest."""
        self.uses += 1
        return self.uses
