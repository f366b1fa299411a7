"""Replay of a recorded workload from a CSV file."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from testbed.errors import InputError, Problem
from testbed.workload.arrivals.base import Arrival, Arrivals, Source

COLUMNS = ("t_offset_s", "function", "client", "payload_bytes", "session")


class TraceRow(NamedTuple):
    """One line of a trace; empty fields are drawn from the traffic's own mix."""

    line: int
    t: float
    function: str
    client: str
    payload_bytes: int | None
    session: str


class Trace(Arrivals):
    """Replays the rows of a CSV file at their times."""

    model: Literal["trace"] = Field(description="Replays a CSV file, one row an invocation.")
    file: str = Field(
        description="The CSV file, relative to the experiment's: columns `t_offset_s` and, where known, `function`, "
        "`client`, `payload_bytes`, `session`. Without `client` the rows are dealt to the clients in turn."
    )
    speed: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        1.0, description="2 replays the trace in half its time."
    )

    def arrivals(self, source: Source, horizon: float) -> Iterator[Arrival]:
        """The rows of this client, in order of time; raises InputError with file and line."""
        rows = sorted(read_trace(source.folder / self.file, source.clients), key=lambda row: row.t)
        for number, row in enumerate(rows):
            client = row.client or source.clients[number % len(source.clients)]
            if client == source.client:
                yield Arrival(row.t / self.speed, row.function, row.payload_bytes, row.session)


def read_trace(path: Path, clients: Sequence[str] = (), functions: Sequence[str] = ()) -> list[TraceRow]:
    """The rows of a trace; raises InputError with all that is wrong in it, each with its line.

    Names of clients and functions are checked against those given, if any are.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return _Reader(str(path), clients, functions).rows(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        found = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError([Problem(str(path), 0, "", found, "a CSV file in UTF-8")]) from error


class _Reader:
    def __init__(self, name: str, clients: Sequence[str], functions: Sequence[str]) -> None:
        self._name, self._known = name, {"client": clients, "function": functions}
        self._problems: list[Problem] = []

    def rows(self, lines: Iterator[list[str]]) -> list[TraceRow]:
        header = self._header(next(lines, []))
        # The csv module's own count is right for quoted line breaks too, hence no enumerate.
        rows = [self._row(lines.line_num, dict(zip(header, cells, strict=False)), len(cells), len(header))  # type: ignore[attr-defined]
                for cells in lines if cells]
        if self._problems:
            raise InputError(self._problems)
        return rows

    def _header(self, cells: list[str]) -> list[str]:
        header = [cell.strip() for cell in cells]
        unknown = [name for name in header if name not in COLUMNS]
        if "t_offset_s" not in header or unknown or len(set(header)) < len(header):
            found = f"the header {','.join(header)[:80] or '(nothing)'}"
            expected = f"t_offset_s and any of {', '.join(COLUMNS[1:])}, each once"
            raise InputError([Problem(self._name, 1, "", found, expected)])
        return header

    def _row(self, line: int, row: dict[str, str], cells: int, columns: int) -> TraceRow:
        if cells != columns:
            self._refuse(line, "", f"{cells} cells", f"{columns}, as the header has")
        for name, known in self._known.items():
            if known and row.get(name) and row[name] not in known:
                self._refuse(line, name, row[name], f"one of {', '.join(known[:8])}{', …' if len(known) > 8 else ''}")
        size = self._number(line, "payload_bytes", row.get("payload_bytes") or "0")
        return TraceRow(
            line, self._number(line, "t_offset_s", row.get("t_offset_s", "")), row.get("function", ""),
            row.get("client", ""), int(size) if row.get("payload_bytes") else None, row.get("session", ""),
        )

    def _number(self, line: int, column: str, cell: str) -> float:
        try:
            value = float(cell)
        except ValueError:
            value = -1.0
        if not (math.isfinite(value) and 0 <= value <= 1e9):
            self._refuse(line, column, cell or "nothing", "a number from 0 to 1e9")
            return 0.0
        return value

    def _refuse(self, line: int, column: str, found: str, expected: str) -> None:
        self._problems.append(Problem(self._name, line, column, found, expected))
