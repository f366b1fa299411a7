"""The serverless compute service as a system under test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from roles.serverless_compute import datasets, invariants
from roles.serverless_compute.client import ComputeClient
from roles.serverless_compute.node import Node
from roles.serverless_compute.registry import Registry
from roles.serverless_compute.service import Service
from roles.serverless_compute.wire import HttpWire
from testbed.roles.api import Duty, Invariant, Role, System, Wire
from testbed.tables import Table


class ServerlessCompute(System):
    """A head that keeps images and decides, nodes with slots and disks, a registry that images come from."""

    name: ClassVar[str] = "serverless_compute"
    roles: ClassVar[Mapping[str, type[Role]]] = {
        "registry": Registry,
        "head": Service,
        "node": Node,
        "client": ComputeClient,
    }
    duties: ClassVar[Mapping[Duty, str]] = {
        "control": "registry",
        "gateway": "head",
        "worker": "node",
        "client": "client",
    }
    tables: ClassVar[tuple[Table, ...]] = datasets.ALL
    invariants: ClassVar[tuple[Invariant, ...]] = invariants.ALL

    def wire(self) -> Wire:
        """HTTP/1.1 with JSON bodies."""
        return HttpWire()


SYSTEM = ServerlessCompute()
