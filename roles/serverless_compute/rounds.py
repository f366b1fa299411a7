"""A scheduling round: the policy is asked, its decisions are checked again one by one, and carried out."""

from __future__ import annotations

from collections.abc import Iterable

from roles.serverless_compute.cluster import Cluster
from roles.serverless_compute.decisions import Copy, Decision, Dispatch, Load, Pending, Policy, Round, Terminate
from roles.serverless_compute.events import Note, Run
from roles.serverless_compute.head import Head
from roles.serverless_compute.model import StartKind, State
from roles.serverless_compute.state import Call, Container, Node, Shared, Stage

TURNS = {Terminate: 0, Dispatch: 1, Load: 2, Copy: 3}
MOST_NOTES = 20  # remarks in one round; the rest is counted


class Rounds:
    """Asks the policy and carries out what can be done: terminations, dispatches, loads, copies, in this order.

    So no later decision takes away what an earlier one needs; nor may it take an image that a decision of this round
    could not use yet for want of room.
    """

    def __init__(self, shared: Shared, policy: Policy, cluster: Cluster, head: Head, pending: Pending) -> None:
        self._shared, self._policy = shared, policy
        self._cluster, self._head, self._pending = cluster, head, pending
        self._needed: dict[int, set[str]] = {}
        self._full: set[tuple[int, str]] = set()  # nodes without room for another container of a registration

    def hold(self) -> None:
        """One round; does nothing if no call is pending."""
        if not self._pending.calls:
            return
        changed, self._cluster.changed = self._cluster.changed, {}
        asked = Round(self._pending, self._cluster, changed, self._shared.now)
        decisions = self._policy.schedule(asked)
        self._pending.fresh.clear()
        refused = self._carry_out(decisions)
        if refused or asked.notes:
            self._remark(asked.notes + refused)

    def _remark(self, texts: list[str]) -> None:
        self._shared.out.extend(Note(text) for text in texts[:MOST_NOTES])
        if len(texts) > MOST_NOTES:
            self._shared.out.append(Note(f"{len(texts) - MOST_NOTES} more decisions of this round were left out."))

    def _carry_out(self, decisions: Iterable[Decision]) -> list[str]:
        """Carry out what can be; returns a remark for each decision that cannot."""
        self._needed.clear()
        self._full.clear()
        refused: list[str] = []
        for each in sorted(decisions, key=_turn):
            refusal = self._do(each)
            if refusal:
                refused.append(f"{each} left out: {refusal}.")
        return refused

    def _do(self, decision: Decision) -> str:
        """Carry out one decision; returns why it could not be, or nothing."""
        if isinstance(decision, Dispatch):
            return self._dispatch(decision)
        if isinstance(decision, Terminate):
            container = self._cluster.containers.get(decision.container)
            if container is None or container.call is not None:
                return "there is no such container" if container is None else "it is busy"
            self._cluster.end(container)
            return ""
        node = self._cluster.by_name.get(decision.node)
        if node is None or not node.up:
            return "there is no such node" if node is None else "the node is down"
        return self._load(decision, node) if isinstance(decision, Load) else self._copy(decision, node)

    def _load(self, decision: Load, node: Node) -> str:
        entry = node.images.get(decision.image)
        if entry is None:
            return "it is not on disk there"
        refusal = self._cluster.load(entry.image, node, self._needed.get(node.index, ()))
        if refusal and entry.stage is Stage.ON_DISK:
            self._need(node, decision.image)
        return refusal

    def _copy(self, decision: Copy, node: Node) -> str:
        if not self._head.present(decision.image):
            return "the image is not at the head"
        image = self._head.images[decision.image].image
        refusal = self._cluster.copy(image, node, self._needed.get(node.index, ()))
        if not refusal:
            self._head.pin(decision.image)
        return refusal

    def _dispatch(self, decision: Dispatch) -> str:
        call = self._pending.calls.get(decision.invocation)
        node = self._cluster.by_name.get(decision.node)
        if call is None or node is None:
            return "the invocation is not pending" if call is None else "there is no such node"
        if node.free_slots <= 0:
            return "no slot is free" if node.up else "the node is down"
        if decision.container is None:
            idle = node.last_idle(call.registration)
        else:
            idle = self._cluster.containers.get(decision.container)
            if idle is None or idle.call is not None or idle.registration is not call.registration:
                return "the container is not an idle one of this registration"
            if idle.node is not node:
                return "the container is on another node"
        return self._start(call, node, idle)

    def _start(self, call: Call, node: Node, idle: Container | None) -> str:
        kind: StartKind = "hot"
        if idle is not None:
            self._cluster.reuse(idle, call)
        else:
            image = call.registration.function.image.name
            entry = node.images.get(image)
            if entry is None or entry.stage is not Stage.IN_RAM:
                return "the image is not in the node's memory"
            kind = "warm_image" if entry.in_ram_since <= call.t_submit else "cold"
            same = node.index, call.registration.name
            idle = None if same in self._full else self._cluster.spawn(call, node, self._needed.get(node.index, ()))
            if idle is None:
                self._full.add(same)
                self._need(node, image)
                return "the room for a container cannot be made now"
        self._begun(call, idle, kind)
        return ""

    def _begun(self, call: Call, container: Container, kind: StartKind) -> None:
        function = call.registration.function
        self._pending.remove(call)
        self._head.unpin(function.image.name)
        call.state, call.kind, call.container = State.STARTING, kind, container
        call.t_dispatch, call.ran_on = self._shared.now, container.node.spec.name
        config = self._shared.config
        overhead = config.hot_start_s if kind == "hot" else config.cold_start_s
        limit = function.time_limit_s if function.time_limit_s and function.time_limit_s > 0 else None
        if limit is not None and config.timeout_scope == "dispatch":
            overhead = min(overhead, limit)
            limit -= overhead
        self._shared.out.append(Run(call.id, container.id, call.ran_on, call.registration.name, kind, overhead, limit,
                                    call.payload))  # fmt: skip

    def _need(self, node: Node, image: str) -> None:
        self._needed.setdefault(node.index, set()).add(image)


def _turn(decision: Decision) -> int:
    return TURNS[type(decision)]
