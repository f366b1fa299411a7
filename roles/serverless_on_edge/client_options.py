"""The parameters of the client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from roles.openwhisk.options import PORT
from roles.serverless_on_edge.async_options import Endpoint, StateOptions
from roles.serverless_on_edge.chain_options import ChainConf
from roles.serverless_on_edge.options import Conf, FromPairs, Port, Seconds, endpoint, listed
from roles.serverless_on_edge.wsk_keys import Key, authorization
from testbed.errors import TestbedError
from testbed.roles.api import Site
from testbed.units import refuse

DEFAULT_PORTS = {"router": 6473, "dispatcher": 6473, "computer": 10000}
WSK_PORTS = {"wskproxy": 20000, "openwhisk": PORT}


def nearest_endpoint(site: Site, ports: Mapping[str, int] = DEFAULT_PORTS) -> str | None:
    """The endpoint of the nearest agent of the first of these roles that is placed: usually a router's."""
    for role, port in ports.items():
        if node := site.nearest(role):
            return site.endpoint(node, port)
    return None


class ClientConf(Conf):
    """How calls travel."""

    type: Literal["grpc", "wsk"] = Field(
        "grpc", description="`wsk`: as clients of OpenWhisk call, over HTTP, at a `wskproxy` or a server `openwhisk`."
    )
    persistence: float = Field(
        0.05, ge=0, le=1, description="Probability that a call also goes to each endpoint that is not the primary one."
    )
    https: bool = Field(
        False, description="With `wsk`: over TLS, with whom the authority in `tls-conf`, or the run's, vouches for."
    )
    namespace: str = Field("guest", description="With `wsk`: of the actions.")
    wsk_auth: Key = Field("", description="With `wsk`: the key to show, as for an `edgecomputerwsk`.")
    wsk_user: str = Field("whisk.system", description="With `wsk`: whose key, of those in a file and the public ones.")

    def authorization(self) -> str:
        """The header that shows the key; raises TestbedError, which does not tell it."""
        return authorization(self.wsk_auth, self.wsk_user)


class ClientOptions(StateOptions):
    """A client."""

    server_endpoints: Annotated[tuple[str, ...], BeforeValidator(listed)] = Field(
        (), description="Nodes or addresses to call. By default the nearest router, else dispatcher, else computer; "
        "with `wsk` the nearest `wskproxy`, else `openwhisk`."
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

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.client_conf.type == "wsk" and (self.chains or self.dry or len(self.server_endpoints) > 1):
            raise refuse("neither chains nor dry nor several server-endpoints with client-conf type=wsk")
        return self

    @property
    def makes_keys(self) -> bool:
        """Whether it needs keys and was given none."""
        return (self.secure or self.client_conf.https) and not self.tls_conf.key

    def offered(self) -> tuple[str, ...]:
        """What the workload can name beside functions."""
        return tuple(self.chains)

    def endpoints(self, site: Site) -> list[str]:
        """Where calls go, sorted, each once; the first is the primary one at the beginning."""
        ports, who = DEFAULT_PORTS, "a router, a dispatcher or a computer"
        if self.client_conf.type == "wsk":
            ports, who = WSK_PORTS, "a wskproxy or an openwhisk"
        if self.server_endpoints:
            return sorted({endpoint(site, text, next(iter(ports.values()))) for text in self.server_endpoints})
        found = nearest_endpoint(site, ports)
        if found is None:
            raise TestbedError(f"A client of serverless_on_edge needs {who} to call.")
        return [found]
