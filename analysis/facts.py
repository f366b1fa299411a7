"""The tables of the report, as plain data: what was asked, measured, done and found."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.frames import Frames
from testbed.collect.schema import SUMMARY

MOST_ROWS = 150
"""Longer tables are cut here; the report says how many rows are left out and which file has them."""


@dataclass(frozen=True)
class Sheet:
    """A table for a person: ``note`` stands under its title, ``more`` is how many rows were cut off."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    more: int = 0
    file: str = ""


def sheets(frames: Frames) -> list[Sheet]:
    """All tables that have a row, in the order of the report."""
    record = frames.record
    found = [
        published(record.published), summary(frames.table("summary")), calibration(record.calibration),
        judged(frames), events(frames.table("events")), agents(frames.folder),
        pairs("How each link is shaped", ("end of a link", "mechanism"), record.mechanisms,
              "What carries out each one-way shape: the mechanisms were chosen from what this machine has."),
        datasets(frames),
    ]
    return [sheet for sheet in found if sheet.rows]


def published(told: Mapping[str, Any]) -> Sheet:
    """Measured beside published values, whatever was measured."""
    rows = [(row.get("name", ""), *(written(row.get("metric", ""), row.get(key)) for key in ("published", "measured")),
             _share(row.get("difference")), _share(row.get("tolerance")),
             "reproduced" if row.get("reproduced") else "NOT reproduced") for row in told.get("rows", ())]
    header = ("what", "published", "measured", "difference", "tolerance", "judgement")
    return Sheet("Measured beside published", header, rows, note=f"Source: {told.get('source', 'not named')}.")


def _share(value: object) -> str:
    return f"{value:.1%}" if isinstance(value, float | int) else ""


def summary(table: pd.DataFrame) -> Sheet:
    """The rows of ``summary.csv``; its columns become rows where they are more than the functions."""
    meanings = {column.name: column.meaning for column in SUMMARY.columns}
    functions = [str(name) for name in table["function"]]
    rows = [(name, *(written(name, value) for value in table[name]), meanings.get(name, ""))
            for name in table.columns if name != "function" and table[name].notna().any()]
    header = ("", *("all functions" if name == "*" else name for name in functions), "")
    return Sheet("Summary", header, rows if functions else (), note="Over the phase measure.", file="summary.csv")


def calibration(rows: Sequence[Mapping[str, Any]]) -> Sheet:
    """What each link was asked to do beside what was measured before the workload."""
    names = list(dict.fromkeys(name for row in rows for name, value in row.items() if value not in (None, "")))
    return _cut("Calibration", [heading(name) for name in names],
                [[written(name, row.get(name)) for name in names] for row in rows],
                "What each link was asked to do, and what was measured before the workload.", "run.json")


def judged(frames: Frames) -> Sheet:
    """Every measure behind the verdict, also the harmless ones."""
    figures = frames.verdict.figures if frames.verdict else {}
    return _cut("Measures behind the verdict", ("measure", "value"),
                [(name, f"{value:.4g}") for name, value in figures.items()],
                "Times in seconds, shares from 0 to 1. docs/reference-limits.md has the limits.", "run.json")


def events(table: pd.DataFrame) -> Sheet:
    """What was done and what happened; the numbers are those on crowded figures."""
    rows = [(str(number), written("t_s", row["t_planned"]), written("t_s", row["t_actual"]),
             str(row["kind"]).replace("_", " "), str(row["subject"]), str(row["detail"]))
            for number, (_, row) in enumerate(table.iterrows(), start=1)]
    return _cut("Events", ("no.", "planned", "actual", "kind", "subject", "detail"), rows, "", "events.csv")


def agents(folder: Path) -> Sheet:
    """The agents by what they left behind: the status they ended with, and their last line on stderr."""
    rows = [(path.parent.name, path.name, _first_line(path / "exit"), _last_line(path / "stderr"))
            for path in sorted(folder.glob("hosts/*/*")) if path.is_dir()]
    return _cut("Agents", ("host", "role", "exit status", "last line of its log"), rows,
                "An agent that was stopped in order, at the end of the run, has a status too.", "hosts/")


def _first_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    return lines[0][:40] if lines else ""


def _last_line(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 2000))
        lines = file.read().decode("utf-8", errors="replace").strip().splitlines()
    return lines[-1][:160] if lines else ""


def datasets(frames: Frames) -> Sheet:
    """The CSV files of the run."""
    rows = [(f"{name}.csv", str(len(frames.table(name))), written("size_bytes", size))
            for name, size in frames.datasets.items()]
    return Sheet("Datasets", ("file", "rows", "size"), rows, note="Columns: docs/reference-datasets.md.")


def pairs(title: str, header: Sequence[str], told: Mapping[str, object], note: str = "") -> Sheet:
    """A mapping as a table."""
    return _cut(title, header, [(str(name), _text(value)) for name, value in told.items()], note, "run.json")


def _cut(title: str, header: Sequence[str], rows: Iterable[Sequence[str]], note: str, file: str) -> Sheet:
    listed = list(rows)
    return Sheet(title, header, listed[:MOST_ROWS], note, max(0, len(listed) - MOST_ROWS), file)


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)


def heading(name: str) -> str:
    """A column's name for a person: without the unit, which stands with each value."""
    return re.sub(r"_(s|bytes)$", "", name).replace("_", " ")


def written(name: str, value: object) -> str:
    """A value of the column ``name`` as a person reads it, with the unit that the name ends in."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        return _text(value)
    number = float(value)
    if not math.isfinite(number):
        return str(number)
    return _with_unit(name, number)


def _with_unit(name: str, number: float) -> str:
    if name.endswith("_s"):
        return _scaled(number, (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)))
    if name.endswith("_bytes"):
        return _scaled(number, (("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("B", 1.0)))
    if "rate" in re.split(r"[^a-z]", name):
        return _scaled(number, (("Gbit/s", 1e9), ("Mbit/s", 1e6), ("kbit/s", 1e3), ("bit/s", 1.0)))
    if "share" in name or "loss" in name:
        return f"{number * 100:.4g} %"
    return f"{number:.0f}" if number == int(number) and abs(number) < 1e15 else f"{number:.4g}"


def _scaled(number: float, units: Sequence[tuple[str, float]]) -> str:
    unit, factor = next((each for each in units if abs(number) >= each[1]), units[-1])
    return f"{number / factor:.4g} {unit}" if number else "0"
