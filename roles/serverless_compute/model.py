"""The nouns of the service: nodes, images, functions, its configuration, and the record of an invocation.

Times are seconds, sizes are bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from roles.serverless_compute.causes import FailureCause

DEFAULT_STORAGE_BYTES = 512_000_000
StartKind = Literal["hot", "warm_image", "cold"]


class State(StrEnum):
    """Where an accepted invocation is; the last four are final."""

    NEW = "new"  # waits for room for its image at the head
    ADMITTED = "admitted"  # its image is being downloaded
    SCHEDULABLE = "schedulable"  # its image is at the head; no slot yet
    STARTING = "starting"  # holds a slot and a container
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"


FINAL = frozenset({State.COMPLETED, State.FAILED, State.TIMED_OUT, State.CANCELLED})


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """A compute node: how many invocations it runs at a time, and its room for images and containers."""

    name: str
    slots: int
    disk_bytes: float = math.inf
    memory_bytes: float = math.inf


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """The service. Nodes stand in the order in which policies prefer them.

    ``processing_s`` (the head's serial work on each call) is the driver's to spend, before it hands over an Invoke.
    ``idle_timeout_s`` 0 ends a container with its invocation, inf keeps it. ``max_queue`` bounds the accepted calls
    that wait for a slot; None: no bound. ``timeout_scope`` tells whether the start-up counts against the time limit.
    """

    nodes: tuple[NodeSpec, ...]
    head_bytes: float = math.inf
    cold_start_s: float = 0.0
    hot_start_s: float = 0.0
    processing_s: float = 0.0
    idle_timeout_s: float = 0.0
    eviction: Literal["lru", "ram"] = "lru"
    head_full: Literal["reject", "queue"] = "reject"
    max_queue: int | None = None
    evict_idle_for_images: bool = True
    timeout_scope: Literal["code", "dispatch"] = "code"


@dataclass(frozen=True, slots=True)
class Image:
    """A container image: its size on disks and on the wire, and what it takes in a node's memory once loaded."""

    name: str
    size_bytes: int
    ram_bytes: int = 0


@dataclass(frozen=True, slots=True)
class FunctionSpec:
    """A function as it is registered. ``code`` identifies what runs; ``time_limit_s`` None or <= 0: no limit.

    ``memory_bytes`` and ``storage_bytes`` are reserved on a node for each of its containers.
    """

    name: str
    image: Image
    code: str = ""
    time_limit_s: float | None = None
    storage_bytes: int = DEFAULT_STORAGE_BYTES
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class InvocationRecord:
    """An invocation as it ended. Moments that it did not reach are None; ``start_kind`` and ``node`` are empty then."""

    invocation: int
    registration: str
    state: State
    node: str
    start_kind: StartKind | Literal[""]
    output: Any
    cause: FailureCause | None
    t_submit: float
    t_admit: float | None
    t_schedulable: float | None
    t_dispatch: float | None
    t_start: float | None
    t_end: float
