"""What the replays of recorded serverless workloads have in common: each brings its own functions.

Every function of the trace that is replayed becomes a function of the experiment: a copy of the one that ``like``
names, with a name made of its identifiers. How long an invocation takes travels in its payload
(:mod:`testbed.roles.modelled`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, Field

from testbed import places
from testbed.errors import InputError, Problem
from testbed.units import Share, refuse
from testbed.workload.arrivals.base import Arrival, Arrivals, Source
from testbed.workload.traces.choice import Choice, How, Key, names

Stamp = tuple[int, int] | None


def _above_nothing(value: float) -> float:
    if value == 0:
        raise refuse("a share above zero")
    return value


class Brought(NamedTuple):
    """A function that comes from a trace; ``memory_bytes`` is None where the trace does not tell."""

    name: str
    memory_bytes: int | None


class Replay(Arrivals):
    """The base of the replays; its keys come before those of a format."""

    like: str = Field(
        description="The function of the experiment of which each function of the trace is a copy. Where the trace "
        "does not tell a duration or a memory, that of this function is taken."
    )
    keep: Annotated[Share, AfterValidator(_above_nothing)] = Field(
        1.0,
        description="Thinning: this share of the trace's apps, chosen by a hash of their identifiers, each with all "
        "its functions and calls, so that bursts stay what they are. What 10% keeps, 20% keeps too.",
    )
    functions: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        None, description="How many functions, of those that have calls in the window. Left out: all."
    )
    choose: How = Field(
        "sample", description="Which ones: a `sample` by hash, the `busiest`, or a `spread` evenly over their ranking "
        "by number of calls."
    )
    choose_seed: int = Field(
        1, description="Another number keeps and samples others. The experiment's seed does not, so that runs with "
        "several seeds replay the same functions."
    )
    speed: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        1.0, description="2 replays the trace in half its time, which doubles the load: durations stay as they are."
    )

    @property
    def choice(self) -> Choice:
        """Which functions are replayed."""
        return Choice(self.keep, self.functions, self.choose, self.choose_seed)

    @abstractmethod
    def files(self, folder: Path) -> tuple[Path, ...]:
        """The files of the trace, that of the calls first."""

    @abstractmethod
    def keys(self, folder: Path) -> Sequence[tuple[Key, int | None]]:
        """The identifiers and the memory in bytes (None: unknown) of each function that is replayed."""

    @abstractmethod
    def calls(self, source: Source) -> Iterator[Arrival]:
        """The calls to all functions, of all clients, in order of time."""

    def brought(self, folder: Path) -> list[Brought]:
        """The functions that come with the trace; raises InputError if there are fewer than were asked for."""
        found = self.keys(folder)
        if len(found) < (self.functions or 1):
            path = str(self.files(folder)[0])
            expected = f"at least {self.functions or 1}"
            raise InputError([Problem(path, 0, "", f"{len(found)} functions with calls in the window", expected)])
        called = self.names(folder)
        return [Brought(called[key], memory) for key, memory in found]

    def names(self, folder: Path) -> Mapping[Key, str]:
        """What each function of the trace is called in the experiment."""
        return names(self.like, [key for key, _ in self.keys(folder)])

    def arrivals(self, source: Source, horizon: float) -> Iterator[Arrival]:
        """Every so manieth call: all clients take turns."""
        return islice(self.calls(source), source.clients.index(source.client), None, len(source.clients))

    def stamps(self, folder: Path) -> tuple[Stamp, ...]:
        """What changes when one of the files does, for those who remember what they read."""
        return tuple(map(_stamp, self.files(folder)))


def located(folder: Path, name: str) -> Path:
    """The file ``name`` beside the experiment in ``folder``, or the one that came with the program."""
    beside = folder / name
    return beside if beside.exists() else places.find(Path(name))


def _stamp(path: Path) -> Stamp:
    """What changes when the file does; None if it cannot be seen, which reading it will tell."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
