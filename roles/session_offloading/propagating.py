"""Values on their way from a function to the receivers above it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from roles.session_offloading.edgedb import Propagated
from roles.session_offloading.messages import Refused
from testbed.roles.web import WebReply

if TYPE_CHECKING:
    from roles.session_offloading.location import Location


async def propagate(location: Location, value: Propagated) -> None:
    """Hand a value to all locations that it is meant for, side by side; raises Refused (502) if one is not reached."""
    body = json.dumps({"value": value.value, "function": value.function}, ensure_ascii=False)

    async def send(target: str) -> WebReply:
        return await location.courier.send(target, "receive-propagate", body.encode("utf-8", "surrogatepass"))

    targets = location.place.reached(value.level)
    replies = await asyncio.gather(*map(send, targets), return_exceptions=True)
    for target, reply in zip(targets, replies, strict=True):
        if isinstance(reply, BaseException):
            raise reply
        if reply.status >= 300:
            raise Refused(502, f"{value.function} at {target} failed: {reply.status} {reply.text[:200].strip()}")
