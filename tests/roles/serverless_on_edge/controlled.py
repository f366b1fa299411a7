"""What the tests of the controller look at."""

from __future__ import annotations

from typing import Any

from soe_world import World

from roles.serverless_on_edge.messages import TableId
from testbed.roles.api import Function

FUNCTIONS = {"f": Function(name="f", service_s=0.1)}


async def entries(router: Any) -> list[str]:
    return [f"{e.function} {e.destination}{' F' if e.final else ''}"
            for e in (await router.get_table(TableId(0))).entries]  # fmt: skip


def actions(world: World) -> list[str]:
    return [f"{row['kind']} {row['action']}" for row in world.rows["soe_members"]]
