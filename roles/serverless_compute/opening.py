"""What the head begins with: the core for the nodes that are there, the experiment's functions, resident images."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Mapping

from roles.serverless_compute.core import Core
from roles.serverless_compute.events import Preload
from roles.serverless_compute.model import FunctionSpec, Image, NodeSpec, ServiceConfig
from roles.serverless_compute.options import HeadOptions
from roles.serverless_compute.policies import policy
from testbed.roles.api import Function
from testbed.roles.fields import OwnPolicy


def function_of(function: Function) -> FunctionSpec:
    """A function of the experiment as it is registered."""
    image = Image(function.image or function.name, function.image_bytes, function.image_bytes)
    return FunctionSpec(
        function.name, image, function.name, function.time_limit_s, function.storage_bytes, function.memory_bytes
    )


def core_for(
    options: HeadOptions, specs: Mapping[str, NodeSpec], expected: Iterable[str], rng: random.Random
) -> Core:
    """The core; nodes in the order of the experiment.

    One that is expected and not there is taken for a machine like the first that is.
    """
    first = next(iter(specs.values()))
    absent = {name: NodeSpec(name, first.slots, first.disk_bytes, first.memory_bytes) for name in expected}
    nodes = {**absent, **specs}
    config = ServiceConfig(
        nodes=tuple(nodes.values()),
        head_bytes=math.inf if options.storage is None else options.storage,
        cold_start_s=options.cold_start,
        hot_start_s=options.hot_start,
        processing_s=options.processing,
        idle_timeout_s=math.inf if options.idle_timeout == "never" else options.idle_timeout,
        eviction=options.eviction,
        head_full=options.head_full,
        max_queue=options.max_queue,
        evict_idle_for_images=options.evict_idle_for_images,
        timeout_scope=options.timeout_scope,
    )
    scheduler = options.scheduler
    return Core(config, policy(scheduler.load() if isinstance(scheduler, OwnPolicy) else scheduler, rng))


def resident(options: HeadOptions, images: Iterable[Image], nodes: Iterable[str]) -> Iterator[Preload]:
    """The images that are at the head, and on nodes, before the story begins."""
    if options.resident == "registry":
        return
    for image in images:
        yield Preload(image)
        if options.resident != "head":
            for node in nodes:
                yield Preload(image, node, options.resident == "memory")
