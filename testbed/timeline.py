"""What is done to the network while a workload runs: timed changes of shape, cuts and mends.

Times are seconds after the start of the workload. More kinds of event are further classes of the union ``Event``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from testbed.topology.shape import Shape
from testbed.units import Delay


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    at: Delay = Field(description="When it happens, counted from the start of the workload.")


class Reshape(_Event):
    """Change the shape of a link, in both directions or in one."""

    do: Literal["shape"] = Field(description="Change what a link does to packets.")
    link: str = Field(description="Name of the link, as the figures print it: `a-b`.")
    leaving: str | None = Field(None, description="Only what leaves this node over the link; else both directions.")
    change: dict[str, Any] = Field(description="Keys of a link shape with new values; the rest stay.")


class Cut(_Event):
    """Take a link down: nothing passes in either direction."""

    do: Literal["cut"] = Field(description="Take a link down.")
    link: str = Field(description="Name of the link.")


class Mend(_Event):
    """Bring a link up again."""

    do: Literal["mend"] = Field(description="Bring a link up again.")
    link: str = Field(description="Name of the link.")


class Kill(_Event):
    """Kill the agent of a role on a node with SIGKILL; nobody restarts it."""

    do: Literal["kill"] = Field(description="Kill an agent (SIGKILL).")
    node: str = Field(description="The node whose agent is killed.")
    role: str | None = Field(None, description="The role; may be left out where the node has one role.")


Event = Annotated[Reshape | Cut | Mend | Kill, Field(discriminator="do")]


def reshaped(old: Shape, change: dict[str, Any]) -> Shape:
    """``old`` with the keys of ``change``, written as in a file; raises pydantic.ValidationError."""
    kept = {name: value for name, value in old.model_dump().items() if name not in change and value is not None}
    return Shape.model_validate(kept | change)
