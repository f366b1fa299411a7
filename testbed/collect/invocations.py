"""Schedules and outcomes become one dataset: rows out = invocations in, whatever happened to whom.

Each client writes ``outcomes.csv``, one row when an invocation has ended, beside the ``schedule.csv`` it was given. A
client that crashes leaves outcomes out or half-written; the schedule decides which rows exist, and what is missing is
told apart by evidence: an invocation that was under way is ``lost``, one that the client never came to is ``unsent``.

Files are read in pieces and kept by columns, so that a million invocations need little time and memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy

from testbed.collect.columns import PIECE, Array, Frame, in_csv, joined
from testbed.collect.outcomes import LOST, UNSENT, Outcomes
from testbed.collect.schema import INVOCATIONS, RUN_COLUMNS, SCHEDULE_COLUMNS
from testbed.errors import TestbedError
from testbed.tables import Column, Row, cell

_COLUMNS = {column.name: column for column in INVOCATIONS.columns}

OPEN = -1  # in the place of a user's number
Record = dict[str, Any]


class Invocations:
    """The merged rows in order of ``invocation_id``, by columns, and a sentence for each line that was refused.

    ``waiting`` says of each row whether it had to wait for an earlier answer to its user: how late it was sent says
    nothing about the generator.
    """

    def __init__(self, clients: Sequence[_Client], schedule: Frame, outcomes: Frame) -> None:
        self.refused = [sentence for client in clients for sentence in client.refused]
        order = numpy.argsort(schedule.columns["invocation_id"].values(slice(None)), kind="stable")
        self._schedule, self._outcomes = schedule, outcomes
        self.waiting = joined([client.waiting for client in clients], bool)[order]
        self._outcome = joined([client.outcome for client in clients], numpy.int32)[order]
        schedule.reorder(order)
        self._refuse_twins()

    def __len__(self) -> int:
        return len(self._outcome)

    def _refuse_twins(self) -> None:
        ids = self.column("invocation_id")
        for place in numpy.flatnonzero(ids[1:] == ids[:-1])[:1]:
            before, after = self.column("client", slice(place, place + 2))
            raise TestbedError(f"Invocation {ids[place]} is scheduled for both {before} and {after}; "
                               "identifiers must be unique in a run.")

    def column(self, name: str, rows: slice = slice(None)) -> Array:
        """A column of INVOCATIONS: moments and durations as float64 with NaN for what is not known, others as objects.

        ``invocation_id`` is int64; the run's own columns are not here.
        """
        if name in self._schedule.columns:
            return self._schedule.columns[name].values(rows)
        if name in self._outcomes.columns:
            return self._outcomes.columns[name].values(self._outcome[rows])
        return self._derived(name, rows)

    def _derived(self, name: str, rows: slice) -> Array:
        """A column that follows from others; what cannot be known is NaN."""
        if name == "send_delay_s":  # a user of a closed loop is late because it waits: not the generator's fault
            late = self.column("t_sent", rows) - self.column("t_scheduled", rows)
            return numpy.where(self.column("user", rows) == "", late, numpy.nan)
        if name == "response_time_s":
            return self.column("t_done", rows) - self.column("t_scheduled", rows)
        if name == "service_latency_s":
            return self.column("t_done", rows) - self.column("t_sent", rows)
        there = self.column("exec_s", rows)
        before = numpy.nan_to_num(self.column("init_s", rows)) + numpy.nan_to_num(self.column("queue_s", rows))
        known = self._derived("service_latency_s", rows) - (before + there)
        return numpy.where(self.column("status", rows) == "ok", known, numpy.nan)

    @property
    def rows(self) -> list[Record]:
        """All rows as dictionaries, None for what is not known: for small runs."""
        names = [name for name in _COLUMNS if name not in RUN_COLUMNS]
        columns = [[None if value != value else value for value in self.column(name).tolist()] for name in names]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]

    def stamped(self, run: Row) -> Iterator[Sequence[object]]:
        """The cells of ``invocations.csv``, with the run's columns (run_id, verdict, substrate, system, seed)."""
        unknown = run.keys() - set(RUN_COLUMNS)
        if unknown:
            raise ValueError(f"not columns of a run: {', '.join(sorted(unknown))}")
        starts = range(0, len(self), PIECE)
        return (row for start in starts for row in self._piece(run, slice(start, start + PIECE)))

    def _piece(self, run: Row, rows: slice) -> Iterator[Sequence[object]]:
        # The identifiers end the zip: the run's columns are endless.
        return zip(*(self._cells(name, run, rows) for name in INVOCATIONS.header), strict=False)

    def _cells(self, name: str, run: Row, rows: slice) -> Iterable[object]:
        if name in RUN_COLUMNS:
            return repeat(cell(run.get(name)))
        if name in self._schedule.columns:
            return self._schedule.columns[name].texts(rows)
        if name in self._outcomes.columns:
            return self._outcomes.columns[name].texts(self._outcome[rows])
        return in_csv(self._derived(name, rows))


def collect(folders: Iterable[Path]) -> Invocations:
    """Merge what the clients in these agent folders were given and what they wrote.

    Every row of every ``schedule.csv`` gives exactly one row. Raises TestbedError if a schedule itself is broken or two
    clients were given the same invocation: then nobody can say what was asked for.
    """
    schedule = Frame([_COLUMNS[name] for name in SCHEDULE_COLUMNS], [Column("payload", "number", "", "")])
    outcomes = Outcomes()
    clients = [_merged(folder, schedule, outcomes) for folder in folders]
    return Invocations(clients, schedule, outcomes.frame)


@dataclass(frozen=True, slots=True)
class _Client:
    """One client's rows in the order of its schedule: whether it waited, and the row of its outcome."""

    waiting: Array
    outcome: Array
    refused: list[str]


def _merged(folder: Path, schedule: Frame, outcomes: Outcomes) -> _Client:
    """Add one client's files to the frames.

    In the open loop, and for each user, a client fires in order of ``t_scheduled``: an invocation without outcome was
    under way (``lost``) if a later one was fired. What a thinking user added to the schedule it did when it sent it.
    """
    planned = _schedule(folder / "schedule.csv", schedule)
    outcome, fired, refused = outcomes.read(folder / "outcomes.csv", planned.ids)
    has_user = planned.users != OPEN
    known = 0 if has_user.any() else _sent_at_least(folder / "progress.json")  # its count does not tell users apart
    reached = reached_by(planned, fired, known) | planned.at_sending
    outcome = numpy.where(outcome >= 0, outcome, numpy.where(reached, LOST, UNSENT))
    return _Client(has_user & ~planned.at_sending, outcome.astype(numpy.int32), refused)


@dataclass(frozen=True, slots=True)
class Planned:
    """A schedule's columns; each user has a number, OPEN stands for the open loop.

    ``at_sending`` marks what its user added to the schedule when it sent it.
    """

    ids: Array
    t: Array
    users: Array
    at_sending: Array


def reached_by(planned: Planned, fired: Array, sent_at_least: int = 0) -> Array:
    """Whether the client came to each invocation, of which ``fired`` are known to have been sent or dropped.

    ``sent_at_least`` is how many invocations of the open loop the client said it had come to.
    """
    names, users = numpy.unique(planned.users, return_inverse=True)
    order = numpy.lexsort((planned.ids, numpy.nan_to_num(planned.t), users))
    begins = numpy.searchsorted(users[order], numpy.arange(len(names)))
    place = numpy.empty(len(order), numpy.int64)
    place[order] = numpy.arange(len(order)) - begins[users[order]]
    ends = numpy.where(names == OPEN, sent_at_least, 0)
    numpy.maximum.at(ends, users[fired], place[fired] + 1)
    return numpy.asarray(place < ends[users])


def _schedule(path: Path, frame: Frame) -> Planned:
    """The columns of one schedule, all but ``payload`` added to ``frame``."""
    nobody = frame.columns["user"].parsed([""])[0]
    parts: list[tuple[Array, Array, Array, Array]] = []
    for _, part in frame.pieces(path):
        if isinstance(part, str):
            raise TestbedError(f"The schedule of a client is not readable: {path}: {part}.")
        frame.add(part)
        at_sending = numpy.isnan(part["payload"])
        parts.append((part["invocation_id"], part["t_scheduled"], part["user"], at_sending))
    kinds = (numpy.int64, numpy.float64, numpy.int32, bool)
    ids, t, users, at_sending = (joined((part[which] for part in parts), kind) for which, kind in enumerate(kinds))
    ordered = numpy.sort(ids)
    for number in ordered[1:][ordered[1:] == ordered[:-1]][:1]:
        raise TestbedError(f"{path} schedules invocation {number} twice.")
    return Planned(ids, t, numpy.where(users == nobody, OPEN, users), at_sending)


def _sent_at_least(path: Path) -> int:
    """How many invocations the client last said it had fired or dropped; 0 where it said nothing readable."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        progress = json.loads(path.read_text(encoding="utf-8"))
        return int(progress["sent"]) + int(progress["dropped"])
    return 0
