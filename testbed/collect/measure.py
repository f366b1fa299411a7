"""One number from a dataset of a run, by a short name: what published values are compared with beside the summary.

    so_moves.duration_s.p50                  the median of a column
    invocations[node=edge].queue_s.mean      of the rows where another column has this text; phase measure only
    invocations.service_latency_s.mean/user  each user's by itself, and of those the mean
    byte_km                                  bytes times kilometres, for each good answer
    byte_km_rate                             the same, for each second
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from math import fsum
from pathlib import Path

from testbed.collect.summary import percentile

_NAME = re.compile(r"(\w+)(?:\[(\w+)=([^\]]*)\])?\.(\w+)\.(\w+)(?:/(\w+))?")
_STATISTICS: Mapping[str, Callable[[Sequence[float]], float | None]] = {
    "mean": lambda values: fsum(values) / len(values) if values else None,
    "p50": lambda values: percentile(values, 0.5),
    "p90": lambda values: percentile(values, 0.9),
    "max": lambda values: max(values, default=None),
    "sum": fsum,
    "count": lambda values: float(len(values)),
}


def measure(folder: Path, name: str, lengths: Mapping[str, float]) -> float | None:
    """The number ``name`` of the run in ``folder``; None where there are no such rows, no such thing, or texts.

    ``lengths`` of links, or of patterns of links, are in km.
    """
    if name in ("byte_km", "byte_km_rate"):
        return _byte_km(folder, lengths, name == "byte_km_rate")
    found = _NAME.fullmatch(name)
    if found is None or found[5] not in _STATISTICS:
        return None
    table, where, text, column, statistic, each = found.groups()
    groups: dict[str, list[float]] = {} if each else {"": []}
    for row in _chosen(_rows(folder / f"{table}.csv"), where, text, column):
        value = 1.0 if statistic == "count" else _number(row[column])
        if value is None:
            return None
        groups.setdefault(row.get(each, "") if each else "", []).append(value)
    told = [_STATISTICS[statistic](sorted(values)) for values in groups.values()]
    known = [value for value in told if value is not None]
    return fsum(known) / len(known) if known else None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _rows(path: Path) -> Iterator[dict[str, str]]:
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            yield from csv.DictReader(file)


def _chosen(rows: Iterator[dict[str, str]], where: str | None, text: str, column: str) -> Iterator[dict[str, str]]:
    for row in rows:
        if row.get("phase", "measure") == "measure" and (where is None or row.get(where) == text) and row.get(column):
            yield row


def _byte_km(folder: Path, lengths: Mapping[str, float], is_rate: bool) -> float | None:
    ends: dict[tuple[str, str], list[float]] = {}
    times: list[float] = []
    for row in _rows(folder / "links.csv"):
        ends.setdefault((row["link"], row["node"]), []).append(float(row["size_bytes"]))
        times.append(float(row["t"]))
    carried = fsum((values[-1] - values[0]) * _length(link, lengths) for (link, _), values in ends.items())
    if is_rate:
        over: float = max(times, default=0.0) - min(times, default=0.0)
    else:
        over = sum(row["status"] == "ok" for row in _rows(folder / "invocations.csv"))
    return carried / over if over else None


def _length(link: str, lengths: Mapping[str, float]) -> float:
    return next((length for pattern, length in lengths.items() if fnmatchcase(link, pattern)), 0.0)
