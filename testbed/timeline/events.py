"""What an experiment's timeline may say: one class for each kind of event.

Times are seconds after the start of the workload. Links and nodes are named, or meant by a pattern (``edge*``); nodes
also by a tag (``tag:leaf``).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from testbed.document import Patterns
from testbed.units import Delay, Drift, Offset, Share, Size, refuse


class _Timed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    at: Delay = Field(description="When it happens, counted from the start of the workload.")


class _Bounded(_Timed):
    times: int | None = Field(None, ge=1, le=100_000, description="How often it happens in all.")
    until: Delay | None = Field(None, description="No repetition begins at this time or later.")


class _Event(_Bounded):
    every: Delay | None = Field(
        None, gt=0, description="It happens again after this time: `times` in all, or `until`, or to the end."
    )


class _OfLinks(_Event):
    link: Patterns = Field(description="Links, by name as the figures print it (`a-b`) or by pattern (`edge*`).")


class _OfNodes(_Event):
    node: Patterns = Field(description="Nodes: names, patterns (`w*`) or `tag:leaf`.")


class Reshape(_OfLinks):
    """Change the shape of links, in both directions or in one."""

    do: Literal["shape"] = Field(description="Change what a link does to packets.")
    leaving: str | None = Field(None, description="Only what leaves this node over the link; else both directions.")
    change: dict[str, Any] = Field(description="Keys of a link shape with new values; the rest stay.")


class Cut(_OfLinks):
    """Take links down: nothing passes in either direction."""

    do: Literal["cut"] = Field(description="Take a link down.")
    lasting: Delay | None = Field(None, alias="for", gt=0, description="It is mended after this time; else it stays.")


class Mend(_OfLinks):
    """Bring links up again that `cut` took down."""

    do: Literal["mend"] = Field(description="Bring a link up again.")


class Flap(_Bounded):
    """Take links down and bring them up, again and again."""

    do: Literal["flap"] = Field(description="Take a link down and up, again and again.")
    link: Patterns = Field(description="Links, by name or by pattern.")
    down: Delay = Field(gt=0, description="How long it is down each time.")
    up: Delay = Field(gt=0, description="How long it is up before it goes down again.")


class Trace(_Timed):
    """Links follow a recording, step by step, from `at` on."""

    do: Literal["trace"] = Field(description="Replay a recorded link.")
    link: Patterns = Field(description="Links, by name or by pattern.")
    leaving: str | None = Field(None, description="Only what leaves this node over the link; else both directions.")
    file: str | None = Field(
        None, description="CSV file: a column `time`, and `rate`, `delay`, `loss`, ... with units in head or cells."
    )
    deliveries: str | None = Field(
        None, description="Packet-delivery trace as mahimahi uses it: a line for each packet of 1500 bytes, in ms."
    )
    window: Delay = Field(0.2, ge=0.01, description="Deliveries are turned into a rate for each stretch of this time.")
    loop: bool = Field(False, description="Begin again when the recording is over; else its last values stay.")
    until: Delay | None = Field(None, description="No step at this time or later; else to the end of the workload.")


class Partition(_Event):
    """Cut all links between groups of nodes."""

    do: Literal["partition"] = Field(description="Part the network.")
    groups: list[Patterns] = Field(
        min_length=1, description="Groups of nodes, switches among them; of one group: it and all others."
    )
    lasting: Delay | None = Field(None, alias="for", gt=0, description="It is healed after this time; else it stays.")


class Heal(_Event):
    """End all partitions: links are up again unless something else keeps them down."""

    do: Literal["heal"] = Field(description="End all partitions.")


class _OfAgents(_OfNodes):
    role: str | None = Field(None, description="The role; may be left out where the node has one role.")


class Kill(_OfAgents):
    """Kill the agent of a role on a node with SIGKILL; its host stays up and tells its peers."""

    do: Literal["kill"] = Field(description="Kill an agent (SIGKILL).")


class Restart(_OfAgents):
    """Start an agent again, with nothing that it knew; one that still runs is killed first."""

    do: Literal["restart"] = Field(description="Start an agent anew.")


class Crash(_OfNodes):
    """A whole machine falls silent: its links carry nothing, its agents are killed, and nobody is told."""

    do: Literal["crash"] = Field(description="Crash a host, a router or a switch.")
    lasting: Delay | None = Field(None, alias="for", gt=0, description="It is restored after this time; else it stays.")


class Restore(_OfNodes):
    """A machine that crashed is back: its links carry packets, its agents start anew; a client stays dead."""

    do: Literal["restore"] = Field(description="Bring a crashed machine back.")


class Pause(_OfNodes):
    """All agents of a host, and the functions they run, stop where they are (SIGSTOP); its kernel goes on."""

    do: Literal["pause"] = Field(description="Stop a host's agents.")
    lasting: Delay | None = Field(None, alias="for", gt=0, description="They go on after this time; else they wait.")


class Resume(_OfNodes):
    """The agents of a paused host go on (SIGCONT)."""

    do: Literal["resume"] = Field(description="Let a paused host's agents go on.")


class Skew(_OfNodes):
    """The calendar of a host is wrong: all its roles read it so. Another skew takes the place of this one.

    Times in datasets are on the run's own clock, and stay right. Functions' own processes read the machine's calendar.
    """

    do: Literal["skew"] = Field(description="Put a host's calendar wrong.")
    by: Offset = Field(0.0, description="How far it is ahead; behind, if negative.")
    drift: Drift = Field(0.0, description="What it gains from then on, for each second that passes.")
    lasting: Delay | None = Field(None, alias="for", gt=0, description="It is right after this time; else it stays.")

    @model_validator(mode="after")
    def _is_wrong(self) -> Self:
        if not self.by and not self.drift:
            raise refuse("`by: 300ms` or `drift: 200ppm`, or both", "To put a calendar right, use `do: sync`.")
        return self


class Sync(_OfNodes):
    """The calendar of a host is right again."""

    do: Literal["sync"] = Field(description="Put a host's calendar right.")


class Move(_Event):
    """A host's traffic goes over another of its links from now on; it keeps its address (mobility).

    The links of a host that moves are up one at a time, from before the workload.
    """

    do: Literal["move"] = Field(description="Move a host from one link to another.")
    node: str = Field(description="The host.")
    start: str = Field(alias="from", description="The link it leaves, which carries nothing then.")
    to: str = Field(description="The link it uses from then on.")


class Load(_OfNodes):
    """Pressure on a host: processes that keep processors busy or memory full, for a while.

    The twin has no processors: there it is noted, does nothing, and makes the run suspect.
    """

    do: Literal["load"] = Field(description="Keep processors busy or memory full.")
    cpu: int = Field(0, ge=0, le=256, description="Busy processes.")
    share: Share = Field(1.0, gt=0, description="Share of the time for which each is busy.")
    memory: Size = Field(0, description="Memory that is held, all of it touched.")
    lasting: Delay = Field(alias="for", gt=0, le=86400, description="How long.")


Event = Annotated[
    Reshape | Cut | Mend | Flap | Trace | Partition | Heal | Kill | Restart | Crash | Restore | Pause | Resume
    | Skew | Sync | Move | Load,
    Field(discriminator="do"),
]
