"""The parameters of the roles."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from roles.session_offloading.messages import PORT
from testbed.roles.api import Parameters
from testbed.roles.fields import KeyFile, OwnPolicy, Port, policy_among
from testbed.units import Delay, Rate, Size

_POLICIES = ("thresholds", "load", "none")


def _words(value: object) -> object:
    return str(value) if type(value) is int else value  # YAML reads 503 as a number


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class Deployed(BaseModel):
    """Where one function is, and how it runs there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: Names = Field(("all",), description="Locations by name or level, or all, root, middle, leaf.")
    receives: bool = Field(False, description="Whether propagated values are delivered to it.")
    reads: bool = Field(
        False, description="It never writes: invocations of one session run side by side, and what they write is lost."
    )
    replicas: int | None = Field(None, ge=1, description="Invocations that run at a time; default: its concurrency.")


class LocationOptions(Parameters):
    """A location: the same options for root, middle and leaf."""

    port: Port = Field(PORT, description="Of the gateway.")
    tree: dict[str, str] | None = Field(
        None, description="Child -> parent. Default: grown from the network; its root is farthest from every client."
    )
    levels: tuple[str, ...] = Field(
        (), description="What the levels of the tree are called, the root's first. Default: cloud, cloudlet, edge."
    )
    functions: dict[str, Deployed] = Field({}, description="Function -> where it is deployed. Default: everywhere.")
    storage: Literal["embedded", "redis"] = Field(
        "embedded", description="Where sessions are kept: in the agent, or in a redis-server that it starts."
    )
    redis_port: Port = Field(6379, description="Of the redis-server, on the location's own address.")
    persist: bool = Field(True, description="Whether what was acknowledged survives a crash of the agent.")
    status: Literal["accept", "reject"] = Field("accept", description="The offloading status at the beginning.")
    busy: Annotated[Literal["hold", "503"], BeforeValidator(_words)] = Field(
        "hold", description="A request for a session on its way waits, or is answered 503 with Retry-After: 5."
    )
    request_ids: bool = Field(
        False, description="Requests carry X-session-request-id; one that was carried out already is answered 208."
    )
    born_up: bool = Field(False, description="While the status is reject, a new session is offloaded at once.")
    onload_climb: bool = Field(False, description="force-onload asks parent, grandparent, … instead of the parent.")
    onload_batch: int = Field(1, ge=1, le=1000, description="Sessions that one onload moves at most.")
    sticky_locks: bool = Field(
        False, description="onload-session with action=get-session locks a session until action=release-session."
    )
    lock_expires: Delay = Field(3600.0, description="A sticky lock lasts no longer.")
    collect_after: Delay | None = Field(None, description="The garbage collector takes sessions not used for so long.")
    overhead: Delay = Field(0.0, description="Time that every request takes at a gateway, before anything is done.")
    intake: Rate | None = Field(
        None, description="Bodies of requests take the time that they need at this rate, beside the overhead."
    )
    keep_alive: bool = Field(True, description="Whether connections to other locations are kept for later requests.")
    call_timeout: Delay = Field(20.0, description="Patience with another location.")
    offer: Delay = Field(5.0, description="How long an offered session waits to be fetched.")
    ask_again: Delay = Field(0.5, description="Time between questions to a location that owes an answer.")
    largest_session: Size = Field(256_000_000, description="A session with more data is not moved.")
    speed: float = Field(1.0, gt=0, description="Modelled functions run so many times as fast as they say.")
    key: KeyFile = Field(
        None, description="File with a secret, the same everywhere: moves that are not signed with it are refused."
    )

    def taking_in(self, size: int) -> float:
        """Seconds that a gateway takes for a request with a body of ``size`` bytes."""
        return self.overhead + (8 * size / self.intake if self.intake else 0.0)


class OracleOptions(Parameters):
    """The metrics oracle: what it looks at, and what it does then."""

    port: Port = Field(PORT, description="Of the gateways.")
    policy: Annotated[Literal["thresholds", "load", "none"] | OwnPolicy, policy_among(_POLICIES)] = Field(
        "thresholds", description="thresholds, load, none, or FILE.py:FUNCTION with a policy of your own."
    )
    period: Delay = Field(1.0, gt=0, description="Time between two looks.")
    top: Size = Field(1_073_741_824, description="thresholds: at so much session data, offload and reject.")
    bottom: Size = Field(943_718_400, description="thresholds: offload until there is no more than this.")
    onload: Size = Field(524_288_000, description="thresholds: at so little, accept and onload one session.")
    busy_above: float = Field(0.8, gt=0, description="load: offload where functions are busy for more of the time.")
    busy_below: float = Field(0.3, ge=0, description="load: onload where they are busy for less of the time.")
    slow_above: Delay | None = Field(None, description="load: offload where answers take longer than this on average.")
    queue_above: int | None = Field(None, ge=0, description="load: offload where more invocations wait than this.")


class ClientOptions(Parameters):
    """A client, which begins at its edge node and follows its session."""

    location: str | None = Field(None, description="Where it begins; default: the location with the fewest hops.")
    port: Port = Field(PORT, description="Of the gateways.")
    sessions: int = Field(
        16, ge=1, description="Sessions where the workload names none: used in turn; a user of a closed loop keeps one."
    )
    remember: bool = Field(False, description="Go first to where the session was last, instead of to the edge node.")
    most_hops: int = Field(10, ge=0, description="Redirects that it follows for one invocation.")
    keep_alive: bool = Field(True, description="Whether connections are kept for later requests.")
    request_ids: bool = Field(False, description="Number the requests, and repeat once where no answer came.")
