"""The parameters of asynchronous calls and of states, as computers and clients have them."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from roles.serverless_on_edge.options import AgentOptions, Options, Seconds, endpoint
from roles.serverless_on_edge.states import Home, StateStore
from testbed.roles.api import Environment, Site
from testbed.units import Size, refuse

ROUTER_PORT = 6473
STATE_PORT = 30000
Endpoint = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, int) else value)]


class StateOptions(Options):
    """Where an agent keeps states."""

    state_endpoint: Endpoint = Field("", description="Port of its state server; empty: it has none.")
    no_state_server: bool = Field(
        False, description="Start none: `state-endpoint` is the node and port of somebody else's state server."
    )
    state_expire_after: Seconds = Field(
        600.0, description="A state that nobody has touched for so long is removed; 0: never."
    )

    state_memory: Size = Field(2**30, description="What its state server holds at most; more is refused.")

    @model_validator(mode="after")
    def _has_a_port_of_its_own(self) -> Self:
        port = self.state_endpoint.rpartition(":")[2]
        if self.no_state_server and not self.state_endpoint:
            raise refuse("a state-endpoint beside no-state-server: the server of somebody else")
        if self.state_endpoint and not self.no_state_server and not (port.isdigit() and 0 < int(port) < 65536):
            raise refuse("a port as state-endpoint, or address:port (agents listen on their own node's address)")
        return self

    async def home(self, env: Environment, site: Site) -> Home:
        """Where states are kept; a state server serves there when this returns, unless it is somebody else's."""
        if self.no_state_server:
            return Home(env, endpoint(site, self.state_endpoint, STATE_PORT), None)
        port = int(self.state_endpoint.rpartition(":")[2])
        store = StateStore(env, 0.0 if self.strict_original else self.state_expire_after, self.state_memory)
        await env.serve(port, store.service())
        return Home(env, site.endpoint(site.node, port), store)


class AsyncOptions(AgentOptions, StateOptions):
    """What a computer needs to take part in chains and DAGs."""

    asynchronous: bool = Field(False, description="Whether it takes calls that are answered by callback.")
    companion_endpoint: Endpoint = Field(
        "", description="Router through which it calls what follows in a chain; implies `asynchronous`. By default the "
        "nearest router, else dispatcher."
    )  # fmt: skip

    @property
    def is_asynchronous(self) -> bool:
        """Whether it takes calls that are answered by callback."""
        return self.asynchronous or bool(self.companion_endpoint)

    def companion(self, site: Site) -> str | None:
        """The router through which what follows is called; None where there is none."""
        if self.companion_endpoint:
            return endpoint(site, self.companion_endpoint, ROUTER_PORT)
        node = None if self.strict_original else site.nearest("router") or site.nearest("dispatcher")
        return site.endpoint(node, ROUTER_PORT) if node else None
