"""When users waited long: a dot for each answer, the middle of them, and every failure at the top."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import bins, marks, style
from analysis.frames import Frames

TITLE = "Response time over time"
NEEDS = ("invocations", "events")

_MOST_DRAWN = 1500
"""Above this many dots they become one picture inside the drawing, so that the file stays small."""


def draw(frames: Frames) -> Figure:
    """Answers by scheduled time, coloured by function, with median and 10th to 90th percentile; failures above."""
    rows = frames.invocations
    good = rows[(rows["status"] == "ok") & rows["response_time_s"].notna()]
    failed = rows[rows["status"] != "ok"]
    if failed.empty:
        figure, (axes,) = style.canvas(height=3.8)
        axes.set_title("none failed")
    else:
        figure, (above, axes) = style.canvas(2, 1, height=4.2, sharex=True, height_ratios=(1, 5))
        _failures(above, failed)
        marks.events(above, frames, labels=False)
    _dots(axes, good)
    _middle(axes, good)
    axes.set_ylabel("Response time (ms)")
    if good.empty:
        axes.text(0.5, 0.5, f"No successful invocation among {len(rows)}", transform=axes.transAxes,
                  ha="center", va="center", fontsize=11, color=style.FAINT)
    elif good["response_time_s"].min() > 0 and good["response_time_s"].max() / good["response_time_s"].median() > 15:
        style.log_axis(axes, "y")
    marks.time_axis(axes, frames)
    marks.events(axes, frames)
    style.key(axes, outside=True, markerscale=3)
    return figure


def _failures(axes: Axes, failed: pd.DataFrame) -> None:
    kinds = [kind for kind in style.STATUS if (failed["status"] == kind).any()]
    for height, kind in enumerate(kinds):
        times = failed.loc[failed["status"] == kind, "t_scheduled"]
        colour, marker = style.STATUS[kind]
        axes.plot(times, np.full(len(times), height), marker, color=colour, markersize=4, linestyle="none",
                  rasterized=len(failed) > _MOST_DRAWN, fillstyle="none")
    axes.set_yticks(range(len(kinds)), [f"{kind} ({(failed['status'] == kind).sum()})" for kind in kinds])
    axes.set_ylim(-0.7, len(kinds) - 0.3)
    axes.grid(False)
    axes.set_title(f"{len(failed)} failed")
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(axis="x", length=0)


def _dots(axes: Axes, good: pd.DataFrame) -> None:
    sizes = {str(name): len(group) for name, group in good.groupby("function")}
    chosen, _ = style.busiest(sizes, len(style.PALETTE))
    for name in sizes:
        rows = good[good["function"] == name]
        colour = style.PALETTE[chosen.index(name)] if name in chosen else style.FAINT
        axes.plot(rows["t_scheduled"], rows["response_time_s"] * 1e3, ".", color=colour, markersize=3, alpha=0.55,
                  markeredgewidth=0, rasterized=len(good) > _MOST_DRAWN,
                  label=style.shorten(name, 20) if name in chosen else "_other functions")


def _middle(axes: Axes, good: pd.DataFrame) -> None:
    if len(good) < 20:
        return
    borders = bins.edges(good["t_scheduled"], most=min(60, len(good) // 10))
    binned = np.digitize(good["t_scheduled"], borders) - 1
    waits = (good["response_time_s"] * 1e3).groupby(binned)
    centres = pd.Series((borders[:-1] + borders[1:]) / 2)
    # An interval without an answer is a gap in the line, not a straight line over it.
    low, middle, high = (waits.quantile(q).reindex(range(len(centres))) for q in (0.1, 0.5, 0.9))
    axes.fill_between(centres, low, high, color=style.INK, alpha=0.13, linewidth=0, label="10th to 90th percentile")
    axes.plot(centres, middle, color=style.INK, label=f"median of {borders[1] - borders[0]:g} s")
