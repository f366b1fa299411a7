"""What was asked of the system, and what it gave: invocations per second, offered, answered well and failed."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis import bins, marks, style
from analysis.frames import Frames

TITLE = "Offered and carried load"
NEEDS = ("invocations", "events")


def draw(frames: Frames) -> Figure:
    """Offered by scheduled time, good by time of the answer, failed by the time at which the client gave up."""
    rows = frames.invocations
    ended = rows["t_done"].fillna(rows["t_scheduled"])  # one that was never sent failed when it was due
    good = rows["status"] == "ok"
    borders = bins.edges(pd.concat([rows["t_scheduled"], ended]))
    figure, (axes,) = style.canvas()
    carried = bins.rates(ended[good], borders)
    axes.stairs(carried, borders, fill=True, color=style.BLUE, alpha=0.30, label="good answers")
    axes.stairs(bins.rates(rows["t_scheduled"], borders), borders, color=style.INK, linewidth=1.2, label="offered")
    if (~good).any():
        axes.stairs(bins.rates(ended[~good], borders), borders, color=style.RED, linewidth=1.5, label="failed")
    axes.set_ylabel("Invocations per second (1/s)")
    axes.set_title(f"in intervals of {borders[1] - borders[0]:g} s: {len(rows)} offered, {int(good.sum())} good, "
                   f"{int((~good).sum())} failed")
    axes.set_ylim(bottom=0)
    marks.time_axis(axes, frames)
    marks.events(axes, frames)
    style.key(axes, outside=True)
    return figure
