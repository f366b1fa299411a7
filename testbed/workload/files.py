"""A client's plan in its agent's folder: ``schedule.csv``, one row an invocation, and ``workload.json``, all else.

Payloads stand in ``workload.json`` once each; a row of the schedule names its payload by number.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any

from testbed.collect.schema import INVOCATIONS, SCHEDULE_COLUMNS
from testbed.roles.api import Invocation
from testbed.tables import Column, Row, Table, cell
from testbed.workload.arrivals import Source
from testbed.workload.schedule import Plan, Thinking
from testbed.workload.spec import Traffic, Workload

SCHEDULE = Table(
    "schedule",
    "What one client was asked to invoke; its own part of the invocations.",
    (
        *(column for column in INVOCATIONS.columns if column.name in SCHEDULE_COLUMNS),
        Column("payload", "integer", "", "Number of the payload in workload.json; empty if drawn during the run."),
    ),
)


_READ = ("invocation_id", "t_scheduled", "client", "function", "payload", "session", "phase", "user")


def _cells(invocation: Invocation, payload: int | None = None) -> list[object]:
    row: Row = {
        "invocation_id": invocation.invocation_id, "phase": invocation.phase, "session": invocation.session,
        "client": invocation.client, "function": invocation.function, "t_scheduled": invocation.t_scheduled,
        "request_bytes": size_of(invocation.payload), "user": invocation.user, "payload": payload,
    }
    return [cell(row[name]) for name in SCHEDULE.header]


def size_of(text: str) -> int:
    """Bytes of ``text`` in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def write(plan: Plan, folder: Path) -> None:
    """Put ``plan`` into ``folder``, which must exist."""
    numbers: dict[str, int] = {}
    with (folder / "schedule.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(SCHEDULE.header)
        for invocation in plan.invocations:
            writer.writerow(_cells(invocation, numbers.setdefault(invocation.payload, len(numbers))))
    record = {
        "client": plan.client, "count": plan.count, "payloads": list(numbers),
        "workload": plan.workload.model_dump(mode="json"),
        "thinking": [_dumped(each) for each in plan.thinking],
    }
    (folder / "workload.json").write_text(json.dumps(record), encoding="utf-8")


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
        self._writer.writerow(_cells(invocation))
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
