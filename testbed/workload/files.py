"""A client's plan in its agent's folder: ``schedule.csv``, one row an invocation, and ``workload.json``, all else.

Payloads stand in ``workload.json`` once each; a row of the schedule names its payload by number.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any

from testbed.collect.schema import INVOCATIONS, SCHEDULE_COLUMNS
from testbed.roles.api import Invocation
from testbed.tables import Column, Table, cells
from testbed.workload.arrivals import Source
from testbed.workload.schedule import Draft, Plan, Thinking
from testbed.workload.spec import Traffic, Workload

SCHEDULE = Table(
    "schedule",
    "What one client was asked to invoke; its own part of the invocations.",
    (
        *(column for column in INVOCATIONS.columns if column.name in SCHEDULE_COLUMNS),
        Column("payload", "integer", "", "Number of the payload in workload.json; empty if drawn during the run."),
    ),
)

HELD = 100_000
"""Rows of all clients together that wait in memory while schedules are written."""
_READ = ("invocation_id", "t_scheduled", "client", "function", "payload", "session", "phase", "user")


def _cells(invocation: Invocation, size: int, payload: int | None = None) -> list[object]:
    """One row; its order is that of the columns in SCHEDULE."""
    return cells((
        invocation.phase, invocation.invocation_id, invocation.session, invocation.client, invocation.user,
        invocation.function, invocation.t_scheduled, size, payload,
    ))


def size_of(text: str) -> int:
    """Bytes of ``text`` in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def lay_out(draft: Draft, folders: Mapping[str, Path]) -> None:
    """Write the plan of each client into its folder, which must exist, as it is drawn: no schedule is ever held whole.

    Raises what drawing raises (see Draft).
    """
    writers = {client: _Writer(folder, HELD // len(folders)) for client, folder in folders.items()}
    for invocation in draft:
        writers[invocation.client].add(invocation)
    thinking = draft.thinking(sum(writer.count for writer in writers.values()))
    for client, writer in writers.items():
        writer.finish(client, thinking[client], draft.workload)


def write(plan: Plan, folder: Path) -> None:
    """Put ``plan`` into ``folder``, which must exist."""
    writer = _Writer(folder, HELD)
    for invocation in plan.invocations:
        writer.add(invocation)
    writer.finish(plan.client, plan.thinking, plan.workload)


class _Lines(list[str]):
    """What a csv.writer writes to."""

    write = list.append


class _Writer:
    """One client's files: rows are held up to a number, then appended, so that a thousand writers need no file open."""

    def __init__(self, folder: Path, held: int) -> None:
        self.count = 0
        self._folder, self._held, self._part = folder, held, folder / "schedule.part"
        self._payloads: dict[str, tuple[int, int]] = {}  # number and size
        self._lines = _Lines()
        self._row = csv.writer(self._lines, lineterminator="\n").writerow
        self._row(SCHEDULE.header)

    def add(self, invocation: Invocation) -> None:
        """One more row."""
        known = self._payloads.get(invocation.payload)
        if known is None:
            known = self._payloads[invocation.payload] = len(self._payloads), size_of(invocation.payload)
        self._row(_cells(invocation, known[1], known[0]))
        self.count += 1
        if len(self._lines) > self._held:
            self._flush()

    def _flush(self) -> None:
        with self._part.open("ab") as file:
            file.write("".join(self._lines).encode())
        self._lines.clear()

    def finish(self, client: str, thinking: Iterable[Thinking], workload: Workload) -> None:
        """Write what is left, and workload.json."""
        self._flush()
        self._part.replace(self._folder / "schedule.csv")
        record = {
            "client": client, "count": self.count, "payloads": list(self._payloads),
            "workload": workload.model_dump(mode="json"),
            "thinking": [_dumped(each) for each in thinking],
        }
        (self._folder / "workload.json").write_text(json.dumps(record), encoding="utf-8")


def _dumped(thinking: Thinking) -> dict[str, Any]:
    return {
        "traffic": thinking.traffic.model_dump(mode="json", exclude_none=True), "functions": thinking.functions,
        "seed": thinking.source.seed, "index": thinking.source.index,
        "first_id": thinking.first_id, "stride": thinking.stride,
    }


class Additions:
    """Adds to a schedule what users decide during the run; each row is in the file when ``add`` returns."""

    def __init__(self, folder: Path) -> None:
        self._file = (folder / "schedule.csv").open("ab", buffering=0)
        self._line = io.StringIO()
        self._writer = csv.writer(self._line, lineterminator="\n")

    def add(self, invocation: Invocation) -> None:
        """Append one row."""
        self._writer.writerow(_cells(invocation, size_of(invocation.payload)))
        self._file.write(self._line.getvalue().encode())
        self._line.seek(0)
        self._line.truncate()

    def close(self) -> None:
        """End the file; the rows are in it already."""
        self._file.close()


def read(folder: Path) -> Plan:
    """The plan in ``folder``; its invocations are read as they are asked for, so that a long schedule costs nothing."""
    record = json.loads((folder / "workload.json").read_text(encoding="utf-8"))
    client = record["client"]
    thinking = tuple(
        Thinking(Traffic.model_validate(each["traffic"]), Source(each["seed"], client, each["index"], (), folder),
                 tuple(each["functions"]), each["first_id"], each["stride"])
        for each in record["thinking"]
    )
    stored = _Stored(folder / "schedule.csv", record["count"], record["payloads"])
    return Plan(client, record["count"], stored, thinking, Workload.model_validate(record["workload"]))


@dataclass(frozen=True)
class _Stored:
    """The first ``count`` rows of a schedule; what was added during the run comes after them."""

    path: Path
    count: int
    payloads: Sequence[str]

    def __iter__(self) -> Iterator[Invocation]:
        with self.path.open(newline="", encoding="utf-8") as file:
            rows = csv.reader(file)
            pick = itemgetter(*map(next(rows, SCHEDULE.header).index, _READ))  # thrice as quick as a DictReader
            for identifier, t, client, function, payload, session, phase, user in map(pick, islice(rows, self.count)):
                yield Invocation(int(identifier), float(t), client, function, self.payloads[int(payload)], session,
                                 phase, user)
