"""What the tests of the router put into it and look at."""

from __future__ import annotations

from typing import Any

from roles.serverless_on_edge.messages import Action, EdgeRouterConf, TableId
from testbed.roles.api import Function

FUNCTIONS = {"f": Function(name="f", service_s=0.1), "g": Function(name="g", service_s=0.1)}


def put(destination: str, final: bool = True, weight: float = 1.0, function: str = "f") -> EdgeRouterConf:
    return EdgeRouterConf(Action.CHANGE, function, destination, weight, final)


async def destinations(router: Any, table: int) -> list[tuple[str, str]]:
    return [(entry.function, entry.destination) for entry in (await router.get_table(TableId(table))).entries]
