"""Who did what to the network, and what happened unasked, each with the time asked for and the time it took effect."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from testbed.collect.schema import EVENTS
from testbed.collect.streamed import StreamedTable
from testbed.tables import Row


class EventRecorder:
    """Writes ``events.csv`` as things happen; any thread may record.

    ``clock`` gives seconds after the start of the workload; events before it have negative times.
    """

    def __init__(self, folder: Path, clock: Callable[[], float]) -> None:
        self.rows: list[Row] = []
        self._clock = clock
        self._table = StreamedTable(folder, EVENTS)
        self._lock = threading.Lock()

    def record(
        self, kind: str, subject: str, detail: str = "", planned: float | None = None, at: float | None = None
    ) -> Row:
        """Note that something is in force, or was noticed, now or a moment ago (``at``).

        ``planned`` is when the timeline asked for it.
        """
        with self._lock:
            row: Row = {"t_planned": planned, "t_actual": self._clock() if at is None else at, "kind": kind,
                        "subject": subject, "detail": detail}
            self.rows.append(row)
            self._table.append([row])
        return row

    def close(self) -> None:
        """End the file; what was recorded stays in ``rows``."""
        self._table.close()

    def __enter__(self) -> EventRecorder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()
