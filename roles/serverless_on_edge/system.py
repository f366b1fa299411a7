"""ServerlessOnEdge as a system under test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from roles.openwhisk import datasets as wsk_datasets
from roles.openwhisk import invariants as wsk_server_invariants
from roles.openwhisk.server import Server
from roles.openwhisk.system import LIMITS, refuse
from roles.serverless_on_edge import chain_invariants, datasets, invariants, keys, wsk_invariants, wskproxy_invariants
from roles.serverless_on_edge.client import EdgeClient
from roles.serverless_on_edge.computer import Computer
from roles.serverless_on_edge.controller import Controller
from roles.serverless_on_edge.dispatcher import Dispatcher
from roles.serverless_on_edge.edge_wire import EdgeWire
from roles.serverless_on_edge.openfaas import Openfaas
from roles.serverless_on_edge.options import Options
from roles.serverless_on_edge.router import Router
from roles.serverless_on_edge.wire import GrpcWire
from roles.serverless_on_edge.wsk_computer import WskComputer
from roles.serverless_on_edge.wskproxy import WskProxy
from testbed.roles.api import Duty, Invariant, Parameters, Role, Site, System, Wire
from testbed.roles.web_wire import WebWire
from testbed.tables import Table


class ServerlessOnEdge(System):
    """Weighted routing of function calls at the edge, without the cloud and without a scheduler in the middle."""

    name: ClassVar[str] = "serverless_on_edge"
    roles: ClassVar[Mapping[str, type[Role]]] = {
        "controller": Controller,
        "router": Router,
        "dispatcher": Dispatcher,
        "computer": Computer,
        "client": EdgeClient,
        "openfaas": Openfaas,
        "wskproxy": WskProxy,
        "edgecomputerwsk": WskComputer,
        "openwhisk": Server,
    }
    duties: ClassVar[Mapping[Duty, str]] = {
        "control": "controller",
        "gateway": "router",
        "worker": "computer",
        "client": "client",
    }
    tables: ClassVar[tuple[Table, ...]] = (*datasets.ALL, *wsk_datasets.ALL)
    invariants: ClassVar[tuple[Invariant, ...]] = (
        *invariants.ALL, *chain_invariants.ALL, *wsk_invariants.ALL, *wskproxy_invariants.ALL,
        *wsk_server_invariants.ALL,
    )  # fmt: skip

    def wire(self) -> Wire:
        """gRPC with the original's messages, and HTTP."""
        return EdgeWire()

    def wire_of(self, role: Role, folder: Path | None) -> Wire:
        """The same, with TLS on the data path for a role that is ``secure``; OpenWhisk's own way to refuse for its."""
        if isinstance(role, Server):
            return EdgeWire(web=WebWire(LIMITS, refuse=refuse))
        options: Options = role.parameters
        grpc = GrpcWire(options.secure, lambda: keys.own(options.tls_conf, folder or Path()))
        if isinstance(role, WskComputer):
            return EdgeWire(grpc, WebWire(LIMITS, client_context=role.options.trust(role.site)))
        return EdgeWire(grpc, role.web(folder) if isinstance(role, WskProxy | EdgeClient) else None)

    def private_files(self, agents: Sequence[tuple[Site, Parameters]]) -> Mapping[tuple[str, str], Mapping[str, str]]:
        """Keys for those who are to be secure and have been given none."""
        return keys.made([site for site, given in agents if isinstance(given, Options) and given.makes_keys])


SYSTEM = ServerlessOnEdge()
