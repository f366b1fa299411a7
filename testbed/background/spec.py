"""The section ``background:`` of an experiment, as typed data: one class for each kind of entry."""

from __future__ import annotations

from math import exp
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, field_validator, model_validator

from testbed.document import Patterns
from testbed.units import RATES, Delay, Frequency, Size, Unit, parse, refuse, write

Protocol = Literal["udp", "tcp", "icmp"]

HEADERS = {"udp": 14 + 20 + 8, "tcp": 14 + 20 + 20, "icmp": 14 + 20 + 8}
"""Bytes of a frame that are no payload: Ethernet, IPv4 and the protocol's own."""

MOST_CONNECTIONS = 32
MOST_RATE = 100e9


def _load(value: object) -> float:
    """Bits per second; unlike the rate of a link it may be zero, which means that there is no such traffic."""
    return parse(value, RATES, "a rate with its unit, such as 10Mbit (bit, kbit, Mbit, Gbit; per second)", "Mbit")


Load = Annotated[float, BeforeValidator(_load), PlainSerializer(lambda v: write(v, RATES)), Unit("rate")]
Port = Annotated[int, Field(ge=1, le=65535)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Fixed(_Part):
    """Every packet has the same payload."""

    model: Literal["fixed"] = Field(description="One size.")
    size: Size = Field(le=65_000, description="Bytes of payload.")

    @property
    def mean(self) -> float:
        """Mean payload in bytes."""
        return float(self.size)

    @property
    def largest(self) -> int:
        """Largest payload in bytes."""
        return self.size


class _Between(_Part):
    model: str
    least: Size = Field(0, description="Smallest payload.")
    most: Size = Field(le=65_000, description="Largest payload.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.least > self.most:
            raise refuse("a `least` that is not above `most`")
        return self

    @property
    def largest(self) -> int:
        """Largest payload in bytes."""
        return self.most


class Uniform(_Between):
    """Each packet draws a payload between two sizes, all alike."""

    model: Literal["uniform"] = Field(description="Evenly spread sizes.")

    @property
    def mean(self) -> float:
        """Mean payload in bytes."""
        return (self.least + self.most) / 2


class Exponential(_Between):
    """Each packet draws a payload, many small ones and few large ones; what is beyond the limits is set to them."""

    model: Literal["exponential"] = Field(description="Exponentially distributed sizes.")
    size: Size = Field(gt=0, le=65_000, description="Mean of the distribution, before it is cut at the limits.")
    most: Size = Field(1400, le=65_000, description="Largest payload.")

    @property
    def mean(self) -> float:
        """Mean payload in bytes, the limits in force."""
        return self.least + self.size * (exp(-self.least / self.size) - exp(-self.most / self.size))


Payload = Fixed | Uniform | Exponential


class _Entry(_Part):
    name: str | None = Field(
        None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,40}$",
        description="What the datasets call it; by default its kind and its place in the list (`iperf3-1`).",
    )  # fmt: skip
    sources: Patterns = Field(alias="from", description="Who sends: names, patterns (`w*`) or `tag:leaf`.")
    to: Patterns = Field(
        description="Who receives, likewise. Several on either side make one flow for each pair of different nodes."
    )
    start: Delay = Field(0.0, description="When it begins, counted from the start of the workload (the warm-up).")
    lasting: Delay | None = Field(None, alias="for", gt=0, description="How long it lasts; by default to the end.")
    until: Delay | None = Field(None, gt=0, description="When it ends, in the place of `for`.")

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        if self.lasting is not None and self.until is not None:
            raise refuse("`for` or `until`", "Leave one of them out.")
        return self


class Iperf3(_Entry):
    """Bulk traffic of the program iperf3, its server at the goal and its client at the source."""

    kind: Literal["iperf3"] = Field(description="Traffic of iperf3.")
    protocol: Literal["tcp", "udp"] = Field("tcp", description="What it is carried by.")
    rate: Load | None = Field(
        None, le=MOST_RATE,
        description="Payload per second of each flow, its connections together; tcp without one takes what it gets. "
        "0: there is no such flow, for sweeps.",
    )  # fmt: skip
    connections: int = Field(1, ge=1, le=MOST_CONNECTIONS, description="Parallel connections (streams) of each flow.")
    reverse: bool = Field(False, description="The data go from `to` to `from`; connections are still opened by `from`.")
    size: Size = Field(1400, ge=64, le=1472, description="Payload of a datagram; udp only.")

    @model_validator(mode="after")
    def _paced(self) -> Self:
        if self.protocol == "udp" and self.rate is None:
            raise refuse("a rate for udp, which has none of its own", "Add `rate: 5Mbit`.")
        return self

    @property
    def is_off(self) -> bool:
        """Whether nothing is to be sent."""
        return self.rate == 0


class Packets(_Entry):
    """Packets as they are described, built with scapy before the run, sent at their times and counted at the goal."""

    kind: Literal["packets"] = Field(description="Packets made from a description.")
    protocol: Protocol = Field("udp", description="What the packets are. `icmp` are echo requests.")
    rate: Load | None = Field(
        None, le=MOST_RATE,
        description="Bits per second of each flow while it is on, whole frames counted as links do; or `frequency`. "
        "0: there is no such flow, for sweeps.",
    )  # fmt: skip
    frequency: Frequency | None = Field(None, le=100_000, description="Packets per second of each flow while it is on.")
    arrivals: Literal["constant", "poisson"] = Field("constant", description="Even gaps, or exponential ones.")
    payload: Payload = Field(
        Fixed.model_validate({"model": "fixed", "size": "1000B"}), discriminator="model",
        description="Size of the payload: one size, or a distribution.",
    )  # fmt: skip
    on: Delay | None = Field(None, gt=0, description="It sends for this time, then pauses for `off`, again and again.")
    off: Delay | None = Field(None, gt=0, description="Length of a pause.")
    port: Port = Field(9, description="Destination port; 9 is that of the discard service. Not for icmp.")
    source_port: Port | None = Field(None, description="Source port; by default one for each flow. Not for icmp.")
    dscp: int = Field(0, ge=0, le=63, description="Differentiated services code point.")
    ttl: int = Field(64, ge=1, le=255, description="Hops after which a packet dies.")

    @field_validator("payload", mode="before")
    @classmethod
    def _one_size(cls, value: object) -> object:
        """``1200B`` is short for packets that all have this size."""
        return value if isinstance(value, dict) else {"model": "fixed", "size": value}

    @model_validator(mode="before")
    @classmethod
    def _one_pace(cls, data: Any) -> Any:
        if isinstance(data, dict) and (data.get("rate") is None) == (data.get("frequency") is None):
            raise refuse("`rate: 5Mbit` or a `frequency: 200/s`, one of them")
        return data

    @model_validator(mode="after")
    def _whole_cycle(self) -> Self:
        if (self.on is None) != (self.off is None):
            raise refuse("`on` and `off` together, or neither")
        return self

    @property
    def is_off(self) -> bool:
        """Whether nothing is to be sent."""
        return not (self.frequency if self.rate is None else self.rate)

    @property
    def frame(self) -> float:
        """Mean size of a packet on a link, in bytes."""
        return HEADERS[self.protocol] + self.payload.mean

    @property
    def per_second(self) -> float:
        """Mean number of packets per second, pauses included."""
        busy = self.frequency if self.frequency is not None else (self.rate or 0.0) / 8 / self.frame
        return busy * self.on / (self.on + self.off) if self.on is not None and self.off is not None else busy


Entry = Annotated[Iperf3 | Packets, Field(discriminator="kind")]
