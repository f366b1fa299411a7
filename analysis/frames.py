"""A run's folder as pandas DataFrames: read when first asked for, typed by the schema, never a traceback.

A table that is missing, or was cut short when a run was killed, gives what is there with all of its columns; what
could not be read is told in :attr:`Frames.problems`, and the report prints it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd

from testbed.collect.schema import TABLES
from testbed.store import Reason, RunRecord, Verdict, read_record
from testbed.tables import Column, Table

_DTYPES = {"text": "str", "integer": "Int64", "number": "float64", "truth": "boolean"}
_SCHEMA = {table.name: table for table in TABLES}


@dataclass
class Frames:
    """The datasets of one run. ``problems`` grows as tables are read: what was wrong in them, for a person."""

    folder: Path
    record: RunRecord
    problems: list[str] = field(default_factory=list)
    _read: dict[str, pd.DataFrame] = field(default_factory=dict, repr=False)

    def table(self, name: str) -> pd.DataFrame:
        """The table ``<name>.csv``: typed by the schema, or as pandas sees it for a table of the system's own."""
        if name not in self._read:
            self._read[name] = _load_table(self.folder / f"{name}.csv", _SCHEMA.get(name), self.problems)
        return self._read[name]

    @property
    def invocations(self) -> pd.DataFrame:
        """One row for every scheduled invocation, whatever became of it."""
        return self.table("invocations")

    @property
    def measured(self) -> pd.DataFrame:
        """The invocations of the phase ``measure``, the only ones that statistics use."""
        rows = self.invocations
        return rows[rows["phase"] == "measure"]

    @property
    def good(self) -> pd.DataFrame:
        """The measured invocations that were answered well and have a response time."""
        rows = self.measured
        return rows[(rows["status"] == "ok") & rows["response_time_s"].notna()]

    @property
    def verdict(self) -> Verdict | None:
        """Whether the run can be trusted; None where the run ended before it could be judged."""
        told = self.record.verdict
        if not told:
            return None
        reasons = tuple(Reason(**reason) for reason in told.get("reasons", ()))
        return Verdict(told["level"], reasons, told.get("figures", {}))

    @property
    def datasets(self) -> dict[str, int]:
        """Each CSV file of the folder, by table name, with its size in bytes."""
        return {path.stem: path.stat().st_size for path in sorted(self.folder.glob("*.csv"))}

    def text(self, name: str) -> str:
        """The text file ``name`` of the folder, or nothing where the run has none."""
        path = self.folder / name
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def load(folder: Path) -> Frames:
    """The frames of the run in ``folder``; raises testbed.errors.RunNotFound where that is no run's folder."""
    return Frames(folder, read_record(folder))


def _load_table(path: Path, table: Table | None, problems: list[str]) -> pd.DataFrame:
    raw = _read_cells(path, problems)
    if table is None:
        return raw.apply(_guess)
    columns = {column.name: _typed(raw, column, path.name, problems) for column in table.columns}
    extra = {name: raw[name] for name in raw.columns if name not in columns}
    return pd.DataFrame({**columns, **extra})


def _read_cells(path: Path, problems: list[str]) -> pd.DataFrame:
    """All cells as text. What stands behind the last line end was being written when the run died: no row yet."""
    data = path.read_bytes() if path.is_file() else b""
    data = data[: data.rfind(b"\n") + 1]
    if not data:
        return pd.DataFrame()
    try:
        return _parse(data)
    except pd.errors.ParserError:
        bad: list[list[str]] = []
        raw = _parse(data, engine="python", on_bad_lines=bad.append)
        problems.append(f"{path.name}: {len(bad)} lines have too many cells and were left out.")
        return raw


def _parse(data: bytes, **options: Any) -> pd.DataFrame:
    cells: pd.DataFrame = pd.read_csv(BytesIO(data), dtype="str", keep_default_na=False, na_values=[""],
                                      encoding_errors="replace", **options)
    return cells


def _typed(raw: pd.DataFrame, column: Column, file: str, problems: list[str]) -> pd.Series:
    if column.name not in raw.columns:
        return pd.Series(pd.NA if column.kind != "number" else float("nan"), index=raw.index,
                         dtype=_DTYPES[column.kind])
    cells = raw[column.name]
    if column.kind == "text":
        return cells.fillna("").astype("str")
    numbers = pd.to_numeric(cells, errors="coerce")
    if column.kind != "number":  # whole numbers only: anything else would make the cast fail
        numbers = numbers.where(numbers % 1 == 0)
    lost = cells[cells.notna() & numbers.isna()]
    if len(lost):
        problems.append(f"{file}: column {column.name}: {len(lost)} cells are no {column.kind}, such as "
                        f"{lost.iloc[0]!r}; they count as empty.")
    if column.kind == "truth":
        return numbers.map({1: True, 0: False}).astype("boolean")
    return numbers.astype("Int64") if column.kind == "integer" else numbers.astype("float64")


def _guess(cells: pd.Series) -> pd.Series:
    numbers = pd.to_numeric(cells, errors="coerce")
    return numbers if numbers.notna().sum() == cells.notna().sum() else cells.fillna("")
