"""The head's store of images, and the admission of calls: first come, first served, one download for each image."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from roles.serverless_compute.causes import BadInput
from roles.serverless_compute.events import RemoveFromHead, StartFetch
from roles.serverless_compute.model import Image, State
from roles.serverless_compute.state import Call, Shared


@dataclass(slots=True, eq=False)
class HeadImage:
    """An image at the head, or on its way to it; ``pins`` are undispatched calls that need it and copies of it."""

    image: Image
    present: bool = False
    pins: int = 0
    used: int = 0
    waiting: dict[int, Call] = field(default_factory=dict)


class Head:
    """Room for images at the head, the calls that wait for room (``new``) and those that wait for a download."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self.free = shared.config.head_bytes
        self.images: dict[str, HeadImage] = {}
        self.new: deque[Call] = deque()
        self.waiting = 0  # calls that wait for a download

    def preload(self, image: Image) -> None:
        """The image is at the head already; raises BadInput if it does not fit."""
        if image.name in self.images:
            raise BadInput(f"The image {image.name!r} is at the head already.")
        if self.free < image.size_bytes:
            raise BadInput(f"The image {image.name!r} ({image.size_bytes} bytes) does not fit the head.")
        self.free -= image.size_bytes
        self.images[image.name] = HeadImage(image, True, used=self._shared.use())

    def admit(self, call: Call) -> bool:
        """Let a call in if its image is here, on its way, or has room; a call with its image here is SCHEDULABLE."""
        image = call.registration.function.image
        entry = self.images.get(image.name)
        if entry is None:
            first = not self.new or self.new[0] is call  # no overtaking, not even by a smaller image
            entry = self._fetch(image) if first else None
        if entry is None:
            return False
        entry.pins += 1
        entry.used = self._shared.use()
        call.t_admit = self._shared.now
        if entry.present:
            _ready(call, self._shared.now)
        else:
            call.state = State.ADMITTED
            entry.waiting[call.id] = call
            self.waiting += 1
        return True

    def admit_waiting(self) -> list[Call]:
        """Let in those that wait for room, in order, up to the first that has none; returns the schedulable ones."""
        admitted: list[Call] = []
        while self.new and (self.new[0].state is not State.NEW or self.admit(self.new[0])):
            admitted.append(self.new.popleft())
        return [call for call in admitted if call.state is State.SCHEDULABLE]

    def fetched(self, image: str, failed: bool) -> list[Call]:
        """A download ended: the calls that waited for it, in order; they are schedulable unless it failed."""
        entry = self.images.get(image)
        if entry is None or entry.present:
            return []
        calls = list(entry.waiting.values())
        entry.waiting.clear()
        self.waiting -= len(calls)
        if failed:
            del self.images[image]
            self.free += entry.image.size_bytes
            return calls
        entry.present = True
        for call in calls:
            _ready(call, self._shared.now)
        return calls

    def present(self, image: str) -> bool:
        """Whether the whole image is here."""
        entry = self.images.get(image)
        return entry is not None and entry.present

    def pin(self, image: str) -> None:
        """Keep an image that is here."""
        self.images[image].pins += 1

    def unpin(self, image: str) -> None:
        """Take back one pin."""
        self.images[image].pins -= 1

    def leave(self, call: Call) -> None:
        """A call that was let in, or waits to be, goes away before it was dispatched."""
        if call.state is State.NEW:
            return  # admit_waiting passes over it: it is about to be final
        entry = self.images[call.registration.function.image.name]
        entry.pins -= 1
        self.waiting -= 1 if entry.waiting.pop(call.id, None) else 0

    def _fetch(self, image: Image) -> HeadImage | None:
        """Begin a download if there is room, or room can be made; None if not."""
        if self.free < image.size_bytes and not self._make_room(image.size_bytes):
            return None
        self.free -= image.size_bytes
        entry = self.images[image.name] = HeadImage(image)
        self._shared.out.append(StartFetch(image))
        return entry

    def _make_room(self, size: int) -> bool:
        """Remove images that nobody needs, least recently used first; none if that is not enough."""
        idle = sorted((each for each in self.images.values() if each.present and not each.pins), key=lambda i: i.used)
        if self.free + sum(each.image.size_bytes for each in idle) < size:
            return False
        for entry in idle:
            if self.free >= size:
                break
            del self.images[entry.image.name]
            self.free += entry.image.size_bytes
            self._shared.out.append(RemoveFromHead(entry.image.name))
        return True


def _ready(call: Call, now: float) -> None:
    call.state = State.SCHEDULABLE
    call.t_schedulable = now
