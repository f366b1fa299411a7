"""OpenWhisk as a system under test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from roles.openwhisk import datasets, invariants
from roles.openwhisk.client import WskClient
from roles.openwhisk.errors import refusal
from roles.openwhisk.invoker import InvokerRole
from roles.openwhisk.server import Server
from testbed.roles.api import Duty, Invariant, Role, System, Wire
from testbed.roles.web import WebReply
from testbed.roles.web_reader import WebLimits
from testbed.roles.web_wire import WebWire
from testbed.tables import Table

LIMITS = WebLimits(body_bytes=72 << 20, connections=2048)  # code of the largest size, in base64 and JSON


def refuse(status: int, why: str) -> WebReply:
    """The answer to a request that no handler gets to see."""
    return refusal(status, why, "0" * 32)


class OpenWhisk(System):
    """An OpenWhisk-compatible server; actions run in containers, cold or warm, under limits of time and memory.

    Without invokers, a server runs them itself.
    """

    name: ClassVar[str] = "openwhisk"
    roles: ClassVar[Mapping[str, type[Role]]] = {
        "server": Server, "invoker": InvokerRole, "client": WskClient,
    }  # fmt: skip
    duties: ClassVar[Mapping[Duty, str]] = {"gateway": "server", "worker": "invoker", "client": "client"}
    tables: ClassVar[tuple[Table, ...]] = datasets.ALL
    invariants: ClassVar[tuple[Invariant, ...]] = invariants.ALL

    def wire(self) -> Wire:
        """Plain HTTP, for any client of OpenWhisk."""
        return WebWire(LIMITS, refuse=refuse)


SYSTEM = OpenWhisk()
