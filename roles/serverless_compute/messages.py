"""The messages of the service. On the wire each is a JSON object; fields that have their default are left out.

Clients talk to the head, the head to registry and nodes, nodes announce themselves to the head. Times are seconds on
the run's reference clock, sizes are bytes. A reply with a ``cause`` (a code of ``causes.py``) reports a refusal or a
failure, ``detail`` says it to a person.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from testbed.roles.api import Method

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
Bytes = Annotated[int, Field(ge=0, lt=10**18)]
Seconds = Annotated[float, Field(ge=0, lt=1e9)]
REFUSED = "refused"

# ---- between a client and the head


@dataclass(frozen=True, slots=True)
class Register:
    """Register a function; each request gives a registration of its own.

    ``code`` names the function of the experiment that runs, by default ``function`` itself. ``ram_bytes`` is what the
    image takes in memory, by default as much as on disk.
    """

    __pydantic_config__ = _STRICT
    function: str
    image: str
    image_bytes: Bytes
    ram_bytes: Bytes | None = None
    code: str = ""
    time_limit_s: float | None = None
    storage_bytes: Bytes = 512_000_000
    memory_bytes: Bytes = 0


@dataclass(frozen=True, slots=True)
class Registered:
    """The registration, to be invoked by this identifier; empty if it was refused."""

    __pydantic_config__ = _STRICT
    registration: str = ""
    cause: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Invoke:
    """Invoke a registration, or a function by its name, which means its first registration that is in force.

    The answer waits ``wait_s`` for the end: 0 gives the invocation's number at once, None waits as long as it takes.
    """

    __pydantic_config__ = _STRICT
    function: str
    payload: str = ""
    wait_s: Seconds | None = 0.0


@dataclass(frozen=True, slots=True)
class Result:
    """Ask for an invocation; the answer waits up to ``wait_s`` for its end."""

    __pydantic_config__ = _STRICT
    invocation: int
    wait_s: Seconds = 0.0


@dataclass(frozen=True, slots=True)
class Cancel:
    """Call an invocation off; nothing happens if it has ended."""

    __pydantic_config__ = _STRICT
    invocation: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How an invocation stands. ``state`` is a word of ``model.State``, or ``refused`` if there is no invocation.

    ``invocation`` is its number, 0 if it was refused.
    """

    __pydantic_config__ = _STRICT
    state: str
    invocation: int = 0
    node: str = ""
    start_kind: str = ""
    output: str = ""
    cause: str = ""
    detail: str = ""
    t_submit: float | None = None
    t_admit: float | None = None
    t_schedulable: float | None = None
    t_dispatch: float | None = None
    t_start: float | None = None
    t_end: float | None = None


@dataclass(frozen=True, slots=True)
class AskStatus:
    """Ask for the service's state."""
    __pydantic_config__ = _STRICT


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """A compute node as the head sees it; None: no limit."""

    __pydantic_config__ = _STRICT
    node: str
    up: bool
    slots: int
    disk_bytes: float | None
    memory_bytes: float | None


@dataclass(frozen=True, slots=True)
class Status:
    """The nodes in the order in which policies prefer them, and the registrations with the function of each."""

    __pydantic_config__ = _STRICT
    nodes: tuple[NodeStatus, ...]
    registrations: dict[str, str]


# ---- between head and registry


@dataclass(frozen=True, slots=True)
class AddImage:
    """Make an image of this size; one of the same name is replaced."""

    __pydantic_config__ = _STRICT
    image: str
    size_bytes: Bytes


@dataclass(frozen=True, slots=True)
class Done:
    """A piece of work ended: well, or with a ``cause``."""
    __pydantic_config__ = _STRICT
    cause: str = ""
    detail: str = ""


# ---- between node and head


@dataclass(frozen=True, slots=True)
class Announce:
    """A node is there, at ``endpoint``; sent at the start and as a heartbeat. None: no limit.

    ``life`` is when it started and ``beat`` counts its announcements, so that late ones are told from new ones.
    ``epoch`` is the head's name for this membership as the node knows it.
    """

    __pydantic_config__ = _STRICT
    node: str
    endpoint: str
    slots: Annotated[int, Field(ge=1, le=100_000)]
    disk_bytes: Bytes | None
    memory_bytes: Bytes | None
    life: float
    beat: int
    epoch: str = ""


@dataclass(frozen=True, slots=True)
class Welcome:
    """What the head calls this membership. A node that knew another one clears itself and announces itself anew."""

    __pydantic_config__ = _STRICT
    epoch: str


Room = tuple[str, str | int]  # ("end", container), ("remove", image) or ("unload", image)


@dataclass(frozen=True, slots=True)
class Tidy:
    """Make room: end containers, remove images from disk or memory."""

    __pydantic_config__ = _STRICT
    epoch: str
    number: int
    room: tuple[Room, ...] = ()


@dataclass(frozen=True, slots=True)
class Copy:
    """Copy an image from the files served at ``source``; it has failed if nothing comes for ``patience_s``."""

    __pydantic_config__ = _STRICT
    epoch: str
    number: int
    image: str
    source: str
    patience_s: Seconds
    room: tuple[Room, ...] = ()


@dataclass(frozen=True, slots=True)
class Load:
    """Read an image from disk into memory."""

    __pydantic_config__ = _STRICT
    epoch: str
    number: int
    image: str
    room: tuple[Room, ...] = ()


@dataclass(frozen=True, slots=True)
class Keep:
    """Have an image on disk without a transfer: it was there before the story begins."""

    __pydantic_config__ = _STRICT
    epoch: str
    number: int
    image: str
    size_bytes: Bytes
    room: tuple[Room, ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """Run an invocation; a container that is not there is started first, which takes ``overhead_s`` at least.

    ``code`` names a function of the experiment. ``limit_s`` bounds the code: None not at all. Real code gets
    ``storage_bytes`` and ``memory_bytes`` (0: what the experiment says).
    """

    __pydantic_config__ = _STRICT
    epoch: str
    number: int
    invocation: int
    container: int
    code: str
    payload: str
    hot: bool = False
    overhead_s: Seconds = 0.0
    limit_s: float | None = None
    storage_bytes: Bytes = 0
    memory_bytes: Bytes = 0
    room: tuple[Room, ...] = ()


@dataclass(frozen=True, slots=True)
class Ended:
    """The code ran from ``t_start`` to ``t_end``; without a start, there was no container to run it in."""

    __pydantic_config__ = _STRICT
    t_start: float | None = None
    t_end: float = 0.0
    output: str = ""
    cause: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Ask:
    """Whether an invocation's code runs."""

    __pydantic_config__ = _STRICT
    invocation: int


@dataclass(frozen=True, slots=True)
class Began:
    """When an invocation's code began; None: it did not, or has ended."""

    __pydantic_config__ = _STRICT
    t_start: float | None = None


Order = Tidy | Copy | Load | Keep | Run  # what the head orders of a node, numbered from 0 within an epoch

REGISTER = Method("POST /register", Register, Registered)
INVOKE = Method("POST /invoke", Invoke, Progress)
RESULT = Method("GET /invocation/", Result, Progress)
CANCEL = Method("DELETE /invocation/", Cancel, Progress)
STATUS = Method("GET /status", AskStatus, Status)
ANNOUNCE = Method("POST /node", Announce, Welcome)
ADD_IMAGE = Method("POST /image", AddImage, Done)
TIDY = Method("POST /tidy", Tidy, Done)
COPY = Method("POST /copy", Copy, Done)
LOAD = Method("POST /load", Load, Done)
KEEP = Method("POST /keep", Keep, Done)
RUN = Method("POST /run", Run, Ended)
ASK = Method("POST /ask", Ask, Began)
METHODS: tuple[Method[Any, Any], ...] = (
    REGISTER, INVOKE, RESULT, CANCEL, STATUS, ANNOUNCE, ADD_IMAGE, TIDY, COPY, LOAD, KEEP, RUN, ASK)  # fmt: skip
