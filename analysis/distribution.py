"""How a column of the invocations is distributed at each point of a sweep, the runs of all seeds together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis import style
from analysis.curve import Point, doubts, natural
from analysis.frames import load
from testbed.errors import UsageError

SHARES = (0.25, 0.5, 0.75, 0.9, 0.95)
"""The quantiles that are told."""


@dataclass(frozen=True)
class Distribution:
    """One column of the good invocations, in the phase ``measure``: label of the point -> all its values."""

    column: str
    points: Sequence[Point]
    values: Mapping[str, pd.Series]

    def quantiles(self) -> dict[str, list[float]]:
        """Label -> the quantiles SHARES, in the column's own unit."""
        return {label: [float(each) for each in values.quantile(list(SHARES))] for label, values in self.values.items()}

    def figure(self) -> Figure:
        """The share of the values up to each one."""
        with style.styled():
            figure, (axes,) = style.canvas()
            for index, (label, values) in enumerate(self.values.items()):
                ordered = np.sort(values.to_numpy()) * (1e3 if self.column.endswith("_s") else 1)
                places = np.unique(np.linspace(0, len(ordered) - 1, 800).round().astype(int))
                axes.plot(ordered[places], (places + 1) / len(ordered), label=f"{label} ({len(ordered)})",
                          drawstyle="steps-post", **style.line_style(index))  # fmt: skip
            words = self.column.removesuffix("_s").replace("_", " ")
            name = self.points[0].frames.record.experiment
            figure.suptitle(f"{name}: {words}", x=0.01, ha="left", fontsize=11, fontweight="bold")
            told = doubts(self.points)
            axes.set_title(f"{len(self.points)} runs{told and f': {told}'}")
            axes.set_xlabel(f"{words} (ms)" if self.column.endswith("_s") else words)
            axes.set_ylabel("Share of good invocations")
            axes.set_ylim(0, 1.01)
            axes.set_xlim(left=0)
            style.key(axes, loc="lower right")
        return figure


def distribution(folders: Sequence[Path], column: str) -> Distribution:
    """The distribution of ``column`` in these runs; raises UsageError where they have no such number."""
    points = [Point(load(folder)) for folder in folders]
    substrates = {point.frames.record.substrate for point in points}
    found: dict[str, list[pd.Series]] = {}
    for point in points:
        rows = point.frames.good
        if column not in rows.columns or not pd.api.types.is_numeric_dtype(rows[column]):
            raise UsageError(f"invocations.csv has no number {column!r}. Try service_latency_s or response_time_s.")
        label = ", ".join(filter(None, (point.told(), point.frames.record.substrate if len(substrates) > 1 else "")))
        found.setdefault(label or "all", []).append(rows[column].dropna())
    whole = {label: pd.concat(found[label]) for label in sorted(found, key=natural)}
    if not all(len(values) for values in whole.values()):
        raise UsageError(f"Some of these runs have no good invocation with a {column}.")
    return Distribution(column, points, whole)
