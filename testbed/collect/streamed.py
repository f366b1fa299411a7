"""A CSV that grows row by row and is readable at any moment, whoever dies."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

from testbed.tables import Row, Table, cell

_CUT_OFF = "unexpected end of data"  # the csv module's words for a quoted cell that never ends


class StreamedTable:
    """``folder/<table>.csv`` open for appending; the header stands from the start, each batch is on disk at once."""

    def __init__(self, folder: Path, table: Table) -> None:
        self.table = table
        self.path = folder / f"{table.name}.csv"
        self._file = self.path.open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self.append_cells([table.header])

    def append(self, rows: Iterable[Row]) -> None:
        """Add rows; columns that the table does not have raise ValueError, missing ones stay empty."""
        self.append_cells(self._cells(row) for row in rows)

    def append_cells(self, rows: Iterable[Sequence[object]]) -> None:
        """Add rows whose cells stand in the order of the header: the quick way for many rows a second."""
        self._writer.writerows([cell(value) for value in row] for row in rows)
        self._file.flush()

    def close(self) -> None:
        """End the file; appending after it raises ValueError."""
        self._file.close()

    def _cells(self, row: Row) -> list[object]:
        unknown = row.keys() - set(self.table.header)
        if unknown:
            raise ValueError(f"{self.table.name}.csv has no column {', '.join(sorted(unknown))}")
        return [row.get(name) for name in self.table.header]

    def __enter__(self) -> StreamedTable:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()


def whole_rows(path: Path) -> Iterator[dict[str, str] | str]:
    """The rows of a CSV by column name; see :func:`whole_lines`."""
    header: list[str] = []
    for line in whole_lines(path):
        if isinstance(line, str):
            yield line
        elif header:
            yield dict(zip(header, line, strict=True))
        else:
            header = line


def whole_lines(path: Path) -> Iterator[list[str] | str]:
    """The lines of a CSV whose writer may have died at any byte: each its cells, or a sentence on why it has none.

    The first that has cells is the header; all others have as many. What stands behind the last line
    end is a half-written row and is left out without a word: a crash leaves that behind. A missing file has no lines.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        reader = csv.reader(_ended(file), strict=True)
        header: list[str] = []
        while True:
            number = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                if str(error) != _CUT_OFF:
                    yield f"{path}:{number}: not readable as CSV ({error})"
                continue
            if not header:
                header = cells
            if cells and len(cells) == len(header):
                yield cells
            elif cells:
                yield f"{path}:{number}: {len(cells)} cells under a header of {len(header)}"


def _ended(file: IO[bytes]) -> Iterator[str]:
    """The lines of ``file`` that have an end."""
    for line in file:
        if not line.endswith(b"\n"):
            return
        text = line.decode("utf-8", errors="replace")
        if "\r" in text:
            yield from io.StringIO(text, newline="")  # which ends lines at carriage returns, too
        else:
            yield text
