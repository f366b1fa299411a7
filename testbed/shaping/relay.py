"""The user-space relay, seen from the driver: its processes are started, told, asked and watched here.

Links are dealt out over the processes; both directions of a link stay in one. Messages are JSON lines over a socket
pair, one answer each (see ``worker.py``).
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from testbed.shaping import offload
from testbed.shaping.base import Counters, Lateness, Mechanism, Port, Wire
from testbed.shaping.child import Child
from testbed.shaping.queue import Treatment
from testbed.shaping.serving import BUCKET_S, BUCKETS
from testbed.topology.model import End
from testbed.topology.shape import Shape

_LINKS_A_PROCESS = 8  # below that a further process costs more start-up than it saves


class Relay:
    """Shapes links in user space: every part of a shape, without root and without a kernel module.

    ``processes`` are at most one a core; None chooses by the number of links. ``priority`` says what the processes got
    (see ``priority.py``), which decides how well they keep time on a loaded machine.
    """

    mechanism: Mechanism = "relay"

    def __init__(self, wires: Sequence[Wire], seed: int, processes: int | None = None) -> None:
        self._wires = {wire.link: wire for wire in wires}
        self._offload: dict[tuple[str, int], bool] = {}
        self.priority = ""
        self._talking = threading.Lock()  # the sampler asks from its own thread while the timeline gives orders
        count = processes or max(1, min(len(os.sched_getaffinity(0)), -(-len(wires) // _LINKS_A_PROCESS)))
        with ExitStack() as undo:
            self._children = [self._start(wires[number::count], undo) for number in range(min(count, len(wires)))]
            self._serves: Mapping[str, Child] = {
                wire.link: child for number, child in enumerate(self._children) for wire in wires[number::count]
            }
            self._open(seed)
            self._undo = undo.pop_all()

    @property
    def pids(self) -> tuple[int, ...]:
        """The relay's processes, for the watcher."""
        return tuple(child.pid for child in self._children)

    @property
    def notes(self) -> dict[str, str]:
        """For the record of a run."""
        return {"relay processes": f"{len(self._children)}, priority {self.priority}"}

    def shape(self, end: End, shape: Shape) -> None:
        """Put ``shape`` in force on what leaves ``end``; packets under way are kept."""
        wire = self._wires[end.link]
        self._set_offload(wire, wire.side(end.node), shape)
        with self._talking:
            self._serves[end.link].ask("shape", link=end.link, node=end.node, shape=asdict(Treatment.of(shape)))

    def connect(self, link: str, up: bool) -> None:
        """Cut or mend both directions of ``link`` at once; a cut loses what is under way."""
        with self._talking:
            self._serves[link].ask("connect", link=link, nodes=self._wires[link].nodes, up=up)

    def counters(self) -> dict[End, Counters]:
        """What each end has let pass and dropped; a buffer of many segments counts as the packets it stands for."""
        rows = [row for answer in self._ask_all("counters") for row in answer]
        return {End(link, node): Counters(*numbers) for link, node, *numbers in rows}

    def lateness(self) -> Lateness | None:
        """How much later than due packets left since the last call, to 20 us."""
        return lateness_of(self._ask_all("lateness"))

    def _ask_all(self, do: str) -> list[Any]:
        with self._talking:
            for child in self._children:
                child.tell(do)
            return [child.answer() for child in self._children]

    def check(self) -> None:
        """Raise ShapeNotInForce, with what it said last, if a process of the relay has ended."""
        for child in self._children:
            child.check()

    def close(self) -> None:
        """End all processes of the relay."""
        self._undo.close()

    def _start(self, wires: Sequence[Wire], undo: ExitStack) -> Child:
        files = [port.netns for wire in wires for port in _inner(wire)]
        child = Child("testbed.shaping.worker", files, "relay", "shapes links in user space")
        undo.callback(child.close)
        return child

    def _open(self, seed: int) -> None:
        """Hand every link to its process, all processes at work at once."""
        told = []
        for child in self._children:
            served = [wire for link, wire in self._wires.items() if self._serves[link] is child]
            for netns in sorted({_inner(wire)[0].netns for wire in served}):
                links = [_description(wire) for wire in served if _inner(wire)[0].netns == netns]
                child.tell("open", netns=netns, seed=seed, links=links)
                told.append(child)
        for wire in self._wires.values():
            for side in (0, 1):
                self._set_offload(wire, side, wire.shapes[side])
        for child in told:
            self.priority = child.answer()["priority"]

    def _set_offload(self, wire: Wire, side: int, shape: Shape) -> None:
        wanted = offload.allowed(shape)
        if self._offload.get((wire.link, side), True) != wanted:
            offload.switch(wire.outer[side], wanted)
        self._offload[wire.link, side] = wanted


def lateness_of(answers: Sequence[Any]) -> Lateness:
    """What processes that move packets answered to ``lateness``, together."""
    counted: Counter[int] = Counter()
    for answer in answers:
        counted.update({int(bucket): count for bucket, count in answer["buckets"].items()})
    latest = max((answer["max_s"] for answer in answers), default=0.0)
    return Lateness(counted.total(), _quantile(counted, 0.5, latest), _quantile(counted, 0.99, latest), latest)


def _inner(wire: Wire) -> tuple[Port, Port]:
    if wire.inner is None:
        raise ValueError(f"link {wire.link} was built without the inner ends that a relay needs")
    return wire.inner


def _description(wire: Wire) -> dict[str, object]:
    shapes = [asdict(Treatment.of(shape)) for shape in wire.shapes]
    return {"link": wire.link, "nodes": wire.nodes, "indexes": [port.index for port in _inner(wire)], "shapes": shapes}


def _quantile(counted: Mapping[int, int], share: float, latest: float) -> float:
    """The upper edge, in seconds, of the bucket that holds this quantile; ``latest`` for the open last one."""
    left = sum(counted.values()) * share
    for bucket in sorted(counted):
        left -= counted[bucket]
        if left <= 0:
            return latest if bucket == BUCKETS - 1 else min(latest, (bucket + 1) * BUCKET_S)
    return 0.0
