"""The parameters of the roles."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainSerializer

from testbed import units
from testbed.errors import TestbedError
from testbed.roles.api import Parameters, Site
from testbed.roles.fields import OwnPolicy, Port, policy_among

_BUILT_IN = ("fcfs", "random", "balancing")


def _pace(value: object) -> object:
    if value is None or isinstance(value, float):
        return value
    if isinstance(value, str) and value.endswith("/s"):
        amount = float(units.size(value.removesuffix("/s")))
        if amount:
            return amount
    raise units.refuse("a disk speed in bytes per second, such as 100MB/s; leave it out for no limit")


Pace = Annotated[
    float | None,
    BeforeValidator(_pace),
    PlainSerializer(lambda v: None if v is None else f"{v:.0f}B/s"),
    units.Unit("disk speed, such as `100MB/s`"),
]


Scheduler = Annotated[Literal["fcfs", "random", "balancing"] | OwnPolicy, policy_among(_BUILT_IN)]


class RegistryOptions(Parameters):
    """The registry that has all images at the start."""

    port: Port = Field(8092, description="Port for requests.")
    files_port: Port = Field(8192, description="Port that gives images.")
    disk_read: Pace = Field(None, description="Speed at which images are read; they share it.")


class HeadOptions(Parameters):
    """The head: takes calls, keeps images, decides what runs where."""

    port: Port = Field(8090, description="Port for clients and for the nodes' announcements.")
    files_port: Port = Field(8190, description="Port that gives images to nodes.")
    scheduler: Scheduler = Field(
        "fcfs",
        description="Who runs next and where: first come first served, at random, work balanced over the nodes, or "
        "`FILE.py:FUNCTION` with a policy of your own.",
    )
    storage: units.Size | None = Field(None, description="Room for images at the head; by default no limit.")
    head_full: Literal["reject", "queue"] = Field(
        "reject", description="What becomes of a call whose image has no room there: refused, or it waits for room."
    )
    max_queue: int | None = Field(None, ge=0, description="Calls that may wait for a slot; more are refused.")
    processing: units.Delay = Field(0.0, description="The head's work on each call, one call after the other.")
    cold_start: units.Delay = Field(0.0, description="A container's start; a real one's time counts towards it.")
    hot_start: units.Delay = Field(0.0, description="Overhead of a call in a container that is there already.")
    idle_timeout: units.Delay | Literal["never"] = Field(
        60.0, description="An idle container ends after this time; 0: with its call, so that no start is ever hot."
    )
    eviction: Literal["lru", "ram"] = Field(
        "lru", description="Which idle containers go first where room lacks: longest idle, or best fit in memory."
    )
    evict_idle_for_images: bool = Field(True, description="Idle containers go also where an image lacks room.")
    timeout_scope: Literal["code", "dispatch"] = Field(
        "code", description="Whether a function's time limit counts from the start of its code or from the dispatch."
    )
    resident: Literal["registry", "head", "disk", "memory"] = Field(
        "registry",
        description="How far the images have come before the story begins: `disk` and `memory` are those of all nodes.",
    )
    disk_read: Pace = Field(None, description="Speed at which images are read; copies share it.")
    disk_write: Pace = Field(None, description="Speed at which images are written; downloads share it.")
    patience: units.Delay = Field(10.0, gt=0, description="A transfer of which nothing comes for so long has failed.")
    expire_after: units.Delay = Field(3.5, gt=0, description="Silence after which a node counts as lost.")
    registry: str | None = Field(
        None, description="Node or address to fetch images from, `:port` optional; by default the nearest registry."
    )


class NodeOptions(Parameters):
    """A compute node."""

    port: Port = Field(8091, description="Port for the head's orders.")
    slots: int | None = Field(
        None, ge=1, le=100_000, description="Calls at a time; by default the sum of the functions' `concurrency`."
    )
    disk: units.Size | None = Field(None, description="Room for images and containers; by default no limit.")
    memory: units.Size | None = Field(None, description="Room for loaded images and containers; by default no limit.")
    disk_read: Pace = Field(None, description="Speed at which images are loaded and functions read.")
    disk_write: Pace = Field(None, description="Speed at which copies and what functions write are written.")
    speed: float = Field(1e9, gt=0, description="Operations a second of each slot, for functions that are modelled so.")
    heartbeat: units.Delay = Field(1.0, gt=0, description="Time between announcements to the head.")
    head: str | None = Field(
        None, description="Node or address to work for, `:port` optional; by default the nearest head."
    )


class ClientOptions(Parameters):
    """A client."""

    head: str | None = Field(
        None, description="Node or address to call, `:port` optional; by default the nearest head."
    )


def located(site: Site, role: str, text: str | None, port: int) -> str | None:
    """``address:port`` of what ``text`` names (a node or an address, ``:port`` optional), else of the nearest ``role``.

    None if nobody has that role; raises TestbedError for a name that stands for no agent's node.
    """
    if text is None:
        node = site.nearest(role)
        return site.endpoint(node, port) if node else None
    name, colon, number = text.rpartition(":")
    if not (colon and number.isdigit() and (":" not in name or name.endswith("]"))):
        name, number = text, ""
    name = name.strip("[]")
    if name in site.addresses:
        return site.endpoint(name, int(number or port))
    if name not in site.addresses.values():
        told = f"The {site.role} on {site.node} is told to use the {role} {text!r}"
        raise TestbedError(f"{told}, which is neither a node with an agent nor the address of one.")
    return f"[{name}]:{number or port}" if ":" in name else f"{name}:{number or port}"
