"""The parameters of the roles: the original's command-line options under their own names, with their own defaults.

A configuration such as ``router-conf`` is a mapping, or the original's text ``key=value,key=value``. Durations are
seconds as in the original, or carry a unit (``500ms``). Unknown keys are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from testbed import units
from testbed.roles.api import Parameters, Site


def kebab(name: str) -> str:
    """A field's name as an option."""
    return name.replace("_", "-")


def pairs_of(value: Any) -> Any:
    """The mapping that ``key=value,key=value`` stands for; whatever is no text is left as it is."""
    if not isinstance(value, str):
        return value
    pairs = [pair.partition("=") for pair in value.split(",") if pair]
    wrong = next((key for key, equals, _ in pairs if not equals), None)
    if wrong is not None:
        raise units.refuse("key=value,key=value, or a mapping", f"Give {wrong!r} a value.")
    return {key: text for key, _, text in pairs}


def listed(value: Any) -> Any:
    """The parts of a text between commas; whatever is no text is left as it is."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def typed(default: str) -> BeforeValidator:
    """A configuration of several types, the default one if it names none."""

    def read(value: Any) -> Any:
        pairs = pairs_of(value)
        return {"type": default, **pairs} if isinstance(pairs, Mapping) else pairs

    return BeforeValidator(read)


def seconds_of(value: Any) -> Any:
    """Seconds from a bare number, as the original takes them, or from a quantity with a unit."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return units.delay(value)
    return value


def _port(value: Any) -> Any:
    text = str(value).rsplit(":", 1)[-1]
    if isinstance(value, bool) or not text.isdigit() or not 0 < int(text) < 65536:
        raise units.refuse("a port, or address:port (agents listen on their own node's address)")
    return int(text)


Seconds = Annotated[float, BeforeValidator(seconds_of), Field(ge=0), units.Unit("time")]
SecondsAboveZero = Annotated[float, BeforeValidator(seconds_of), Field(gt=0), units.Unit("time")]
Port = Annotated[int, BeforeValidator(_port)]
FromPairs = BeforeValidator(pairs_of)


class Conf(BaseModel):
    """A configuration made of pairs."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=kebab, populate_by_name=True)


class TlsConf(Conf):
    """The keys of an agent. By default a run has an authority of its own, and a new key for each agent."""

    authority: str = Field("", description="PEM file of whom to trust, on the machine that carries the node.")
    certificate: str = Field("", description="PEM file of the agent's own certificate.")
    key: str = Field("", description="PEM file of its key, which nobody else may be able to read.")

    @model_validator(mode="after")
    def _all_or_none(self) -> Self:
        if len({bool(each) for each in (self.authority, self.certificate, self.key)}) > 1:
            raise units.refuse("all of authority, certificate and key, or none of them")
        return self


class Options(Parameters):
    """What all roles share.

    ``strict-original`` switches off at once all that the original lacks: heartbeats, expiry, the difference between an
    unreachable destination and an error of the application, bounded retries.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=kebab, populate_by_name=True)

    strict_original: bool = Field(False, description="Do without all that the original lacks.")
    secure: bool = Field(
        False, description="Calls of functions go over TLS; what controllers, tables and loads are told does not. It "
        "must be the same for all agents that call each other."
    )
    tls_conf: Annotated[TlsConf, FromPairs] = Field(TlsConf(), description="The keys for that.")

    @property
    def makes_keys(self) -> bool:
        """Whether it needs keys and was given none."""
        return self.secure and not self.tls_conf.key


class AgentOptions(Options):
    """What all agents share that announce themselves to a controller."""

    controller_endpoint: str | None = Field(
        None, description="Node or address, `:port` optional; `none` to work alone. By default the nearest controller."
    )
    num_threads: int = Field(5, gt=0, description="Calls handled at a time; others wait.")
    heartbeat_period: Seconds = Field(1.0, description="Time between announcements; 0: announce once.")

    def heartbeat(self) -> float:
        """Seconds between announcements; 0: announce once."""
        return 0.0 if self.strict_original else self.heartbeat_period


class RandomTable(Conf):
    """Random, in proportion to the inverse of the weights."""

    type: Literal["random"] = "random"


class LeastImpedanceTable(Conf):
    """The smallest weight."""

    type: Literal["least-impedance"]


class RoundRobinTable(Conf):
    """Weighted turns, with probing of bad destinations."""

    type: Literal["round-robin"]


class ProportionalFairnessTable(Conf):
    """Proportional fairness with its two exponents."""

    type: Literal["proportional-fairness"]
    alpha: float = Field(1.0, description="How much speed counts.")
    beta: float = Field(1.0, description="How much fairness counts.")


class NoOptimizer(Conf):
    """Weights stay as they were configured."""

    type: Literal["none"]


class TrivialOptimizer(Conf):
    """Weights change at the end of each period."""

    type: Literal["trivial"] = "trivial"
    period: SecondsAboveZero = Field(10.0, description="Time between changes of the weights.")
    stat: Literal["mean", "min", "max"] = Field("mean", description="What is taken of the samples of a period.")


class AsyncOptimizer(Conf):
    """Weights are smoothed with each sample."""

    type: Literal["async"]
    alpha: float = Field(0.95, ge=0, le=1, description="Share of the old weight in the new one.")


class AsyncPFOptimizer(Conf):
    """Weights are the last sample."""

    type: Literal["asyncPF"]


TableConf = Annotated[
    RandomTable | LeastImpedanceTable | RoundRobinTable | ProportionalFairnessTable,
    Field(discriminator="type"),
    typed("random"),
]
OptimizerConf = Annotated[
    NoOptimizer | TrivialOptimizer | AsyncOptimizer | AsyncPFOptimizer,
    Field(discriminator="type"),
    typed("trivial"),
]


class RouterConf(Conf):
    """How calls are forwarded."""

    max_pending_clients: int = Field(2, gt=0, description="Calls under way to one destination; others wait.")
    min_forward_time: Seconds = Field(0.0, description="Shortest pause before a call is forwarded.")
    max_forward_time: Seconds = Field(0.0, description="Longest pause; 0: none.")
    fake: bool = Field(False, description="Answer at once, with a random latency, without calling anybody.")


class ForwarderOptions(AgentOptions):
    """What router and dispatcher share."""

    server_endpoint: Port = Field(6473, description="Port for calls.")
    configuration_endpoint: Port = Field(6474, description="Port for changes of the tables.")
    router_conf: Annotated[RouterConf, FromPairs] = Field(RouterConf(), description="How calls are forwarded.")
    fake_num_lambdas: int = Field(0, ge=0, description="Functions in the tables from the start.")
    fake_num_destinations: int = Field(0, ge=0, description="Destinations of each of them.")
    call_timeout: SecondsAboveZero = Field(60.0, description="A forwarded call that takes longer is given up.")
    max_retries: int = Field(5, ge=0, description="Further attempts when a destination cannot be reached.")
    retry_backoff: Seconds = Field(0.02, description="Pause before the first of them; it doubles each time.")


class RouterOptions(ForwarderOptions):
    """An e-router."""

    table_conf: TableConf = Field(RandomTable(), description="How a destination is picked.")
    optimizer_conf: OptimizerConf = Field(TrivialOptimizer(), description="How weights are learned.")


_OUTPUT = Field("", description="Any text: write predictions to the dataset `soe_estimates`.")


class RttConf(Conf):
    """Predict the network's part only."""

    type: Literal["rtt"] = "rtt"
    window_size: int = Field(50, gt=0, description="Samples kept.")
    stale_period: Seconds = Field(10.0, description="Age at which samples of the network are forgotten.")


class UtilConf(Conf):
    """Predict network and computer apart."""

    type: Literal["util"]
    rtt_window_size: int = Field(50, gt=0, description="Samples kept.")
    rtt_stale_period: Seconds = Field(10.0, description="Age at which samples of the network are forgotten.")
    util_load_timeout: Seconds = Field(10.0, description="Age at which a computer's load is forgotten.")
    util_window_size: int = Field(50, gt=0, description="Samples kept.")
    output: str = _OUTPUT


class DelayConf(Conf):
    """Predict the total."""

    type: Literal["delay"]
    util_load_timeout: Seconds = Field(10.0, description="Age at which a computer's load is forgotten.")
    util_window_size: int = Field(50, gt=0, description="Samples kept.")
    output: str = _OUTPUT


class ProbeConf(Conf):
    """Ask every destination before each call."""

    type: Literal["probe"]
    max_clients: int = Field(10, gt=0, description="Questions under way at a time.")
    output: str = _OUTPUT


PtimeConf = Annotated[RttConf | UtilConf | DelayConf | ProbeConf, Field(discriminator="type"), typed("rtt")]


class DispatcherOptions(ForwarderOptions):
    """An edge dispatcher."""

    ptimeest_conf: PtimeConf = Field(RttConf(), description="How the time of a call is predicted.")


class ControllerOptions(Options):
    """The controller."""

    server_endpoint: Port = Field(6475, description="Port for announcements.")
    type: Literal["plain"] = "plain"
    installer_type: Literal["flat", "hier"] = Field(
        "flat", description="Whether each router knows each computer, or its own ones and the home routers of others."
    )
    topology_file: str = Field(
        "dist.txt", description="For `hier`: file with the distances between hosts, or the matrix itself as a block."
    )
    topology_randomized: bool = Field(False, description="Shuffle the hosts of that matrix.")
    hier_objective: Literal["min-max", "min-avg"] = Field(
        "min-max", description="Whether a home router is near to the farthest router, or to all on average."
    )
    expire_after: Seconds = Field(5.0, description="Silence after which an agent counts as gone; 0: never.")
    push_timeout: SecondsAboveZero = Field(2.0, description="A router that takes longer to obey is forgotten.")

    def expiry(self) -> float:
        """Seconds of silence after which an agent counts as gone; 0: never."""
        return 0.0 if self.strict_original else self.expire_after


def endpoint(site: Site, text: str, port: int) -> str:
    """``address:port`` from a node's name or an address, with or without a port."""
    host, _, number = text.rpartition(":") if text.rpartition(":")[2].isdigit() else (text, "", "")
    host = host.strip("[]")
    chosen = int(number) if number else port
    if host in site.addresses:
        return site.endpoint(host, chosen)
    return f"[{host}]:{chosen}" if ":" in host else f"{host}:{chosen}"
