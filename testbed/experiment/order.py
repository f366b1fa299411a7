"""Puts events into order of time, and checks what depends on it: who is where, who is up, who goes on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from testbed.document import Place, show
from testbed.experiment.naming import Naming
from testbed.timeline import events as given
from testbed.timeline.actions import Action, Attach, Hold, Planned, Release, Timetable


class Order:
    """The events of a timeline as they are found; equal times keep the order of the file."""

    def __init__(self, naming: Naming) -> None:
        self._naming = naming
        self.events: list[tuple[Place, Planned]] = []

    def add(self, place: Place, found: Iterable[Planned]) -> None:
        """Events that come of the entry at ``place``."""
        self.events += [(place, each) for each in found]

    def timetable(self, moves: Sequence[given.Move]) -> Timetable:
        """All of them, after the last check."""
        self.events.sort(key=lambda each: each[1].at)
        first = self._check_moves()
        self._check_machines()
        self._check_pauses()
        return Timetable(tuple(event for _, event in self.events), tuple(_before(first, moves)))

    def _check_moves(self) -> dict[str, str]:
        """Each move begins where the host is; gives where each moving host begins."""
        first: dict[str, str] = {}
        now: dict[str, str] = {}
        for place, event in self.events:
            if event.kind != "move":
                continue
            left, joined = event.actions[:2]
            assert isinstance(left, Hold) and isinstance(joined, Release)
            (start,), (goal,) = left.links, joined.links
            here = now.setdefault(event.subject, start)
            first.setdefault(event.subject, start)
            if here != start:
                self._naming.wrong((*place, "from"), show(start), f"{here}, where {event.subject} is at {event.at:g} s")
            now[event.subject] = goal
        return first

    def _check_machines(self) -> None:
        down: set[str] = set()
        for place, event in self.events:
            if event.kind == "crash":
                down.add(event.subject)
            elif event.kind == "restore" and event.subject not in down:
                found = f"{event.subject}, which is up at {event.at:g} s"
                self._naming.wrong((*place, "node"), found, "a machine that has crashed")
            elif event.kind == "restore":
                down.discard(event.subject)

    def _check_pauses(self) -> None:
        """A workload would not end while a client of it is paused."""
        paused: dict[str, Place] = {}
        for place, event in self.events:
            if event.kind == "pause":
                paused[event.subject] = place
            elif event.kind in ("resume", "crash"):
                paused.pop(event.subject, None)
        for node, place in paused.items():
            if (node, self._naming.client) in self._naming.placement:
                self._naming.wrong(place, f"no end of the pause of {node}", "one, since a client runs there",
                                   "Add `for: 2s`.")  # fmt: skip


def _before(first: dict[str, str], moves: Sequence[given.Move]) -> Iterable[Action]:
    """Hosts that will move use the link that the first move leaves; their other links are down."""
    for node, start in first.items():
        others = [link for move in moves if move.node == node for link in (move.start, move.to) if link != start]
        yield Hold(tuple(dict.fromkeys(others)), f"move {node}")
        yield Attach(node, start)
