"""What one emulation run taught about its machine: how long functions and agents take. A small file, for the twin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from testbed.errors import UsageError


class Spread(BaseModel):
    """A distribution as its values at equally spaced shares from 0 to 1, in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: tuple[float, ...] = Field(min_length=1)

    @classmethod
    def of(cls, values: Sequence[float], steps: int = 100) -> Spread:
        """The distribution of ``values``; at least one. The extremes are left out where there are many."""
        ordered = sorted(values)
        last = len(ordered) - 1
        return cls(at=tuple(_between(ordered, (number + 0.5) / (steps + 1) * last) for number in range(steps + 1)))

    def draw(self, rng: Random) -> float:
        """One value, in seconds; never negative."""
        return max(0.0, _between(self.at, rng.random() * (len(self.at) - 1)))

    @property
    def median(self) -> float:
        """The value that half of the draws do not exceed."""
        return max(0.0, _between(self.at, 0.5 * (len(self.at) - 1)))


def _between(ordered: Sequence[float], place: float) -> float:
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


class Calibration(BaseModel):
    """``exec_s`` and ``init_s`` are by function: the time inside it, and the time to start a worker for it.

    ``call_s`` is what a call takes beside network and functions, and keeps nobody busy; ``busy_s`` is by role the time
    for which one message that an agent takes in keeps that agent busy. ``source`` names the run that it was made of.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = ""
    exec_s: Mapping[str, Spread] = {}
    init_s: Mapping[str, Spread] = {}
    call_s: Spread = Spread(at=(0.0,))
    busy_s: Mapping[str, float] = {}


def read(path: Path) -> Calibration:
    """The calibration in ``path``; UsageError if it cannot be read or is none."""
    remedy = "`testbed calibrate` makes one."
    try:
        return Calibration.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"The calibration {path} cannot be read: {error.strerror}. {remedy}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise UsageError(f"{path} is no calibration: {where}: {first['msg']}. {remedy}") from error
