"""The rows of one client: every invocation ends here exactly once."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from testbed.collect.schema import INVOCATIONS, OUTCOME_COLUMNS
from testbed.roles.api import Invocation, Outcome
from testbed.roles.live import TableFile
from testbed.tables import Table
from testbed.workload.progress import Progress

FLUSH_ROWS = 1000
OUTCOMES = Table(
    "outcomes",
    "How each invocation of one client ended; its own part of the invocations.",
    tuple(column for column in INVOCATIONS.columns if column.name in OUTCOME_COLUMNS),
)


class Recorder:
    """Keeps what is under way, and writes ``outcomes.csv``. All times are seconds after the start of the workload."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        self.progress = progress
        self._table = TableFile(folder, OUTCOMES)
        self._under_way: dict[int, tuple[float, int]] = {}
        self._waiting = 0

    @property
    def in_flight(self) -> int:
        """How many invocations are under way."""
        return len(self._under_way)

    def flush(self) -> None:
        """Put into the file what waits."""
        self._waiting = 0
        self._table.flush()

    def sent(self, invocation: Invocation, t: float) -> None:
        """It is being sent."""
        self._under_way[invocation.invocation_id] = t, len(self._under_way)
        self.progress.sent += 1
        if not invocation.user:  # a user's delay is its own: it waited for an answer
            self.progress.send_delay.add(t - invocation.t_scheduled)

    def ended(self, invocation: Invocation, outcome: Outcome, t: float) -> None:
        """It was answered, or the client gave up; ignored if it was given up as lost before."""
        begun = self._under_way.pop(invocation.invocation_id, None)
        if begun is None:
            return
        if outcome.status == "ok":
            self.progress.response_time.add(t - invocation.t_scheduled)
        self._write(invocation.invocation_id, outcome, begun[1], begun[0], t)

    def dropped(self, invocation: Invocation, why: str) -> None:
        """It was due and was not sent."""
        self.progress.dropped += 1
        self._write(invocation.invocation_id, Outcome("dropped", error=why), len(self._under_way))

    def unsent(self, invocations: Iterable[Invocation], why: str) -> None:
        """The client never came to these."""
        for invocation in invocations:
            self._write(invocation.invocation_id, Outcome("unsent", error=why))

    def lost(self, why: str) -> None:
        """Nobody will wait any longer for what is under way."""
        while self._under_way:
            identifier, (sent, others) = self._under_way.popitem()
            self._write(identifier, Outcome("lost", error=why), others, sent)

    def _write(self, identifier: int, outcome: Outcome, others: int | None = None, sent: float | None = None,
               done: float | None = None) -> None:
        self.progress.done += 1
        self.progress.failed += outcome.status != "ok"
        self._table.add_cells((
            identifier, sent, done, others, outcome.status, outcome.error, outcome.init_s, outcome.queue_s,
            outcome.exec_s, outcome.node, outcome.hops, outcome.cold, outcome.load,
            outcome.retries if sent is not None else None, outcome.response_bytes,
        ))
        self._waiting += 1
        if self._waiting >= FLUSH_ROWS:
            self.flush()
