"""A computer's parameters: the original's options, built-in types and JSON file, and the experiment's functions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from roles.serverless_on_edge.async_options import AsyncOptions
from roles.serverless_on_edge.computer_spec import (
    ComputerSpec,
    functions_computer,
    intel_server,
    raspberry,
    read_computer,
)
from roles.serverless_on_edge.options import (
    Conf,
    FromPairs,
    Port,
    SecondsAboveZero,
    endpoint,
    listed,
    typed,
)
from testbed import units
from testbed.errors import TestbedError
from testbed.roles.api import Site


class RaspberryConf(Conf):
    """The built-in small computer."""

    type: Literal["raspberry"]
    num_cpu_containers: int = Field(1, ge=0, description="Functions clambda0, clambda1, ... on the CPU.")
    num_cpu_workers: int = Field(4, gt=0, description="Workers of each of them.")
    num_gpu_containers: int = Field(1, ge=0, description="Functions glambda0, glambda1, ... on the GPU.")
    num_gpu_workers: int = Field(2, gt=0, description="Workers of each of them.")


class IntelServerConf(Conf):
    """The built-in large computer."""

    type: Literal["intel-server"]
    num_containers: int = Field(1, ge=0, description="Functions clambda0, clambda1, ...")
    num_workers: int = Field(4, gt=0, description="Workers of each of them.")


class FileConf(Conf):
    """A computer described by a JSON file in the original's format."""

    type: Literal["file"]
    path: Path = Field(description="The file, on the machine that carries the node.")


class InlineConf(ComputerSpec):
    """A computer described in place, with the keys of the original's JSON file."""

    type: Literal["inline"]
    version: Literal["1.0"] = "1.0"


class FunctionsConf(Conf):
    """Functions of the experiment: one processor for those that are modelled, a worker pool for the real ones.

    Where the topology lets the host have fewer cores or less memory, modelled functions share those.
    """

    type: Literal["functions"] = "functions"
    cores: int = Field(4, gt=0, description="Cores that modelled functions share.")
    speed: float = Field(1e9, gt=0, description="Operations a second of each core.")
    memory: units.Size = Field(8 * 2**30, description="Memory that modelled functions share.")
    offers: Annotated[tuple[str, ...], BeforeValidator(listed)] = Field(
        (), description="The modelled functions that it runs, of those of the experiment. By default all of them."
    )

    def computer(self, site: Site) -> ComputerSpec:
        """The modelled functions of an experiment on what the site has of all this."""
        modelled = [each for each in site.functions.values() if each.code is None]
        if unknown := {*self.offers} - {each.name for each in modelled}:
            raise TestbedError(f"{site.node} offers {', '.join(sorted(unknown))}: not modelled in this experiment.")
        modelled = [each for each in modelled if not self.offers or each.name in self.offers]
        return functions_computer(modelled, site.cores_of(self.cores), self.speed, site.memory_of(self.memory))


class HttpConf(Conf):
    """The gateway that an HTTP computer calls."""

    type: Literal["OpenFaaS(0.8)"] = Field("OpenFaaS(0.8)", description="How it is called.")
    gateway_url: str = Field(
        "", description="Its URL; a node of the experiment may stand for an address. By default the nearest `openfaas`."
    )
    num_clients: int = Field(5, gt=0, description="Calls under way to it at a time; others wait.")
    look_period: SecondsAboveZero = Field(1.0, description="Time between two questions which functions it has.")
    call_timeout: SecondsAboveZero = Field(60.0, description="A call that takes longer is given up.")

    def url(self, site: Site) -> str:
        """Where the gateway is; raises TestbedError if nobody says so."""
        node = site.nearest("openfaas")
        if not self.gateway_url and node is None:
            raise TestbedError("An HTTP computer needs a gateway-url in its http-conf, or the role openfaas on a node.")
        if not self.gateway_url:
            return f"http://{site.endpoint(node or '', 8080)}"
        scheme, _, rest = self.gateway_url.rpartition("://")
        host, slash, path = rest.partition("/")
        if scheme not in ("", "http") or not host:
            raise TestbedError(f"The gateway-url {self.gateway_url!r} of {site.node} is no http:// address.")
        return f"http://{endpoint(site, host, 80)}{slash}{path}".rstrip("/")


ComputerConf = Annotated[
    RaspberryConf | IntelServerConf | FileConf | InlineConf | FunctionsConf,
    Field(discriminator="type"),
    typed("functions"),
]


class ComputerOptions(AsyncOptions):
    """A computer."""

    server_endpoint: Port = Field(10000, description="Port for calls.")
    utilization_endpoint: Port | Literal[""] = Field(
        20000, description="Port for the stream of utilisation; empty: measure no load."
    )
    computer_type: Literal["sim", "http"] = Field(
        "sim", description="Whether it executes functions itself, or has a gateway execute them (`http-conf`)."
    )
    conf: ComputerConf = Field(FunctionsConf(), description="What it has and what it runs; not with `http`.")
    http_conf: Annotated[HttpConf, FromPairs] = Field(HttpConf(), description="The gateway that it calls.")

    def computer(self, site: Site) -> ComputerSpec:
        """The modelled part of the computer; none where a gateway executes all."""
        if self.computer_type == "http":
            return ComputerSpec(version="1.0", processors=(), containers=())
        match self.conf:
            case RaspberryConf() as c:
                counts = c.num_cpu_containers, c.num_cpu_workers, c.num_gpu_containers, c.num_gpu_workers
                return raspberry(*counts)
            case IntelServerConf() as c:
                return intel_server(c.num_containers, c.num_workers)
            case FileConf() as c:
                return read_computer(c.path.read_text())
            case InlineConf() as c:
                return ComputerSpec(version=c.version, processors=c.processors, containers=c.containers)
            case FunctionsConf() as c:
                return c.computer(site)
