"""What one direction of one link does to packets."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from testbed.units import Delay, Queue, QueueLimit, Rate, Share, Size


class Shape(BaseModel):
    """The one-way treatment of packets that leave one end of a link.

    Order of effects, the same in every back end: loss, duplication, corruption, then the queue of ``queue`` packets
    or bytes (drop-tail) that drains at ``rate``, then ``delay`` plus ``jitter``. A round trip crosses two shapes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    delay: Delay = Field(0.0, description="One-way propagation delay, added after the queue.")
    jitter: Delay = Field(0.0, description="Spread of the delay: standard deviation, or half width when uniform.")
    distribution: Literal["normal", "uniform", "pareto"] = Field("normal", description="Distribution of the jitter.")
    loss: Share = Field(0.0, description="Share of packets dropped at random, independently.")
    duplicate: Share = Field(0.0, description="Share of packets delivered twice.")
    reorder: Share = Field(0.0, description="Share of packets that skip the delay and so overtake others.")
    corrupt: Share = Field(0.0, description="Share of packets in which one random bit is flipped.")
    rate: Rate | None = Field(None, description="Bits per second, Ethernet headers included; none: unlimited.")
    burst: Size = Field(
        0, description="Bytes that pass at once after a pause before the rate holds (a token bucket); 0: none."
    )
    queue: QueueLimit = Field(
        Queue(packets=1000), description="What may wait for the rate before packets are dropped (drop-tail)."
    )

    @property
    def is_plain(self) -> bool:
        """Whether packets pass untouched, so that no shaper is needed."""
        return not self.touches_packets and self.rate is None

    @property
    def touches_packets(self) -> bool:
        """Whether anything besides a rate and a queue is asked for."""
        return any((self.delay, self.jitter, self.loss, self.duplicate, self.reorder, self.corrupt))


class LinkShape(Shape):
    """What a link has beside its ends: one shape for both directions, and the largest packet it carries."""

    mtu: int = Field(1500, ge=576, le=65535, description="Largest IP packet in bytes; the same on all links of a LAN.")
