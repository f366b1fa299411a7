"""Schedules and outcomes become one dataset: rows out = invocations in, whatever happened to whom.

Each client writes ``outcomes.csv``, one row when an invocation has ended, beside the ``schedule.csv`` it was given. A
client that crashes leaves outcomes out or half-written; the schedule decides which rows exist, and what is missing is
told apart by evidence: an invocation that was under way is ``lost``, one that the client never came to is ``unsent``.
"""

from __future__ import annotations

import heapq
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from testbed.collect.schema import INVOCATIONS, OUTCOME_COLUMNS, RUN_COLUMNS, SCHEDULE_COLUMNS
from testbed.collect.streamed import whole_rows
from testbed.errors import TestbedError
from testbed.tables import Cell, Row

_KINDS = {column.name: column.kind for column in INVOCATIONS.columns}
_NEVER_SENT = ("unsent", "dropped")
STATUSES = ("ok", "error", "rejected", "timeout", "dropped", "lost", "unsent")

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Planned:
    """One row of a schedule. ``at_sending`` marks one that its user added to the schedule when it sent it."""

    row: Record
    user: str = ""
    at_sending: bool = False

    @property
    def number(self) -> int:
        """Its invocation_id."""
        return int(self.row["invocation_id"])


@dataclass(slots=True)
class Invocations:
    """The merged rows in order of ``invocation_id``, and a sentence for each line that was refused.

    ``waiting`` are the invocations that had to wait for an earlier answer to their user: how late they were sent says
    nothing about the generator.
    """

    rows: list[Record] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    waiting: frozenset[int] = frozenset()

    def stamped(self, run: Row) -> Iterator[Row]:
        """The rows of ``invocations.csv``: each with the run's columns (run_id, verdict, substrate, system, seed)."""
        unknown = run.keys() - set(RUN_COLUMNS)
        if unknown:
            raise ValueError(f"not columns of a run: {', '.join(sorted(unknown))}")
        return ({**run, **row} for row in self.rows)


def collect(folders: Iterable[Path]) -> Invocations:
    """Merge what the clients in these agent folders were given and what they wrote.

    Every row of every ``schedule.csv`` gives exactly one row. Raises TestbedError if a schedule itself is broken or two
    clients were given the same invocation: then nobody can say what was asked for.
    """
    parts = [_client(folder) for folder in folders]
    rows = list(heapq.merge(*(part.rows for part in parts), key=lambda row: row["invocation_id"]))
    for before, after in pairwise(rows):
        if before["invocation_id"] == after["invocation_id"]:
            raise TestbedError(f"Invocation {after['invocation_id']} is scheduled for both {before['client']} and "
                               f"{after['client']}; identifiers must be unique in a run.")
    refused = [sentence for part in parts for sentence in part.refused]
    return Invocations(rows, refused, frozenset().union(*(part.waiting for part in parts)))


def _client(folder: Path) -> Invocations:
    schedule = _schedule(folder / "schedule.csv")
    outcomes, refused = _outcomes(folder / "outcomes.csv", schedule)
    has_users = any(planned.user for planned in schedule.values())
    known = 0 if has_users else _sent_at_least(folder / "progress.json")  # its count does not tell users apart
    waiting = frozenset(each.number for each in schedule.values() if each.user and not each.at_sending)
    return Invocations(merge(schedule.values(), outcomes, known), refused, waiting)


def merge(schedule: Iterable[Planned], outcomes: Mapping[int, Record], sent_at_least: int = 0) -> list[Record]:
    """One row for each row of one client's ``schedule``, in order of ``invocation_id``, with all derived columns.

    ``sent_at_least`` is how many invocations of the open loop the client said it had come to. In the open loop, and for
    each user, a client fires in order of ``t_scheduled``: an invocation without outcome was under way (``lost``) if a
    later one was fired. What a thinking user added to the schedule it did at the moment of sending.
    """
    rows, by_user = [], defaultdict(list)
    for planned in schedule:
        by_user[planned.user].append(planned)
    for user, mine in by_user.items():
        mine.sort(key=_firing_order)
        reached = max((number + 1 for number, each in enumerate(mine) if _was_reached(outcomes.get(each.number))),
                      default=0)
        reached = reached if user else max(reached, sent_at_least)
        rows += [derived({**each.row, **(outcomes.get(each.number) or _missing(number < reached or each.at_sending))})
                 for number, each in enumerate(mine)]
    return sorted(rows, key=lambda row: row["invocation_id"])


def derived(row: Record) -> Record:
    """``row`` with the columns that follow from others; what cannot be known stays empty."""
    if not row.get("user"):  # a user of a closed loop is late because it waits for an answer: not the generator's fault
        row["send_delay_s"] = _less(row.get("t_sent"), row.get("t_scheduled"))
    row["response_time_s"] = _less(row.get("t_done"), row.get("t_scheduled"))
    row["service_latency_s"] = _less(row.get("t_done"), row.get("t_sent"))
    if row["status"] == "ok" and row.get("exec_s") is not None:
        there = sum(row.get(part) or 0.0 for part in ("init_s", "queue_s", "exec_s"))
        row["network_s"] = _less(row["service_latency_s"], there)
    return row


def _less(later: float | None, earlier: float | None) -> float | None:
    return None if later is None or earlier is None else later - earlier


def _firing_order(planned: Planned) -> tuple[float, int]:
    return planned.row.get("t_scheduled") or 0.0, planned.number


def _was_reached(outcome: Record | None) -> bool:
    return outcome is not None and outcome["status"] != "unsent"


def _missing(was_sent: bool) -> Record:
    if was_sent:
        return {"status": "lost", "error": "the client ended before it wrote an outcome"}
    return {"status": "unsent", "error": "the client ended before it came to this invocation"}


def _sent_at_least(path: Path) -> int:
    """How many invocations the client last said it had fired or dropped; 0 where it said nothing readable."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        progress = json.loads(path.read_text(encoding="utf-8"))
        return int(progress["sent"]) + int(progress["dropped"])
    return 0


def _schedule(path: Path) -> dict[int, Planned]:
    found: dict[int, Planned] = {}
    for line in whole_rows(path):
        try:
            planned = _planned(line)
        except ValueError as error:
            raise TestbedError(f"The schedule of a client is not readable: {path}: {error}.") from error
        if planned.number in found:
            raise TestbedError(f"{path} schedules invocation {planned.number} twice.")
        found[planned.number] = planned
    return found


def _planned(line: Mapping[str, str] | str) -> Planned:
    row = _typed(line, SCHEDULE_COLUMNS)
    assert not isinstance(line, str)  # _typed has refused it
    return Planned(row, line.get("user", ""), line.get("payload") == "")


def _outcomes(path: Path, schedule: Mapping[int, Planned]) -> tuple[dict[int, Record], list[str]]:
    """The readable outcomes by identifier, and why each other line was refused. The first of two outcomes counts."""
    found: dict[int, Record] = {}
    refused: list[str] = []
    for line in whole_rows(path):
        try:
            row = _typed(line, OUTCOME_COLUMNS)
            _check(row, found, schedule)
        except ValueError as error:
            refused.append(f"{path}: {error}")
        else:
            found[row["invocation_id"]] = row
    return found, refused


def _check(row: Record, found: Mapping[int, Record], schedule: Mapping[int, Planned]) -> None:
    number = row["invocation_id"]
    if number in found:
        raise ValueError(f"a second outcome of invocation {number}")
    if number not in schedule:
        raise ValueError(f"an outcome of invocation {number}, which was not scheduled here")
    if row.get("status") not in STATUSES:
        raise ValueError(f"invocation {number} has the unknown status {row.get('status')!r}")
    if row.get("t_sent") is None and row["status"] not in _NEVER_SENT:
        raise ValueError(f"invocation {number} ended as {row['status']!r} without a time of sending")


def _typed(line: Mapping[str, str] | str, wanted: Iterable[str]) -> Record:
    """The wanted cells of a row in the types of the schema; raises ValueError."""
    if isinstance(line, str):
        raise ValueError(line)
    row: Record = {name: _value(name, line[name]) for name in wanted if name in line}
    if row.get("invocation_id") is None:
        raise ValueError("a row without invocation_id")
    return row


def _value(name: str, text: str) -> Cell:
    kind = _KINDS[name]
    if kind == "text":
        return text
    if text == "":
        return None
    if kind == "truth":
        return _truth(text)
    return int(text) if kind == "integer" else float(text)


def _truth(text: str) -> bool:
    if text in ("1", "True", "true"):
        return True
    if text in ("0", "False", "false"):
        return False
    raise ValueError(f"{text!r} is neither true nor false")
