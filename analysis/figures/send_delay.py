"""How late the load generator was: the first thing to look at where a run is suspect."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import marks, style
from analysis.frames import Frames

TITLE = "Lateness of the load generator"
NEEDS = ("invocations", "events")

_MOST_DRAWN = 1500


def draw(frames: Frames) -> Figure:
    """Each sent invocation's delay against its scheduled time, and the share of them that was late by more."""
    rows = frames.invocations
    late = rows.loc[rows["send_delay_s"].notna(), ["t_scheduled", "send_delay_s"]]
    figure, (over_time, spread) = style.canvas(1, 2, width_ratios=(2, 1))
    if late.empty:
        spread.remove()
        closed = bool(rows["t_sent"].notna().any())
        style.blank(over_time, "A closed loop cannot be late: its users send when they are ready" if closed
                    else f"None of {len(rows)} invocations was sent")
        return figure
    delay = late["send_delay_s"] * 1e3
    over_time.plot(late["t_scheduled"], delay, ".", color=style.BLUE, markersize=3, alpha=0.6, markeredgewidth=0,
                   rasterized=len(late) > _MOST_DRAWN)
    over_time.set_ylabel("Sent after the scheduled time (ms)")
    told = sorted({50, style.top_percentile(len(delay))})
    over_time.set_title(", ".join(f"p{q}: {np.percentile(delay, q):.3g} ms" for q in told))
    if delay.max() > 20 * delay.quantile(0.9) > 0:
        over_time.set_ylim(bottom=max(0.01, float(delay.min())) / 1.5)
        style.log_axis(over_time, "y")
    else:
        over_time.set_ylim(bottom=min(0.0, float(delay.min())))
    marks.time_axis(over_time, frames)
    marks.events(over_time, frames)
    _tail(spread, delay, int(rows["t_sent"].isna().sum()))
    return figure


def _tail(axes: Axes, delay: pd.Series, unsent: int) -> None:
    ordered = np.sort(delay.to_numpy())
    later = 1 - np.arange(len(ordered)) / len(ordered)
    kept = np.unique(np.linspace(0, len(ordered) - 1, 800).round().astype(int))
    axes.plot(ordered[kept], later[kept], color=style.BLUE, drawstyle="steps-post")
    style.log_axis(axes, "y")
    axes.set_xlabel("Late by at least (ms)")
    axes.set_ylabel("Share of those sent")
    axes.set_title(f"{unsent} were never sent" if unsent else "all were sent")
