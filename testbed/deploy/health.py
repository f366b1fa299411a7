"""How well an agent's event loop keeps up, measured without waking it up.

The selector of an event loop knows all there is to know: how long callbacks kept it away between two calls, and how
much later than asked it came back from waiting (the machine gave it no CPU). The larger of the two is the lag.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable
from pathlib import Path

from testbed.roles.live import TableFile
from testbed.roles.precise import PreciseSelector
from testbed.tables import Column, Table

PERIOD_S = 0.5

HEALTH = Table(
    "health",
    "How well each agent kept up; the fidelity watcher reads it.",
    (
        Column("t", "number", "s", "End of the period, on the run's reference clock."),
        Column("lag_max_s", "number", "s", "Longest time in the period for which the loop kept something due waiting."),
        Column("cpu_s", "number", "s", "CPU time of the agent's process since its start."),
    ),
)


class WatchedSelector(PreciseSelector):
    """A selector that keeps the largest lag since it was last asked."""

    def __init__(self) -> None:
        super().__init__()
        self._left = time.monotonic()
        self._worst = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait as the selector does, and look at the clock before and after."""
        begun = time.monotonic()
        ready = super().select(timeout)
        ended = time.monotonic()
        late = ended - begun - timeout if timeout is not None and timeout > 0 else 0.0
        self._worst = max(self._worst, begun - self._left, late)
        self._left = ended
        return ready

    def worst(self) -> float:
        """The largest lag in seconds since the last call of this method."""
        worst, self._worst = self._worst, 0.0
        return worst


async def record(selector: WatchedSelector, folder: Path, now: Callable[[], float]) -> None:
    """Write a row of ``health.csv`` each half second, until cancelled."""
    table = TableFile(folder, HEALTH)
    selector.worst()  # what the agent's own start cost is not the run's
    while True:
        await asyncio.sleep(PERIOD_S)
        table.add({"t": now(), "lag_max_s": selector.worst(), "cpu_s": time.process_time()})
        table.flush()
