"""What can be said about the twin of an experiment."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class TwinOptions(BaseModel):
    """How the twin of an experiment reckons; the other substrates ignore it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tcp_efficiency: float = Field(
        0.956,
        gt=0.5,
        le=1.0,
        description="Share of a link's rate that payload gets in full segments: 0.956 matches an MTU of 1500, 1 is "
        "ideal (no headers and no acknowledgements at all).",
    )
    messages: Literal["encoded", "free"] = Field(
        "encoded",
        description="What a message costs: its `encoded` size on every link, or nothing but the delay (`free`); bulk "
        "transfers always cost their size.",
    )
    cores: int | None = Field(None, ge=1, description="Real functions that one node runs at a time; default: no limit.")
    calibration: str | None = Field(
        None, description="File written by `testbed calibrate`, beside the experiment: service and processing times."
    )
