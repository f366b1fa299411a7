"""Session offloading as a system under test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from roles.session_offloading import datasets, invariants
from roles.session_offloading.client import SessionClient
from roles.session_offloading.location import Location
from roles.session_offloading.oracle import Oracle
from testbed.roles.api import Duty, Invariant, Role, System, Wire
from testbed.roles.web_wire import WebWire
from testbed.tables import Table


class SessionOffloading(System):
    """A tree of locations between edge and cloud; sessions move up and down, and clients are redirected to them."""

    name: ClassVar[str] = "session_offloading"
    roles: ClassVar[Mapping[str, type[Role]]] = {"location": Location, "oracle": Oracle, "client": SessionClient}
    duties: ClassVar[Mapping[Duty, str]] = {
        "control": "oracle", "gateway": "location", "worker": "location", "client": "client",
    }  # fmt: skip
    tables: ClassVar[tuple[Table, ...]] = datasets.ALL
    invariants: ClassVar[tuple[Invariant, ...]] = invariants.ALL
    sees_network: ClassVar[bool] = True

    def wire(self) -> Wire:
        """Plain HTTP, for ``curl`` as well."""
        return WebWire()


SYSTEM = SessionOffloading()
