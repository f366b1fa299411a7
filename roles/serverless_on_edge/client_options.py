"""The parameters of the client."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from roles.serverless_on_edge.async_options import Endpoint, StateOptions
from roles.serverless_on_edge.chain_options import ChainConf
from roles.serverless_on_edge.options import Conf, FromPairs, Port, Seconds, endpoint, listed
from testbed.errors import TestbedError
from testbed.roles.api import Site

DEFAULT_PORTS = {"router": 6473, "dispatcher": 6473, "computer": 10000}


def nearest_endpoint(site: Site) -> str | None:
    """The nearest router's endpoint, else that of a dispatcher, else of a computer."""
    for role, port in DEFAULT_PORTS.items():
        if node := site.nearest(role):
            return site.endpoint(node, port)
    return None


class ClientConf(Conf):
    """How calls travel."""

    type: Literal["grpc"] = "grpc"
    persistence: float = Field(
        0.05, ge=0, le=1, description="Probability that a call also goes to each endpoint that is not the primary one."
    )


class ClientOptions(StateOptions):
    """A client."""

    server_endpoints: Annotated[tuple[str, ...], BeforeValidator(listed)] = Field(
        (), description="Nodes or addresses to call. By default the nearest router, else dispatcher, else computer."
    )
    client_conf: Annotated[ClientConf, FromPairs] = Field(ClientConf(), description="How calls travel.")
    dry: bool = Field(False, description="Ask what a call would take instead of calling.")
    retries: int = Field(0, ge=0, description="Further attempts when an endpoint cannot be reached.")
    retry_backoff: Seconds = Field(0.1, description="Pause before the first of them; it doubles each time.")

    chains: dict[str, ChainConf] = Field(
        {}, description="Chains and DAGs of functions, which the workload can name as it names functions."
    )
    execution_model: Literal["pure-faas", "state-prop", "state-local"] = Field(
        "pure-faas", description="Who drives a chain: the client, function by function with the states each uses; or "
        "the computers, with a callback at the end and states that travel along, or stay where they were used last. "
        "With the latter two, single functions are called asynchronously, too."
    )  # fmt: skip
    callback_endpoint: Port = Field(6480, description="Port for callbacks; used unless a client drives its chains.")
    state_endpoint: Endpoint = Field("6481", description="Port of its state server; used with `state-local`.")

    def offered(self) -> tuple[str, ...]:
        """What the workload can name beside functions."""
        return tuple(self.chains)

    def endpoints(self, site: Site) -> list[str]:
        """Where calls go, sorted, each once; the first is the primary one at the beginning."""
        if self.server_endpoints:
            return sorted({endpoint(site, text, DEFAULT_PORTS["router"]) for text in self.server_endpoints})
        found = nearest_endpoint(site)
        if found is None:
            raise TestbedError("A client of serverless_on_edge needs a router, a dispatcher or a computer to call.")
        return [found]
