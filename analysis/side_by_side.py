"""One experiment on several substrates: a table with ratios to the first of them, and all their curves in one picture.

    runs = {"quickstart": {"netns": [Path("runs/a")], "mininet": [Path("runs/b"), Path("runs/c")]}}
    print(markdown(runs)); style.save(figure(runs), Path("side-by-side"))

Several runs on one substrate are put together. The stretches that are told of lie between the shape events of the first
run that has any; without such events there is one. In a closed loop the service latency counts, else the response time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import style
from analysis.frames import Frames, load
from testbed.store import Reason

Runs = Mapping[str, Mapping[str, Sequence[Path]]]
"""By experiment, by substrate, the run folders."""
_NAMES = {1: ("all the time",), 3: ("before", "while", "after")}
_BIN_S = 1.0


@dataclass(frozen=True)
class Side:
    """The runs of one substrate."""

    name: str
    frames: Sequence[Frames]

    @cached_property
    def rows(self) -> pd.DataFrame:
        """What was scheduled in the phase ``measure``."""
        return pd.concat([each.measured for each in self.frames], ignore_index=True)

    @property
    def is_closed(self) -> bool:
        """Whether users wait for each answer before they ask again."""
        return bool((self.rows["user"] != "").any())

    @property
    def latency(self) -> str:
        """The column that counts."""
        return "service_latency_s" if self.is_closed else "response_time_s"

    def good(self, start: float, end: float) -> pd.DataFrame:
        """The good answers to what was scheduled in a stretch."""
        rows = self.rows
        return rows[(rows["status"] == "ok") & (rows["t_scheduled"] >= start) & (rows["t_scheduled"] < end)]

    def quantile(self, share: float, start: float, end: float) -> float:
        """A percentile of the latency in a stretch, in milliseconds."""
        return float(self.good(start, end)[self.latency].quantile(share) * 1e3)

    @property
    def is_told(self) -> bool:
        """Whether enough was answered for a curve."""
        return self.failed <= len(self.asked) / 2

    @property
    def asked(self) -> pd.DataFrame:
        """What was sent or should have been: in a closed loop, slow answers leave no time for the rest."""
        return self.rows[self.rows["status"] != "unsent"] if self.is_closed else self.rows

    @property
    def failed(self) -> int:
        """How many of them did not get a good answer."""
        return int((self.asked["status"] != "ok").sum())

    @property
    def verdict(self) -> str:
        """The worst verdict of the runs (``none`` where one was not judged), and by which checks."""
        levels = [each.verdict.level if each.verdict else "none" for each in self.frames]
        worst = max(levels, key=("valid", "suspect", "invalid", "none").index)
        checks = dict.fromkeys(reason.check.replace("_", " ") for reason in self._reasons(worst))
        return f"{worst}: {', '.join(checks)}" if checks else worst

    @property
    def why_invalid(self) -> list[str]:
        """What was seen that makes runs invalid."""
        return list(dict.fromkeys(reason.what for reason in self._reasons("invalid")))

    def _reasons(self, level: str) -> list[Reason]:
        return [reason for each in self.frames if each.verdict for reason in each.verdict.reasons
                if reason.level == level]  # fmt: skip

    @property
    def busy(self) -> float | None:
        """Mean share of the machine's processors that was in use; None where none was."""
        machine = pd.concat([each.table("machine") for each in self.frames], ignore_index=True).dropna(subset=["busy"])
        return float(np.average(machine["busy"], weights=machine["span_s"])) if len(machine) else None


def sides(runs: Mapping[str, Sequence[Path]]) -> list[Side]:
    """The substrates of one experiment, those without a run left out."""
    return [Side(name, [load(folder) for folder in folders]) for name, folders in runs.items() if folders]


def stretches(found: Sequence[Side]) -> list[tuple[float, float]]:
    """From the first measured invocation on, cut where a shape was changed."""
    rows = found[0].rows
    cuts: set[float] = set()
    for frames in (each for side in found for each in side.frames):
        events = frames.table("events")
        cuts = cuts or set(events.loc[events["kind"] == "shape", "t_planned"].dropna())
    borders = [float(np.floor(rows["t_scheduled"].min())), *sorted(cuts), float("inf")]
    return list(pairwise(borders))


def markdown(runs: Runs) -> str:
    """A table for each experiment, and under it why runs are invalid."""
    return "\n".join(line for name, by in runs.items() for line in _tables(name, sides(by)))


def _tables(name: str, found: Sequence[Side]) -> Iterator[str]:
    parts = stretches(found)
    words = _NAMES.get(len(parts), tuple(f"{start:g} to {end:g} s" for start, end in parts))
    nodes = sorted(set(found[0].rows["node"]) - {""})
    last = f"On {nodes[0]}, in %" if len(nodes) > 1 else "Answers a second"
    head = ["Substrate", "Verdict", *(f"{word}: median, p95 in ms" for word in words), last, "Failed", "Busy"]
    yield f"**{name}**\n"
    yield from _lines([head, ["---"] * len(head), *(_row(each, found[0], parts, nodes) for each in found)])
    yield ""
    for side in found:
        yield from (f"- {side.name}: {reason}" for reason in side.why_invalid)
    yield ""


def _lines(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield from (f"| {' | '.join(row)} |" for row in rows)


def _row(side: Side, first: Side, parts: Sequence[tuple[float, float]], nodes: Sequence[str]) -> list[str]:
    cells = [", ".join(_beside(*(each.quantile(share, *part) for each in (side, first))) for share in (0.5, 0.95))
             for part in parts]  # fmt: skip
    if len(nodes) > 1:
        shares = [100 * (side.good(*part)["node"] == nodes[0]).mean() for part in parts]
        cells.append(", ".join("–" if np.isnan(share) else f"{share:.0f}" for share in shares))
    else:
        good = side.good(*parts[0])
        span = (good["t_sent"].max() - good["t_sent"].min()) * len(side.frames)
        cells.append(f"{(len(good) - 1) / span:.2f}" if span else "–")
    busy = f"{side.busy:.0%}".replace("%", " %") if side.busy is not None else "–"
    return [side.name, side.verdict, *cells, f"{side.failed} of {len(side.asked)}", busy]


def _beside(value: float, base: float) -> str:
    return "–" if np.isnan(value) else f"{value:.4g} ({value / base:.2f})"


def figure(runs: Runs) -> Figure:
    """For each experiment the median of each second where something changes, else how many were faster."""
    with style.styled():
        rows = -(-len(runs) // 2)
        drawn, axes = style.canvas(rows, min(len(runs), 2), height=0.9 + 2.7 * rows)
        names = list(dict.fromkeys(name for by in runs.values() for name in by))
        handles: dict[str, Artist] = {}
        for place, (name, by) in zip(axes, runs.items(), strict=False):
            found = sides(by)
            parts = stretches(found)
            for side in (each for each in found if each.is_told):
                look = style.line_style(names.index(side.name))
                (_over_time if len(parts) > 1 else _share_below)(place, side, look)
            _dress(place, name, found, parts)
            lines, labels = place.get_legend_handles_labels()
            handles = dict(zip(labels, lines, strict=True)) | handles
        for place in axes[len(runs) :]:
            place.set_axis_off()
        shown = [name for name in names if name in handles]
        drawn.legend([handles[name] for name in shown], shown, loc="outside lower center", ncols=5)
    return drawn


def _over_time(axes: Axes, side: Side, look: Mapping[str, Any]) -> None:
    good = side.good(0, float("inf"))
    middles = (good[side.latency] * 1e3).groupby(np.floor(good["t_scheduled"] / _BIN_S)).median()
    axes.plot((middles.index + 0.5) * _BIN_S, middles, label=side.name, **look)


def _share_below(axes: Axes, side: Side, look: Mapping[str, Any]) -> None:
    ordered = np.sort(side.good(0, float("inf"))[side.latency].dropna() * 1e3)
    axes.plot(ordered, np.arange(1, len(ordered) + 1) / len(ordered), label=side.name, **look)


def _dress(axes: Axes, name: str, found: Sequence[Side], parts: Sequence[tuple[float, float]]) -> None:
    first = found[0]
    invalid = [side.name for side in found if side.is_told and side.verdict.startswith("invalid")]
    left_out = [side.name for side in found if not side.is_told]
    told = (("invalid", invalid), ("most failed", left_out))
    marks = [f"{what}: {', '.join(names)}" for what, names in told if names]
    axes.set_title(" – ".join([name, *marks]))
    words = first.latency.removesuffix("_s").replace("_", " ").capitalize()
    if len(parts) == 1:
        axes.set(xlabel=f"{words} (ms)", ylabel="Share that was at least as fast", ylim=(0, 1))
        style.log_axis(axes, "x")
        return
    axes.set(xlabel="Time since the start of the workload (s)", ylabel=f"{words} (ms), median of {_BIN_S:g} s")
    style.log_axis(axes, "y")
    for start, _ in parts[1:]:
        axes.axvline(start, color=style.INK, linewidth=0.8, linestyle=(0, (4, 2)))
