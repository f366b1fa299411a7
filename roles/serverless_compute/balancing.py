"""The policy that shares the free slots among the functions by the work that waits for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from math import ceil

from roles.serverless_compute.decisions import Copy, Decision, Dispatch, Load, Round
from roles.serverless_compute.state import Call, Node, Registration, Stage

Plan = list[tuple[Node, Registration, int]]


class WorkloadBalancing:
    """Slots in proportion to the time limits of the waiting calls, the largest share first, on the emptiest nodes.

    As in the original, an image is brought to the planned nodes whether it is elsewhere already or not; the youngest
    call of a function goes first; and a plan is made anew in each round, so that calls that wait for an image may be
    planned elsewhere meanwhile. Unlike there, a call whose image is not in memory yet does not lose its turn at other
    nodes, and ties are settled by order. A function without a time limit counts as one second of work.
    """

    def __init__(self) -> None:
        self._free: dict[int, int] = {}  # free slots by node, as far as known
        self._total = 0
        self._emptiest: list[tuple[int, int]] = []  # a heap of (-free slots, node), outdated entries among them
        self._planned = 0  # slots that the last plan gave away

    def schedule(self, round_: Round) -> Iterable[Decision]:
        """Bring images to where the plan wants them, and dispatch where they are in memory."""
        if not round_.changed and self._planned == self._total:
            return []  # nothing to give to those who have come since
        for node in round_.changed.values():
            self._note(node)
        decisions: list[Decision] = []
        given: dict[str, Iterator[Call]] = {}
        for node, registration, count in self._plan(round_):
            image = registration.function.image.name
            entry = node.images.get(image)
            if entry is None:
                decisions.append(Copy(image, node.spec.name))
            elif entry.stage is Stage.ON_DISK:
                decisions.append(Load(image, node.spec.name))
            elif entry.stage is Stage.IN_RAM:
                same = round_.pending.by_registration[registration.name]
                calls = given.setdefault(registration.name, reversed(same.values()))
                decisions += [Dispatch(call.id, node.spec.name) for _, call in zip(range(count), calls, strict=False)]
        return list(dict.fromkeys(decisions))

    def _note(self, node: Node) -> None:
        known = self._free.get(node.index, 0)
        if node.free_slots != known:
            self._free[node.index] = node.free_slots
            self._total += node.free_slots - known
            heappush(self._emptiest, (-node.free_slots, node.index))

    def _shares(self, round_: Round) -> list[tuple[int, Registration]]:
        """How many slots each function gets, the most first; at most one for each call that waits."""
        waiting = [(len(calls), next(iter(calls.values())).registration)
                   for calls in round_.pending.by_registration.values()]  # fmt: skip
        work = [count * (registration.function.time_limit_s or 1.0) for count, registration in waiting]
        total = sum(work)
        shares = [(min(count, ceil(each / total * self._total)), registration)
                  for each, (count, registration) in zip(work, waiting, strict=True)]  # fmt: skip
        return sorted(shares, key=lambda share: -share[0])

    def _plan(self, round_: Round) -> Plan:
        """Which node gives how many slots to which function."""
        self._planned = 0
        if not self._total:
            return []
        plan: Plan = []
        left: dict[int, int] = {}  # free slots that the plan has not given away, at nodes that it has touched
        for count, registration in self._shares(round_):
            unfit: list[tuple[int, int]] = []
            while count > 0 and self._emptiest:
                entry = heappop(self._emptiest)
                index = entry[1]
                free = left.get(index, self._free[index])
                if free != -entry[0] or not free:
                    continue  # outdated
                node = round_.cluster.nodes[index]
                if not node.bit & registration.fits:
                    unfit.append(entry)
                    continue
                given = min(count, free)
                plan.append((node, registration, given))
                count -= given
                left[index] = free - given
                heappush(self._emptiest, (given - free, index))
            for entry in unfit:
                heappush(self._emptiest, entry)
        for index in left:
            heappush(self._emptiest, (-self._free[index], index))
        self._planned = sum(count for _, _, count in plan)
        if len(self._emptiest) > 8 * len(self._free) + 64:
            self._emptiest = sorted((-free, index) for index, free in self._free.items())  # without outdated entries
        return plan
