"""The built-in policies that give a call a place and let it wait there: first come first served, and random.

A call that waits for its image keeps its place until its node changes, so a round costs as much as has changed and not
as much as waits. Every waiting call claims one slot of its node. The result for first come first served is that of
looking at all calls anew: those that wait elsewhere are asked again where a node could run them at once.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Iterable
from heapq import heappop, heappush

from roles.serverless_compute.decisions import Copy, Decision, Dispatch, Load, Round
from roles.serverless_compute.model import State
from roles.serverless_compute.state import Call, Node, Stage


class _Placing(ABC):
    """Calls have a place at a node (``parked``) or none; ``_room`` has the nodes with a slot that nobody claims."""

    def __init__(self) -> None:
        self._room = 0
        self._parked: dict[int, dict[int, Call]] = {}
        self._coming: dict[str, int] = {}  # by image: where a copy or load was decided in this round, in bits

    def schedule(self, round_: Round) -> Iterable[Decision]:
        """Decide for fresh calls, for those at nodes that have changed, and for those that have no place."""
        self._coming.clear()
        decisions: list[Decision] = []
        for call in round_.pending.fresh:
            self._unplaced(call)
        for index in sorted(round_.changed):
            self._changed(round_.changed[index], round_, decisions)
        self._place_all(round_, decisions)
        return decisions

    @abstractmethod
    def _unplaced(self, call: Call) -> None:
        """A call has no place."""

    @abstractmethod
    def _changed(self, node: Node, round_: Round, decisions: list[Decision]) -> None:
        """Something changed at a node since the last round."""

    @abstractmethod
    def _place_all(self, round_: Round, decisions: list[Decision]) -> None:
        """Give places to calls that have none."""

    def _clear(self, node: Node) -> list[Call]:
        """Take away all places at a node; returns the calls that had one and are pending still."""
        calls = [each for each in self._parked.pop(node.index, {}).values() if each.state is State.SCHEDULABLE]
        for call in calls:
            call.place = None
        self._reckon(node)
        return calls

    def _park(self, call: Call, node: Node) -> None:
        call.place = node
        self._parked.setdefault(node.index, {})[call.id] = call
        self._reckon(node)

    def _leave(self, call: Call) -> None:
        node = call.place
        if node is not None:
            del self._parked[node.index][call.id]
            call.place = None
            self._reckon(node)

    def _reckon(self, node: Node) -> None:
        if node.free_slots > len(self._parked.get(node.index, ())):
            self._room |= node.bit
        else:
            self._room &= ~node.bit

    def _act(self, call: Call, node: Node, decisions: list[Decision]) -> None:
        """What brings a call forward that has its place at this node."""
        image = call.registration.function.image.name
        entry = node.images.get(image)
        if node.bit & call.registration.idle or (entry is not None and entry.stage is Stage.IN_RAM):
            decisions.append(Dispatch(call.id, node.spec.name))
        elif (entry is None or entry.stage is Stage.ON_DISK) and not self._coming.get(image, 0) & node.bit:
            self._coming[image] = self._coming.get(image, 0) | node.bit
            decisions.append((Copy if entry is None else Load)(image, node.spec.name))


class FirstComeFirstServed(_Placing):
    """Calls in the order of submission, each to the first node (in the service's order) of the best kind.

    Among nodes with a free slot: one with an idle container of the registration; with the image in memory; on its way
    there; on disk; on its way there; any. So calls pack on the first nodes. A call that finds no place does not stop
    those behind it, and one whose image came late takes no place away from those that wait at it already.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lines: dict[str, list[int]] = {}  # by registration: calls without a place, a heap of ids
        self._heads: list[tuple[int, str]] = []  # a heap with the first of each line, and outdated ones
        self._waiting: dict[str, list[int]] = {}  # by registration: calls with a place, and outdated ones, a heap
        self._listed: set[int] = set()  # those in _waiting
        self._tried: list[Call] = []  # dispatched in the last round, if that could be done
        self._taken: dict[tuple[str, int], int] = {}  # idle containers given away in this round

    def schedule(self, round_: Round) -> Iterable[Decision]:
        """Decide; calls whose dispatch could not be done wait where they are."""
        for call in self._tried:
            if call.state is State.SCHEDULABLE:
                self._list(call)
        self._tried.clear()
        return super().schedule(round_)

    def _unplaced(self, call: Call) -> None:
        line = self._lines.setdefault(call.registration.name, [])
        heappush(line, call.id)
        if line[0] == call.id:
            heappush(self._heads, (call.id, call.registration.name))

    def _changed(self, node: Node, round_: Round, decisions: list[Decision]) -> None:
        for call in self._clear(node):
            self._unplaced(call)
        if node.free_slots > 0:
            self._entice(node, round_)

    def _entice(self, node: Node, round_: Round) -> None:
        """Calls that wait elsewhere and could run here at once lose their place there, as many as have room here."""
        for name, heap in list(self._waiting.items()):
            same = round_.pending.by_registration.get(name)
            if same is None:
                self._listed.difference_update(heap)
                del self._waiting[name]
                continue
            registration = next(iter(same.values())).registration
            ready = registration.idle | round_.cluster.at(registration.function.image.name)[Stage.IN_RAM]
            enough = node.free_slots if ready & node.bit else 0
            while enough and heap:
                call = round_.pending.calls.get(heappop(heap))
                if call is None or call.place is None:
                    continue
                self._listed.discard(call.id)
                self._leave(call)
                self._unplaced(call)
                enough -= 1

    def _place_all(self, round_: Round, decisions: list[Decision]) -> None:
        self._taken.clear()
        aside: list[tuple[int, str]] = []
        calls = round_.pending.calls
        while self._heads and self._room:
            number, name = heappop(self._heads)
            line = self._lines[name]
            if not line or line[0] != number:
                continue  # outdated
            call = calls.get(number)
            mask = self._room & call.registration.fits if call is not None else 0
            if call is not None and call.place is None and not mask:
                aside.append((number, name))
                continue
            heappop(line)
            while line and (line[0] not in calls or line[0] == number):
                heappop(line)
            if line:
                heappush(self._heads, (line[0], name))
            if call is not None and call.place is None:
                self._place(call, mask, round_, decisions)
        for each in aside:
            heappush(self._heads, each)

    def _place(self, call: Call, mask: int, round_: Round, decisions: list[Decision]) -> None:
        registration = call.registration
        copying, on_disk, loading, in_ram = round_.cluster.at(registration.function.image.name)
        hot = mask & registration.idle
        while hot:
            node = round_.cluster.nodes[_first(hot)]
            taken = self._taken.get((registration.name, node.index), 0)
            if taken < len(node.idle[registration.name]):
                self._taken[registration.name, node.index] = taken + 1
                self._keep(call, node, decisions)
                return
            hot &= ~node.bit
        coming = self._coming.get(registration.function.image.name, 0)
        for kind in (in_ram, loading | (on_disk & coming), on_disk, copying | coming, mask):
            if mask & kind:
                node = round_.cluster.nodes[_first(mask & kind)]
                break
        self._keep(call, node, decisions)

    def _keep(self, call: Call, node: Node, decisions: list[Decision]) -> None:
        self._act(call, node, decisions)
        self._park(call, node)
        if decisions and isinstance(decisions[-1], Dispatch) and decisions[-1].invocation == call.id:
            self._tried.append(call)
        else:
            self._list(call)

    def _list(self, call: Call) -> None:
        if call.id not in self._listed:
            self._listed.add(call.id)
            heappush(self._waiting.setdefault(call.registration.name, []), call.id)


class Random(_Placing):
    """Each call, in random order, to a node drawn evenly from those with a free slot, where it stays.

    Only the loss of its node, or that node's being full, makes it draw again.
    """

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self._rng = rng
        self._lines: dict[int, list[Call]] = {}  # calls without a place, by the nodes that they fit

    def _unplaced(self, call: Call) -> None:
        self._lines.setdefault(call.registration.fits, []).append(call)

    def _changed(self, node: Node, round_: Round, decisions: list[Decision]) -> None:
        for number, call in enumerate(self._clear(node)):
            if number < node.free_slots:
                self._act(call, node, decisions)
                self._park(call, node)
            else:
                self._unplaced(call)

    def _place_all(self, round_: Round, decisions: list[Decision]) -> None:
        while open_ := [fits for fits, line in self._lines.items() if line and fits & self._room]:
            weights = [len(self._lines[fits]) for fits in open_]
            fits = self._rng.choices(open_, weights)[0] if len(open_) > 1 else open_[0]
            call = self._draw(self._lines[fits])
            if call.state is State.SCHEDULABLE and call.place is None:
                node = round_.cluster.nodes[self._pick(fits & self._room)]
                self._act(call, node, decisions)
                self._park(call, node)

    def _draw(self, line: list[Call]) -> Call:
        place = self._rng.randrange(len(line))
        line[place], line[-1] = line[-1], line[place]
        return line.pop()

    def _pick(self, bits: int) -> int:
        """The number of a bit that is set, drawn evenly."""
        most = bits.bit_length()
        if bits.bit_count() * 8 >= most:
            while True:
                index = self._rng.randrange(most)
                if bits >> index & 1:
                    return index
        indices: list[int] = []
        while bits:
            indices.append(_first(bits))
            bits &= bits - 1
        return self._rng.choice(indices)


def _first(bits: int) -> int:
    return (bits & -bits).bit_length() - 1
