"""What clients wrote of the ends of their invocations, with all that cannot be true refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy

from testbed.collect.columns import Array, Frame, Words, joined
from testbed.collect.schema import INVOCATIONS, OUTCOME_COLUMNS

STATUSES = ("ok", "error", "rejected", "timeout", "dropped", "lost", "unsent")
NEVER_SENT = ("unsent", "dropped")
UNSENT, LOST = 0, 1  # rows that stand for all invocations without an outcome
_MISSING = (
    ("unsent", "the client ended before it came to this invocation"),
    ("lost", "the client ended before it wrote an outcome"),
)


class Outcomes:
    """The outcomes of all clients, refused ones among them; the rows UNSENT and LOST come first."""

    def __init__(self) -> None:
        columns = {column.name: column for column in INVOCATIONS.columns if column.name in OUTCOME_COLUMNS}
        number = columns.pop("invocation_id")
        self.frame = Frame(columns.values(), [number])
        self.frame.add(self.frame.parsed(("invocation_id", "status", "error"), [("0", *each) for each in _MISSING]))
        self._count = len(_MISSING)
        status = self.frame.columns["status"]
        assert isinstance(status, Words)
        self._status = status

    def read(self, path: Path, ids: Array) -> tuple[Array, Array, list[str]]:
        """Add the file of a client that was given the invocations ``ids``.

        Gives for each of ``ids`` the row of its outcome (-1: none) and whether that shows that the client came to it,
        and why each other line was refused. The first of two outcomes counts.
        """
        lines: list[Array] = []
        refused: list[tuple[int, str]] = []
        told = _Told(self._status, ids)
        for begin, part in self.frame.pieces(path):
            if isinstance(part, str):
                refused.append((begin, part))
            else:
                self.frame.add(part)
                told.parts.append((part["invocation_id"], part["status"], numpy.isnan(part["t_sent"])))
                lines.append(numpy.arange(begin, begin + len(part["status"])))
        line = joined(lines, numpy.int64)
        rows, fired, why = told.judged()
        refused += [(int(line[row]), sentence) for row, sentence in why]
        found = numpy.where(rows >= 0, rows + self._count, -1)
        self._count += len(line)
        return found, fired, [f"{path}: {sentence}" for _, sentence in sorted(refused)]


class _Told:
    """The readable rows of one file, held against the schedule ``ids``; each of ``parts`` is (number, status, unsent).
    """

    def __init__(self, status: Words, ids: Array) -> None:
        self._words, self._ids = status, ids
        self.parts: list[tuple[Array, Array, Array]] = []

    def judged(self) -> tuple[Array, Array, Iterator[tuple[int, str]]]:
        """For each of ``ids`` its row (-1: none) and whether it was come to; and why each other row is refused."""
        numbers = joined((part[0] for part in self.parts), numpy.int64)
        status = joined((part[1] for part in self.parts), numpy.int32)
        unsent = joined((part[2] for part in self.parts), bool)
        target, known = self._places(numbers)
        ended = self._words.are(status, STATUSES)
        sound = numpy.flatnonzero(known & ended & (~unsent | self._words.are(status, NEVER_SENT)))[::-1]
        rows = numpy.full(len(self._ids), -1)
        rows[target[sound]] = sound  # backwards, so that the first of several stays
        fired = numpy.zeros(len(self._ids), bool)
        fired[rows >= 0] = ~self._words.are(status, ("unsent",))[rows[rows >= 0]]

        def refusals() -> Iterator[tuple[int, str]]:
            taken = numpy.zeros(len(numbers), bool)
            taken[rows[rows >= 0]] = True
            for row in numpy.flatnonzero(~taken).tolist():
                yield row, why(row)

        def why(row: int) -> str:
            number = numbers[row]
            if not known[row]:
                return f"an outcome of invocation {number}, which was not scheduled here"
            if 0 <= rows[target[row]] < row:
                return f"a second outcome of invocation {number}"
            word = self._words.meaning(status[row])
            if not ended[row]:
                return f"invocation {number} has the unknown status {word!r}"
            return f"invocation {number} ended as {word!r} without a time of sending"

        return rows, fired, refusals()

    def _places(self, numbers: Array) -> tuple[Array, Array]:
        """Where in ``ids`` each of ``numbers`` stands, and whether it stands there at all."""
        if not len(self._ids):
            return numpy.zeros(len(numbers), numpy.int64), numpy.zeros(len(numbers), bool)
        order = numpy.argsort(self._ids, kind="stable")
        place = numpy.searchsorted(self._ids, numbers, sorter=order).clip(max=len(order) - 1)
        target = order[place]
        return target, self._ids[target] == numbers
