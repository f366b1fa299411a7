"""Replay of a file in the format of the Azure Functions trace of 2021: one row an invocation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from testbed.units import Delay, refuse
from testbed.workload.arrivals.base import Arrival, Source
from testbed.workload.arrivals.replay import Replay, Stamp, located
from testbed.workload.traces.calls2021 import Calls, Window, read_calls
from testbed.workload.traces.choice import Choice, Key


def _in_order(value: tuple[float, float] | None) -> tuple[float, float] | None:
    if value is not None and value[0] >= value[1]:
        raise refuse("two times of the trace, the earlier one first, such as [0s, 1h]")
    return value


class Azure2021(Replay):
    """Replays invocations in the format of the Azure Functions trace of 2021."""

    model: Literal["azure2021"] = Field(
        description="Replays a file in the format of the Azure Functions trace of 2021, each invocation with its own "
        "duration. It arrives when it ended less its duration."
    )
    file: str = Field(
        description="The file, relative to the experiment's: columns `app`, `func`, `end_timestamp`, `duration` (s)."
    )
    window: Annotated[tuple[Delay, Delay] | None, AfterValidator(_in_order)] = Field(
        None, description="Only invocations that arrive between these two times of the trace; the earlier one is "
        "when the traffic starts. Left out: from 0 to the end."
    )

    def files(self, folder: Path) -> tuple[Path, ...]:
        """The one file."""
        return (located(folder, self.file),)

    def keys(self, folder: Path) -> Sequence[tuple[Key, int | None]]:
        """The chosen functions; this trace knows no memory."""
        return [(key, None) for key in self._calls(folder).keys]

    def calls(self, source: Source) -> Iterator[Arrival]:
        """The rows in order of arrival; what arrives at once, in order of the functions' identifiers."""
        found, names = self._calls(source.folder), self.names(source.folder)
        called = [names[key] for key in found.keys]
        for t, duration, function in zip(found.arrivals, found.durations, found.functions, strict=True):
            yield Arrival(t / self.speed, called[function], service_s=duration)

    def _calls(self, folder: Path) -> Calls:
        return _read(located(folder, self.file), self.stamps(folder), self.window or (0.0, None), self.choice)


@lru_cache(maxsize=2)  # all clients share what was read; more would fill the memory, since a trace is large
def _read(file: Path, _: tuple[Stamp, ...], window: Window, choice: Choice) -> Calls:
    return read_calls(file, window, choice)
