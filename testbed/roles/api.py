"""The roles API: one code base for a system under test, in emulation and in the deterministic twin.

A **System** bundles the **Role**s of one system under test, the **Wire** that carries its messages, and how a client
invokes a function. Role logic is asyncio code that reaches the world through an **Environment** only: no socket, no
clock, no ``random``.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from testbed.roles.invariants import Invariant as Invariant
from testbed.roles.invariants import Observed as Observed
from testbed.roles.resources import Container as Container
from testbed.roles.resources import Files as Files
from testbed.roles.resources import FunctionResult as FunctionResult
from testbed.roles.resources import Journal as Journal
from testbed.roles.site import Function as Function
from testbed.roles.site import Site as Site
from testbed.tables import Row, Table

Request = TypeVar("Request")
Reply = TypeVar("Reply")

Duty = Literal["control", "gateway", "worker", "client"]
Status = Literal["ok", "error", "rejected", "timeout", "dropped", "lost", "unsent"]


class CallFailed(Exception):
    """A call got no answer from the application: ``kind`` is ``unreachable``, ``timeout`` or ``protocol``.

    An answer that reports an application error is a reply like any other and never raises this.
    """

    def __init__(self, kind: Literal["unreachable", "timeout", "protocol"], detail: str) -> None:
        self.kind, self.detail = kind, detail
        super().__init__(f"{kind}: {detail}")


class ContainerFailed(Exception):
    """A container could not be started: the function's file is broken, or the machine has no room."""


@dataclass(frozen=True, slots=True)
class Method(Generic[Request, Reply]):
    """A remote procedure: its name on the wire, its message types, and whether the reply is a stream of messages."""

    name: str
    request: type[Request]
    reply: type[Reply]
    streams: bool = False


Handler = Callable[[Any], Awaitable[Any]]
StreamHandler = Callable[[Any], AsyncIterator[Any]]
Service = Mapping[Method[Any, Any], Handler | StreamHandler]
Answer = Callable[[str], Awaitable[str]]


class Wire(Protocol):
    """How one system's messages travel in the live world; the codec half also gives the twin their true size.

    A fresh instance serves one agent; ``close`` ends its servers and connections.
    """

    def encode(self, message: Any) -> bytes: ...

    def decode(self, kind: type[Any], data: bytes) -> Any: ...

    async def serve(self, host: str, port: int, service: Service) -> None:
        """Listen on this address only; raises OSError if it is taken."""

    async def call(self, address: str, method: Method[Request, Reply], message: Request, timeout: float) -> Reply:
        """Call ``host:port`` (IPv6 in brackets); raises CallFailed."""

    def stream(self, address: str, method: Method[Request, Reply], message: Request) -> AsyncIterator[Reply]:
        """Subscribe to a streaming method; raises CallFailed when the stream breaks."""

    def framing(self, method: Method[Any, Any], *, reply: bool) -> int:
        """Bytes that travel with a message beside its encoded form: headers and frames, on a connection in use."""

    async def close(self) -> None: ...


class Environment(Protocol):
    """The world as a role sees it. ``now`` is seconds on the run's reference clock."""

    node: str

    def now(self) -> float: ...

    def wall(self) -> float:
        """Seconds since 1970, as calendars count them, for what outsiders read; in the twin from a fixed day on."""

    async def sleep(self, seconds: float) -> None: ...

    def rng(self, name: str) -> random.Random:
        """The random stream ``name`` of this node and role; the same object at each call."""

    async def serve(self, port: int, service: Service) -> None:
        """Answer these methods on ``port`` of this node's own address; ready when it returns."""

    async def call(
        self, address: str, method: Method[Request, Reply], message: Request, timeout: float = 10.0
    ) -> Reply:
        """Call a method at ``host:port``; raises CallFailed when no answer came within ``timeout`` seconds."""

    def stream(self, address: str, method: Method[Request, Reply], message: Request) -> AsyncIterator[Reply]:
        """The messages of a streaming method; raises CallFailed when it breaks."""

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run ``coroutine`` beside the role; an error in it ends the agent with that error."""

    async def run_function(
        self, name: str, payload: str, answer: Answer | None = None, workers: int | None = None
    ) -> FunctionResult:
        """Run a real function in its own limited worker; never raises for what the function does.

        There are as many workers of it as it allows (``concurrency``), or ``workers``, the same number at each call.

        ``answer`` gets each text that the function passes to ``ctx.ask`` and returns what that call gives; without it,
        asking is an error in the function. In the twin it must not wait for anything.
        """

    async def container(
        self,
        function: Function,
        storage_bytes: int,
        *,
        write_rate: float | None = None,
        read_rate: float | None = None,
    ) -> Container:
        """Start a worker for ``function`` with a private folder of ``storage_bytes``; raises ContainerFailed.

        ``ctx.write`` and ``ctx.read`` take the time that the rates (bytes per second) give; None: none of their own.
        """

    def files(self, name: str, read_rate: float | None = None, write_rate: float | None = None) -> Files:
        """The agent's disk called ``name``, empty at first; rates in bytes per second, None: no limit of our own."""

    def journal(self, name: str) -> Journal:
        """The agent's journal ``name``, with what an earlier agent of this node and role wrote in this run."""

    def emit(self, table: str, row: Row) -> None:
        """Append a row to one of the system's tables; missing columns stay empty, unknown ones raise."""


class Parameters(BaseModel):
    """The base of a role's typed parameters. Field aliases are the option names of the original system."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Role(ABC):
    """One component of a system under test, as it runs on one node.

    ``start`` returns when the role serves and is ready for traffic; the agent then lives until it is stopped, when
    ``stop`` may say good-bye to others. ``templates`` names Jinja2 files in the system's folder ``templates/`` that are
    rendered with ``site`` and ``parameters`` and put into the agent's folder under their name without ``.j2``.
    """

    parameters_model: ClassVar[type[Parameters]] = Parameters
    templates: ClassVar[tuple[str, ...]] = ()
    takes_code: ClassVar[bool] = False  # whether it runs code that is not the experiment's, as others send it

    def __init__(self, site: Site, parameters: Any) -> None:
        self.site = site
        self.parameters = parameters

    @abstractmethod
    async def start(self, env: Environment) -> None: ...

    async def stop(self, env: Environment) -> None:  # noqa: B027 - optional
        """Say good-bye; called once on an orderly stop, with two seconds at most."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """One scheduled invocation. ``t_scheduled`` is seconds after the start of the workload.

    ``user`` is empty in an open loop; in a closed one, a user has one invocation under way at most.
    """

    invocation_id: int
    t_scheduled: float
    client: str
    function: str
    payload: str
    session: str = ""
    phase: Literal["warmup", "measure", "cooldown"] = "measure"
    user: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a system's client saw of one invocation; None where the system does not tell."""

    status: Status
    error: str = ""
    node: str = ""
    hops: int | None = None
    init_s: float | None = None
    queue_s: float | None = None
    exec_s: float | None = None
    cold: bool | None = None
    load: float | None = None
    response_bytes: int | None = None
    retries: int = 0
    output: str = ""


class Client(Role):
    """The role that fires the workload; its logic is the framework's, ``invoke`` is the system's."""

    async def start(self, env: Environment) -> None:
        """Prepare connections; the workload begins later, when all agents are ready."""

    @abstractmethod
    async def invoke(self, env: Environment, invocation: Invocation, timeout: float) -> Outcome:
        """Carry out one invocation. Any failure is an Outcome; nothing is raised for what the network does."""


class System(ABC):
    """A system under test. The module ``roles/<name>/system.py`` has one instance, called ``SYSTEM``.

    ``duties`` translates the neutral words of an experiment (control, gateway, worker, client) to this system's roles,
    so that an experiment changes its system by changing one word.
    """

    name: ClassVar[str]
    roles: ClassVar[Mapping[str, type[Role]]]
    duties: ClassVar[Mapping[Duty, str]]
    tables: ClassVar[tuple[Table, ...]] = ()
    invariants: ClassVar[tuple[Invariant, ...]] = ()
    sees_network: ClassVar[bool] = False  # whether its agents are told the graph of the network

    @abstractmethod
    def wire(self) -> Wire: ...

    def wire_of(self, role: Role, folder: Path | None) -> Wire:
        """The wire of one agent, where a role's parameters matter to it; ``folder`` is its own, None in the twin."""
        return self.wire()

    def private_files(self, agents: Sequence[tuple[Site, Parameters]]) -> Mapping[tuple[str, str], Mapping[str, str]]:
        """Secrets that a run's agents get, made anew for each run: by node and role, texts by their path.

        The paths are below the agent's folder; nobody but the account that runs the agent can read the files.
        """
        return {}
