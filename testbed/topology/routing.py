"""How the routers of a network find their ways: what a topology file says under ``routing``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from testbed.units import Delay, refuse

_MOST_S = 65535
DEAD_HELLOS = 4
BFD_MISSES = 3
"""So many BFD packets in a row have to be missing."""


def _whole_seconds(value: float) -> float:
    if not (value.is_integer() and 1 <= value <= _MOST_S):
        raise refuse("whole seconds, such as 1s or 40s", "OSPF knows no parts of a second; bfd is quicker.")
    return value


def _above_hello(value: float | None, info: ValidationInfo) -> float | None:
    hello = info.data.get("hello", 0.0)
    if value is not None and value <= hello:
        raise refuse(f"more than the hello interval of {hello:g} s", "Four times as much is usual.")
    return value


def _bfd_time(value: float | None) -> float | None:
    if value is not None and not 0.01 <= value <= 60:
        raise refuse("a time between BFD packets from 10ms to 60s, or none")
    return value


Seconds = Annotated[Delay, AfterValidator(_whole_seconds)]
Bfd = Annotated[
    Delay | None, BeforeValidator(lambda value: None if value == "none" else value), AfterValidator(_bfd_time)
]


class Routing(BaseModel):
    """How routes are chosen, the same for both families."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    protocol: Literal["static", "ospf", "none"] = Field(
        "static", description="static: routes are computed before the start and stay. ospf: routers run OSPF (BIRD) "
        "and find them, also after a link was lost. none: nobody has any routes but to its own LANs."
    )
    metric: Literal["hops", "delay"] = Field(
        "hops", description="Shortest by routers on the way (ties: by delay), or by delay (ties: by hops)."
    )
    hello: Seconds = Field(1.0, description="OSPF: time between two hello packets, in whole seconds.")
    dead: Annotated[Seconds | None, AfterValidator(_above_hello)] = Field(
        None, description="OSPF: a neighbour that was not heard for so long is lost, in whole seconds, above `hello`; "
        "default: four times `hello`."
    )
    bfd: Bfd = Field(
        None, description="OSPF: time between two BFD packets, which notice a lost neighbour sooner: three missing "
        "ones in a row are a loss; none: no BFD."
    )

    @property
    def dead_s(self) -> float:
        """The dead interval in force."""
        return min(_MOST_S, DEAD_HELLOS * self.hello) if self.dead is None else self.dead

    @property
    def loss_noticed_s(self) -> tuple[float, float]:
        """Between how many seconds after a link was lost its ends notice it, by OSPF or BFD."""
        if self.bfd is not None:
            return (BFD_MISSES - 1) * self.bfd, BFD_MISSES * self.bfd
        return self.dead_s - self.hello, self.dead_s


STATIC = Routing()
"""Routes that are computed before the start, by hops."""
