"""A CSV file of a recorded workload, however large: read row by row, each mistake told with its line."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from operator import itemgetter
from pathlib import Path

from testbed.errors import InputError, Problem

MOST_PROBLEMS = 20
"""Mistakes that are told of one file; a file of another format has one in every line."""


class Table:
    """One CSV file with a header, of which the columns ``needed`` (two or more) are read."""

    def __init__(self, path: Path, needed: Sequence[str]) -> None:
        self._path, self._needed = path, needed
        self._line = 0
        self._problems: list[Problem] = []

    def rows(self) -> Iterator[tuple[str, ...]]:
        """The needed cells of each row, in the order of ``needed``; raises InputError, at the latest after all."""
        try:
            with self._path.open(newline="", encoding="utf-8-sig") as file:
                yield from self._picked(csv.reader(file))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            found = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise InputError([Problem(str(self._path), 0, "", found, "a CSV file in UTF-8")]) from error
        if self._problems:
            raise InputError(self._problems)

    def _picked(self, lines: Iterator[list[str]]) -> Iterator[tuple[str, ...]]:
        header = [cell.strip() for cell in next(lines, [])]
        self._line = 1
        missing = [name for name in self._needed if name not in header]
        if missing or len(set(header)) < len(header):
            more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            twice = sorted({name for name in header if header.count(name) > 1})
            wrong = f"without {', '.join(missing[:3])}{more}" if missing else f"with {twice[0] or 'no name'} twice"
            begins = ",".join(header)[:60] or "nothing"
            self.refuse("", f"a header {wrong} (it begins with {begins})", f"the columns {self._columns()}, each once")
            return
        pick = itemgetter(*map(header.index, self._needed))
        for cells in lines:
            # The csv module's own count is right for quoted line breaks too, hence no enumerate.
            self._line = lines.line_num  # type: ignore[attr-defined]
            if len(cells) == len(header):
                yield pick(cells)
            elif cells:
                self.refuse("", f"{len(cells)} cells", f"{len(header)}, as the header has")

    def _columns(self) -> str:
        names = list(self._needed)
        return ", ".join(names if len(names) <= 12 else [*names[:4], "…", names[-1]])

    def number(self, column: str, cell: str) -> float:
        """The number in ``cell``, from 0 to 1e12; else the mistake is noted and 0 is returned."""
        try:
            value = float(cell)
        except ValueError:
            value = -1.0
        if math.isfinite(value) and 0 <= value <= 1e12:
            return value
        self.refuse(column, cell or "nothing", "a number from 0 to 1e12")
        return 0.0

    def whole(self, column: str, cell: str) -> int:
        """The whole number in ``cell``, from 0 to 1e12; else the mistake is noted and 0 is returned."""
        if cell.isascii() and cell.isdigit() and len(cell) <= 12:
            return int(cell)
        self.refuse(column, cell or "nothing", "a whole number from 0 to 1e12")
        return 0

    def key(self, columns: Sequence[str], cells: tuple[str, ...]) -> tuple[str, ...]:
        """The identifiers in ``cells``, none of which may be empty."""
        for column, cell in zip(columns, cells, strict=True):
            if not cell:
                self.refuse(column, "nothing", "an identifier")
        return cells

    def refuse(self, column: str, found: str, expected: str) -> None:
        """Note a mistake in the row that was read last; raises InputError when it is one too many."""
        self._problems.append(Problem(str(self._path), self._line, column, found, expected))
        if len(self._problems) >= MOST_PROBLEMS:
            raise InputError(self._problems)
