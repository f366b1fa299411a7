"""Whom to send away when a node lacks room: cached images, least recently used first, then idle containers.

Pure: nothing is changed here. If the room cannot be made, nobody goes at all.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

from roles.serverless_compute.state import Container, Node, NodeImage, Stage

Policy = Literal["lru", "ram"]


@dataclass(frozen=True, slots=True)
class Evict:
    """An image goes from disk, and from memory if it is there."""

    image: NodeImage


@dataclass(frozen=True, slots=True)
class DropFromRam:
    """An image goes from memory and stays on disk."""

    image: NodeImage


@dataclass(frozen=True, slots=True)
class End:
    """An idle container ends."""

    container: Container


Victim = Evict | DropFromRam | End


def plan(
    node: Node, disk: float, ram: float, keep: Collection[str], policy: Policy, idle_too: bool
) -> list[Victim] | None:
    """Who must go for ``disk`` and ``ram`` bytes to be free on ``node``, in order; None if that cannot be had.

    Images that busy containers or transfers use never go, nor those named in ``keep``; those that only idle containers
    use go after these.
    """
    need = _Need(disk - node.free_disk, ram - node.free_ram)
    if need.met():
        return []
    need.cached = sorted((each for each in node.images.values() if not (each.busy or each.idle) and each.settled
                          and each.image.name not in keep), key=_used)  # fmt: skip
    idle = sorted(node.idle_containers(), key=lambda each: (each.idle_since, each.id)) if idle_too else []
    unpinned: dict[str, int] = {}
    need.take_images()
    while not need.met():
        if not idle:
            return None
        victim = choose(idle, need.disk, need.ram, policy)
        idle.remove(victim)
        need.end(victim)
        image = victim.image
        name = image.image.name
        unpinned[name] = unpinned.get(name, 0) + 1
        if not image.busy and image.settled and unpinned[name] == image.idle and name not in keep:
            insort(need.cached, image, key=_used)
        need.take_images()
    return need.victims


def choose(idle: list[Container], disk: float, ram: float, policy: Policy) -> Container:
    """The next idle container to go; ``idle`` is ordered, longest idle first.

    ``lru``: the longest idle. ``ram``: the smallest that covers by itself what is lacking, else the largest; sizes are
    in memory while memory is lacking, then on disk. Ties: longest idle.
    """
    if policy == "lru":
        return idle[0]

    def size(each: Container) -> float:
        function = each.registration.function
        return function.memory_bytes if ram > 0 else function.storage_bytes

    covering = [each for each in idle if size(each) >= (ram if ram > 0 else disk)]
    return min(covering, key=size) if covering else max(idle, key=size)


def _used(image: NodeImage) -> int:
    return image.used


@dataclass(slots=True)
class _Need:
    """What is lacking still, the images that may go, and who has to go so far."""

    disk: float
    ram: float
    cached: list[NodeImage] = field(default_factory=list)
    victims: list[Victim] = field(default_factory=list)
    dropped: set[str] = field(default_factory=set)

    def met(self) -> bool:
        return self.disk <= 0 and self.ram <= 0

    def take_images(self) -> None:
        while self.disk > 0 and self.cached:
            image = self.cached.pop(0)
            self.disk -= image.image.size_bytes
            if self._holds_ram(image):
                self.ram -= image.image.ram_bytes
            self.victims.append(Evict(image))
        for image in self.cached:
            if self.ram > 0 and self._holds_ram(image):
                self.ram -= image.image.ram_bytes
                self.dropped.add(image.image.name)
                self.victims.append(DropFromRam(image))

    def end(self, container: Container) -> None:
        self.disk -= container.registration.function.storage_bytes
        self.ram -= container.registration.function.memory_bytes
        self.victims.append(End(container))

    def _holds_ram(self, image: NodeImage) -> bool:
        return image.stage is Stage.IN_RAM and image.image.name not in self.dropped
