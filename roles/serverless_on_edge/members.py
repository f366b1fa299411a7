"""What a controller knows of each agent, and what an announcement must be like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from roles.serverless_on_edge.limits import MOST_CONTAINERS, Refused, wrong_with_name
from roles.serverless_on_edge.messages import Container


@dataclass(slots=True)
class Member:
    """When an agent was heard last, and whether it is one that repeats itself (the original's do not)."""

    heard: float
    beats: bool

    def hear(self, now: float, says_so: bool, expiry: float) -> None:
        """It has announced itself; ``says_so``: it says that it will do so again."""
        self.beats = says_so or now - self.heard <= expiry
        self.heard = now

    def silent(self, now: float, expiry: float) -> bool:
        """Whether it should have been heard since."""
        return self.beats and now - self.heard > expiry


def must_be_sound(containers: Sequence[Container]) -> None:
    """Raise Refused for containers that no computer can have."""
    if len(containers) > MOST_CONTAINERS:
        raise Refused(f"the computer has {len(containers)} containers; {MOST_CONTAINERS} at most")
    for each in containers:
        if wrong := wrong_with_name("a function", each.function):
            raise Refused(wrong)
