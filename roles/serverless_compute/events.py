"""What the core is told (events) and what it wants done (effects): the whole contract between core and drivers.

A driver calls ``core.handle(event, now)`` and carries out the effects **in the order given**; those for one node reach
it in that order too, so that room is made (Terminate, RemoveFromNode, Unload) before it is used. Times are seconds on
the driver's clock and never go back; sizes are bytes. Events due at one moment are handled in the order of their
``PRIORITY``, then of their arrival: ends of executions, ends of transfers, timers, the rest, calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from roles.serverless_compute.causes import FailureCause
from roles.serverless_compute.model import FunctionSpec, Image, InvocationRecord, StartKind

# ---- events


@dataclass(frozen=True, slots=True)
class Register:
    """A client registers ``function``; answered with a registration. ``request`` comes back in the Answer."""

    PRIORITY: ClassVar[int] = 3
    request: int
    function: FunctionSpec


@dataclass(frozen=True, slots=True)
class Preload:
    """``image`` is there from the start: at the head, or (``node``) on a node's disk and in its memory where asked.

    The only event that ``handle`` may raise for: BadInput, where it does not fit.
    """

    PRIORITY: ClassVar[int] = 3
    image: Image
    node: str | None = None
    in_ram: bool = False


@dataclass(frozen=True, slots=True)
class Invoke:
    """A client calls ``registration``; answered at once, and notified of the end if it was accepted."""

    PRIORITY: ClassVar[int] = 4
    request: int
    registration: str
    payload: str = ""


@dataclass(frozen=True, slots=True)
class Cancel:
    """A client calls an invocation off; nothing happens if it has ended."""

    PRIORITY: ClassVar[int] = 4
    invocation: int


@dataclass(frozen=True, slots=True)
class FetchDone:
    """The image is at the head, or (``cause``) could not be had and nothing of it is there."""

    PRIORITY: ClassVar[int] = 1
    image: str
    cause: FailureCause | None = None


@dataclass(frozen=True, slots=True)
class CopyDone:
    """Transfer ``transfer`` ended: the image is on the node's disk, or (``cause``) nothing of it is."""

    PRIORITY: ClassVar[int] = 1
    transfer: int
    cause: FailureCause | None = None


@dataclass(frozen=True, slots=True)
class LoadDone:
    """Transfer ``transfer`` ended: the image is in the node's memory, or (``cause``) still only on its disk."""

    PRIORITY: ClassVar[int] = 1
    transfer: int
    cause: FailureCause | None = None


@dataclass(frozen=True, slots=True)
class ExecStarted:
    """The function's code began at ``t_start``. Optional: ExecDone tells it too."""

    PRIORITY: ClassVar[int] = 0
    invocation: int
    t_start: float


@dataclass(frozen=True, slots=True)
class ExecDone:
    """The code ended, was killed at its limit (InvocationTimeout) or failed; its container can be used again."""

    PRIORITY: ClassVar[int] = 0
    invocation: int
    t_start: float
    t_end: float
    output: Any = None
    cause: FailureCause | None = None


@dataclass(frozen=True, slots=True)
class ContainerFailed:
    """A container could not be started, or is gone by itself; its invocation, if any, fails with ``cause``."""

    PRIORITY: ClassVar[int] = 0
    container: int
    cause: FailureCause


@dataclass(frozen=True, slots=True)
class IdleTimer:
    """The moment of an ArmTimer has come. Late, early and needless ones do no harm."""

    PRIORITY: ClassVar[int] = 2
    container: int


@dataclass(frozen=True, slots=True)
class NodeDown:
    """A node is lost with all that was on it, invocations under way among it."""

    PRIORITY: ClassVar[int] = 3
    node: str


@dataclass(frozen=True, slots=True)
class NodeUp:
    """A lost node is back, empty: whoever sends this has cleared what it may still have held."""

    PRIORITY: ClassVar[int] = 3
    node: str


@dataclass(frozen=True, slots=True)
class Stop:
    """The service ends; all that has not ended fails with ServiceStopped, later requests are refused."""

    PRIORITY: ClassVar[int] = 5


Event = (
    Register | Preload | Invoke | Cancel | FetchDone | CopyDone | LoadDone | ExecStarted | ExecDone | ContainerFailed
    | IdleTimer | NodeDown | NodeUp | Stop
)  # fmt: skip


# ---- effects


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a Register (``registration``) or an Invoke (``invocation``), or the ``cause`` of the refusal."""

    request: int
    registration: str = ""
    invocation: int = 0
    cause: FailureCause | None = None


@dataclass(frozen=True, slots=True)
class StartFetch:
    """Download ``image`` from the registry to the head; ends in a FetchDone."""

    image: Image


@dataclass(frozen=True, slots=True)
class RemoveFromHead:
    """Delete an image at the head."""

    image: str


@dataclass(frozen=True, slots=True)
class StartCopy:
    """Copy ``image`` from the head to the node's disk; ends in a CopyDone unless the node is lost."""

    transfer: int
    image: Image
    node: str


@dataclass(frozen=True, slots=True)
class StartLoad:
    """Read ``image`` from the node's disk into its memory (``ram_bytes``); ends in a LoadDone unless it is lost."""

    transfer: int
    image: Image
    node: str


@dataclass(frozen=True, slots=True)
class RemoveFromNode:
    """Delete an image on a node's disk, and its copy in memory if there is one."""

    image: str
    node: str


@dataclass(frozen=True, slots=True)
class Unload:
    """Drop an image from a node's memory; it stays on disk."""

    image: str
    node: str


@dataclass(frozen=True, slots=True)
class Run:
    """Run an invocation: unless ``hot``, start the container first; ends in an ExecDone or a ContainerFailed.

    ``overhead_s`` passes (a real start of the container included) before the code starts. ``limit_s`` is how long the
    code may then run: None for ever, 0 not at all.
    """

    invocation: int
    container: int
    node: str
    registration: str
    kind: StartKind
    overhead_s: float
    limit_s: float | None
    payload: str

    @property
    def hot(self) -> bool:
        """Whether the container is there already."""
        return self.kind == "hot"


@dataclass(frozen=True, slots=True)
class Terminate:
    """End a container, whatever it does, and delete its private storage; no event answers."""

    container: int
    node: str


@dataclass(frozen=True, slots=True)
class ArmTimer:
    """Hand over an IdleTimer at the moment ``at``. A container never has two of them under way.

    Container 0 is the service itself, which tries failed transfers again; it may have several.
    """

    container: int
    at: float


@dataclass(frozen=True, slots=True)
class Notify:
    """Tell the caller that its invocation ended; once for each accepted one."""

    record: InvocationRecord


@dataclass(frozen=True, slots=True)
class Note:
    """Something for the log: a decision of a policy that could not be carried out, and why."""

    text: str


Effect = (
    Answer | StartFetch | RemoveFromHead | StartCopy | StartLoad | RemoveFromNode | Unload | Run | Terminate | ArmTimer
    | Notify | Note
)  # fmt: skip
