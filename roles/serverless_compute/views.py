"""A user's own policy: what it is shown, and how nonsense from it is kept from doing harm."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice

from roles.serverless_compute.cluster import Cluster
from roles.serverless_compute.decisions import Copy, Decision, Dispatch, Load, Round, Terminate
from roles.serverless_compute.state import Call, Node, Stage

MOST_DECISIONS = 100_000  # in one round; a policy that yields for ever is cut off here


@dataclass(frozen=True, slots=True)
class PendingCall:
    """An invocation that could run: its image is at the head."""

    invocation: int
    registration: str
    function: str
    image: str
    memory_bytes: int
    storage_bytes: int
    time_limit_s: float | None
    t_submit: float


class NodeView:
    """A node as it is at the moment; read only."""

    __slots__ = ("_node",)

    def __init__(self, node: Node) -> None:
        self._node = node

    @property
    def name(self) -> str:
        """The node's name."""
        return self._node.spec.name

    @property
    def slots(self) -> int:
        """How many invocations it runs at a time."""
        return self._node.spec.slots

    @property
    def up(self) -> bool:
        """Whether it is there."""
        return self._node.up

    @property
    def free_slots(self) -> int:
        """How many more it could run now; none while it is down."""
        return self._node.free_slots

    @property
    def free_disk_bytes(self) -> float:
        """Disk that nothing is reserved on."""
        return self._node.free_disk

    @property
    def free_memory_bytes(self) -> float:
        """Memory that nothing is reserved in."""
        return self._node.free_ram

    @property
    def idle(self) -> dict[int, str]:
        """Its idle containers, longest idle first within a registration: number and registration."""
        return {each.id: each.registration.name for each in self._node.idle_containers()}

    def image(self, name: str) -> str:
        """How far an image is here: ``absent``, ``copying``, ``on_disk``, ``loading`` or ``in_ram``."""
        entry = self._node.images.get(name)
        return entry.stage.name.lower() if entry else "absent"

    def images(self, stage: str) -> tuple[str, ...]:
        """The images that are exactly so far: ``copying``, ``on_disk``, ``loading`` or ``in_ram``."""
        wanted = Stage[stage.upper()]
        return tuple(name for name, entry in self._node.images.items() if entry.stage is wanted)


class ClusterView:
    """The cluster as it is at the moment: ``now``, and ``nodes`` by name in the service's order."""

    def __init__(self, cluster: Cluster) -> None:
        self.now = 0.0
        self.nodes = {node.spec.name: NodeView(node) for node in cluster.nodes}


Schedule = Callable[[tuple[PendingCall, ...], ClusterView], Iterable[Decision]]


class UserPolicy:
    """Asks the user's ``schedule`` in each round. What it raises, and what is no decision, becomes a remark."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._view: ClusterView | None = None

    def schedule(self, round_: Round) -> Iterable[Decision]:
        """The decisions of the user's function that are such; each costs a look at all pending calls."""
        if self._view is None:
            self._view = ClusterView(round_.cluster)
        self._view.now = round_.now
        pending = tuple(_shown(call) for _, call in sorted(round_.pending.calls.items()))
        try:
            answer = list(islice(iter(self._schedule(pending, self._view)), MOST_DECISIONS))
        except Exception as error:  # noqa: BLE001 - whatever a user's code raises is told, and the calls stay pending
            round_.notes.append(f"The policy raised {type(error).__name__}: {error}. Nothing was decided.")
            return []
        return [each for each in answer if _is_decision(each, round_)]


def _shown(call: Call) -> PendingCall:
    function = call.registration.function
    return PendingCall(call.id, call.registration.name, function.name, function.image.name, function.memory_bytes,
                       function.storage_bytes, function.time_limit_s, call.t_submit)  # fmt: skip


def _is_decision(each: object, round_: Round) -> bool:
    match each:
        case Dispatch(int(), str(), None | int()) | Load(str(), str()) | Copy(str(), str()) | Terminate(int()):
            return True
        case _:
            round_.notes.append(f"The policy answered {each!r}, which is no decision.")
            return False
