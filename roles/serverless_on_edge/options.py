"""The parameters of the roles: the original's command-line options under their own names, with their own defaults.

A configuration such as ``router-conf`` is a mapping, or the original's text ``key=value,key=value``. Durations are
seconds as in the original, or carry a unit (``500ms``). Unknown keys are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

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


def typed(default: str) -> BeforeValidator:
    """A configuration of several types, the default one if it names none."""

    def read(value: Any) -> Any:
        pairs = pairs_of(value)
        return {"type": default, **pairs} if isinstance(pairs, Mapping) else pairs

    return BeforeValidator(read)


def seconds_of(value: Any) -> Any:
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


Seconds = Annotated[float, BeforeValidator(seconds_of), Field(ge=0)]
Port = Annotated[int, BeforeValidator(_port)]
FromPairs = BeforeValidator(pairs_of)


class Conf(BaseModel):
    """A configuration made of pairs."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=kebab, populate_by_name=True)


class Options(Parameters):
    """What all roles share.

    ``strict-original`` switches off at once all that the original lacks: heartbeats, expiry, the difference between an
    unreachable destination and an error of the application, bounded retries.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=kebab, populate_by_name=True)

    strict_original: bool = False


class AgentOptions(Options):
    """What all agents share that announce themselves to a controller (``none``: work alone)."""

    controller_endpoint: str | None = None
    num_threads: int = Field(default=5, gt=0)
    heartbeat_period: Seconds = 1.0

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
    alpha: float = 1.0
    beta: float = 1.0


class NoOptimizer(Conf):
    """Weights stay as they were configured."""

    type: Literal["none"]


class TrivialOptimizer(Conf):
    """Weights change at the end of each period."""

    type: Literal["trivial"] = "trivial"
    period: Annotated[Seconds, Field(gt=0)] = 10.0
    stat: Literal["mean", "min", "max"] = "mean"


class AsyncOptimizer(Conf):
    """Weights are smoothed; ``alpha`` is the share of the old weight."""

    type: Literal["async"]
    alpha: float = Field(default=0.95, ge=0, le=1)


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
    """Calls under way to one destination; a pause before each call; ``fake``: answer at once without calling."""

    max_pending_clients: int = Field(default=2, gt=0)
    min_forward_time: Seconds = 0.0
    max_forward_time: Seconds = 0.0
    fake: bool = False


class ForwarderOptions(AgentOptions):
    """What router and dispatcher share. Beyond the original: the last three, see the README."""

    server_endpoint: Port = 6473
    configuration_endpoint: Port = 6474
    router_conf: Annotated[RouterConf, FromPairs] = RouterConf()
    fake_num_lambdas: int = Field(default=0, ge=0)
    fake_num_destinations: int = Field(default=0, ge=0)
    call_timeout: Annotated[Seconds, Field(gt=0)] = 60.0
    max_retries: int = Field(default=5, ge=0)
    retry_backoff: Seconds = 0.02


class RouterOptions(ForwarderOptions):
    """An e-router."""

    table_conf: TableConf = RandomTable()
    optimizer_conf: OptimizerConf = TrivialOptimizer()


class RttConf(Conf):
    """Predict the network's part only."""

    type: Literal["rtt"] = "rtt"
    window_size: int = Field(default=50, gt=0)
    stale_period: Seconds = 10.0


class UtilConf(Conf):
    """Predict network and computer apart. ``output``: write predictions to the dataset soe_estimates."""

    type: Literal["util"]
    rtt_window_size: int = Field(default=50, gt=0)
    rtt_stale_period: Seconds = 10.0
    util_load_timeout: Seconds = 10.0
    util_window_size: int = Field(default=50, gt=0)
    output: str = ""


class DelayConf(Conf):
    """Predict the total."""

    type: Literal["delay"]
    util_load_timeout: Seconds = 10.0
    util_window_size: int = Field(default=50, gt=0)
    output: str = ""


class ProbeConf(Conf):
    """Ask every destination before each call; at most ``max-clients`` questions at a time."""

    type: Literal["probe"]
    max_clients: int = Field(default=10, gt=0)
    output: str = ""


PtimeConf = Annotated[RttConf | UtilConf | DelayConf | ProbeConf, Field(discriminator="type"), typed("rtt")]


class DispatcherOptions(ForwarderOptions):
    """An edge dispatcher."""

    ptimeest_conf: PtimeConf = RttConf()


class ControllerOptions(Options):
    """The controller. ``topology-file`` is a path, or the matrix of distances itself as a block of text."""

    server_endpoint: Port = 6475
    type: Literal["plain"] = "plain"
    installer_type: Literal["flat", "hier"] = "flat"
    topology_file: str = "dist.txt"
    topology_randomized: bool = False
    hier_objective: Literal["min-max", "min-avg"] = "min-max"
    expire_after: Seconds = 3.5
    push_timeout: Annotated[Seconds, Field(gt=0)] = 2.0

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
