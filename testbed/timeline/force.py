"""What is in force after some events: shapes and cut links, without any network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from testbed.timeline.actions import Hold, Release, SetShape
from testbed.topology.model import End, Topology
from testbed.topology.shape import Shape


def reshaped(old: Shape, change: dict[str, Any]) -> Shape:
    """``old`` with the keys of ``change``, written as in a file; raises pydantic.ValidationError."""
    kept = {name: value for name, value in old.model_dump().items() if name not in change and value is not None}
    return Shape.model_validate(kept | change)


class InForce:
    """The state of all links: ``shapes`` by end, and for each link that is ``down`` the causes of that."""

    def __init__(self, topology: Topology) -> None:
        self.shapes = {End(link.name, end.node): end.shape for link in topology.links.values() for end in link.ends}
        self.down: dict[str, dict[str, None]] = {}

    def shape(self, action: SetShape) -> Iterator[tuple[End, Shape]]:
        """Each end with its new shape."""
        for end in action.ends:
            self.shapes[end] = reshaped(self.shapes[end], dict(action.change))
            yield end, self.shapes[end]

    def connect(self, action: Hold | Release) -> Iterator[tuple[str, bool]]:
        """Each link that goes down or up by this."""
        for link in action.links:
            causes, was_down = self.down.setdefault(link, {}), bool(self.down.get(link))
            if isinstance(action, Hold):
                causes[action.cause] = None
            else:
                causes.pop(action.cause, None)
            if bool(causes) != was_down:
                yield link, was_down
