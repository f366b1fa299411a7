"""The parameters of the proxy for clients of OpenWhisk."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from roles.openwhisk.names import OWN, is_name
from roles.openwhisk.options import Count
from roles.serverless_on_edge.client_options import DEFAULT_PORTS, nearest_endpoint
from roles.serverless_on_edge.options import Options, Port, SecondsAboveZero, endpoint
from testbed import units
from testbed.errors import TestbedError
from testbed.roles.api import Site
from testbed.roles.fields import KeyFile
from testbed.units import Size

MB = 1 << 20


class ProxyOptions(Options):
    """A proxy. With ``strict-original`` it answers as the original's does, errors included."""

    wsk_api_root: Port = Field(20000, description="Port for HTTP, or the original's http://address:port.")
    server_endpoint: str | None = Field(
        None, description="Node or address to call, `:port` optional. By default the nearest router, else dispatcher, "
        "else computer."
    )
    num_threads: int = Field(5, gt=0, description="Calls to the edge at a time; others wait.")
    auth: KeyFile | dict[str, str] = Field(
        None, description="File with lines NAMESPACE UUID:SECRET, or the keys by namespace (then they are in the run's "
        "files). By default every caller is accepted, as in the original."
    )
    https: bool = Field(False, description="Clients come over TLS, with a certificate as `tls-conf` says.")
    default_namespace: str = Field(
        "guest", description="What the namespace `_` means for a caller without a key. `_`: names in it are those of "
        "plain functions, as in the original."
    )
    max_concurrent: int = Field(
        100, ge=1, description="Invocations at a time for each key (for all callers, without keys), those that wait "
        "included; more are refused (429)."
    )
    max_per_minute: Count = Field(None, description="Invocations in a minute of the clock, likewise.")
    payload: Size = Field(MB, description="Most bytes of arguments, and of a result in a record.")
    blocking_wait: SecondsAboveZero = Field(60.0, description="A blocking invocation is waited for so long at most.")
    call_timeout: SecondsAboveZero = Field(90.0, description="A call to the edge that takes longer is given up.")
    keep_activations: int = Field(1000, ge=1, description="Records that are kept; the oldest go first.")
    keep_bytes: Size = Field(64_000_000, description="Bytes of results that are kept.")
    verbosity: int = Field(
        0, ge=0, description="The original's GLOG_v. 1: its two lines for each invocation go to the agent's log."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.strict_original and self.auth is not None:
            raise units.refuse("no keys (auth) with strict-original, which accepts every caller")
        if self.default_namespace != OWN and not is_name(self.default_namespace):
            raise units.refuse("the name of a namespace as default-namespace, or _")
        return self

    @property
    def makes_keys(self) -> bool:
        """Whether it needs keys and was given none."""
        return (self.secure or self.https) and not self.tls_conf.key

    def edge(self, site: Site) -> str:
        """Where calls go; raises TestbedError if there is nobody to call."""
        if self.server_endpoint is not None:
            return endpoint(site, self.server_endpoint, DEFAULT_PORTS["router"])
        found = nearest_endpoint(site)
        if found is None:
            raise TestbedError("A wskproxy needs a router, a dispatcher or a computer to call, or a server-endpoint.")
        return found
