"""What is refused before it does harm: configurations and functions that make no sense, with a sentence each."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan

from roles.serverless_compute.causes import AlreadyRegistered, BadInput, FailureCause, NotAllowed
from roles.serverless_compute.model import FunctionSpec, Image, ServiceConfig


def refusal_of_config(config: ServiceConfig) -> BadInput | None:
    """What is wrong with a configuration, all of it in one text; None if nothing is."""
    found = ["A service needs at least one node."] if not config.nodes else []
    names = [node.name for node in config.nodes]
    found += [f"The node {name!r} is given twice." for name in sorted({n for n in names if names.count(n) > 1})]
    for node in config.nodes:
        if node.slots < 0:
            found.append(f"The node {node.name!r} has {node.slots} slots; give 0 or more.")
        found += _amounts(f"node {node.name!r}", disk_bytes=node.disk_bytes, memory_bytes=node.memory_bytes)
    found += _amounts("service", head_bytes=config.head_bytes, cold_start_s=config.cold_start_s,
                      hot_start_s=config.hot_start_s, processing_s=config.processing_s,
                      idle_timeout_s=config.idle_timeout_s, max_queue=config.max_queue or 0)  # fmt: skip
    for what, value, allowed in (
        ("eviction", config.eviction, ("lru", "ram")), ("head_full", config.head_full, ("reject", "queue")),
        ("timeout_scope", config.timeout_scope, ("code", "dispatch")),
    ):  # fmt: skip
        if value not in allowed:
            found.append(f"{what} is {value!r}; give {' or '.join(allowed)}.")
    return BadInput(" ".join(found)) if found else None


def refusal_of_function(
    function: FunctionSpec, functions: Mapping[str, FunctionSpec], images: Mapping[str, Image]
) -> FailureCause | None:
    """Why a function cannot be registered beside those known already; None if it can, room apart."""
    image = function.image
    found = [] if function.name and image.name else ["A function and its image need a name."]
    found += _amounts(f"function {function.name!r}", storage_bytes=function.storage_bytes,
                      memory_bytes=function.memory_bytes)  # fmt: skip
    found += _amounts(f"image {image.name!r}", size_bytes=image.size_bytes, ram_bytes=image.ram_bytes)
    if function.time_limit_s is not None and isnan(function.time_limit_s):
        found.append(f"The time limit of function {function.name!r} is not a number.")
    if found:
        return BadInput(" ".join(found))
    known = functions.get(function.name)
    if known is not None and (known.code, known.image.name) != (function.code, image.name):
        return AlreadyRegistered(f"{function.name!r} is registered here with other code. Use another name.")
    if images.get(image.name, image) != image:
        return AlreadyRegistered(f"The image {image.name!r} is known here with another size. Use another name.")
    return None


def too_large(function: FunctionSpec, short: str) -> NotAllowed:
    """The refusal of a function that fits no node, even an empty one."""
    disk = function.image.size_bytes + function.storage_bytes
    ram = function.image.ram_bytes + function.memory_bytes
    return NotAllowed(f"{short}: no node has room for the function {function.name!r} with its image, which take {disk} "
                      f"bytes of disk and {ram} bytes of memory.")  # fmt: skip


def too_large_for_head(image: Image, room: float) -> NotAllowed:
    """The refusal of a function whose image the head could never hold."""
    return NotAllowed(f"head: the image {image.name!r} ({image.size_bytes} bytes) is larger than the head's store "
                      f"({room:g} bytes).")  # fmt: skip


def _amounts(where: str, **amounts: float) -> list[str]:
    return [f"The {name} of {where} is {amount}; give 0 or more."
            for name, amount in amounts.items() if isnan(amount) or amount < 0]  # fmt: skip
