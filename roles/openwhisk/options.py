"""The parameters of the roles."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from testbed.roles.api import Parameters
from testbed.roles.fields import KeyFile, Port
from testbed.units import Delay, Size

PORT = 3233  # of the original's stand-alone server
INVOKER_PORT = 12001  # of the original's invokers
MB = 1 << 20


Count = Annotated[int | None, Field(ge=0)]


class NamespaceLimits(BaseModel):
    """What one namespace may do."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    per_minute: Count = Field(120, description="Invocations that begin in a minute of the clock; null: no limit.")
    concurrent: Count = Field(100, description="Invocations at a time; null: no limit.")


class Prewarm(BaseModel):
    """Containers that wait for an action of one kind."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = Field(description="python:3, nodejs:20 or model:1.")
    count: int = Field(1, ge=1, le=100, description="How many wait.")
    memory: Size = Field(256 * MB, description="The memory of each; actions that need no more can have it.")


class PoolOptions(Parameters):
    """What server and invoker have in common: the pool of containers."""

    memory: Size = Field(1024 * MB, ge=128 * MB, description="Of all containers together; or what the host may have.")
    keep_alive: Delay = Field(600.0, description="A container that nobody needs is removed after this.")
    prewarm: tuple[Prewarm, ...] = Field((), description="Containers that are started ahead, by kind.")
    cold_start: Delay = Field(0.4, description="Modelled actions: making a container, unless one is prewarmed.")
    init: Delay = Field(0.05, description="Modelled actions: loading the action into it (initTime).")
    speed: float = Field(1.0, gt=0, description="Modelled actions run so many times as fast as they say.")
    most_waiting: int = Field(10_000, ge=1, description="Invocations that wait for room; more are refused (503).")


class ServerOptions(PoolOptions):
    """A server: interface, limits, and a pool of its own where no invoker is placed."""

    port: Port = Field(PORT, description="Of the interface.")
    auth: KeyFile | dict[str, str] = Field(
        None, description="File with lines NAMESPACE UUID:SECRET, or the keys by namespace (then they are in the run's "
        "files); default: the original's public ones, of guest and whisk.system."
    )
    namespace: str = Field("guest", description="Where the experiment's functions are.")
    limits: NamespaceLimits = Field(NamespaceLimits(), description="What a namespace may do, unless said otherwise.")
    namespaces: dict[str, NamespaceLimits] = Field(
        {"whisk.system": NamespaceLimits(per_minute=None, concurrent=None)},
        description="What single namespaces may do; that of the experiment's clients is whisk.system.",
    )
    blocking_wait: Delay = Field(60.0, gt=0, le=300, description="A blocking invocation is waited for so long at most.")
    payload: Size = Field(MB, description="Most bytes of arguments, and of a result.")
    code: Size = Field(48 * MB, description="Most bytes of an action's code.")
    min_memory: Size = Field(128 * MB, description="Least memory that an action may ask for.")
    max_memory: Size = Field(512 * MB, description="Most memory that an action may ask for.")
    min_time: Delay = Field(0.1, description="Shortest time limit of an action.")
    max_time: Delay = Field(300.0, description="Longest time limit of an action.")
    max_sequence: int = Field(50, ge=1, description="Most actions in a sequence.")
    persist: bool = Field(True, description="Whether actions and packages survive a crash of the agent.")
    keep_activations: int = Field(10_000, ge=1, description="Records that are kept; the oldest go first.")
    keep_bytes: Size = Field(64_000_000, description="Bytes of results and logs that are kept.")
    invoker_port: Port = Field(INVOKER_PORT, description="Of the invokers, if there are any.")
    invoker_timeout: Delay = Field(5.0, gt=0, description="An invoker that says nothing for so long counts as down.")
    answer_wait: Delay = Field(60.0, description="Beside twice its time limit, an invocation at an invoker is given up "
                               "after this.")  # fmt: skip


class InvokerOptions(PoolOptions):
    """An invoker: runs what a server sends it."""

    port: Port = Field(INVOKER_PORT, description="Of its interface to the server.")


class ClientOptions(Parameters):
    """A client of the experiment."""

    server: str | None = Field(None, description="The server it asks; default: the one with the fewest hops.")
    port: Port = Field(PORT, description="Of the server.")
    namespace: str = Field("guest", description="Where the functions are.")
    user: str = Field("whisk.system", description="Whose key it shows; the limits of that namespace are for it.")
    auth: KeyFile | dict[str, str] = Field(None, description="As at the server; default: the public ones.")
