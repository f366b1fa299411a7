"""How long users wait: the share of scheduled invocations that were answered within a time.

The share counts **all** scheduled invocations of the phase ``measure``: one that failed was never answered, so a curve
ends below 1 where there were failures, and no failure makes a curve look better.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import style
from analysis.frames import Frames

TITLE = "Response time, counted from the scheduled time"
NEEDS = ("invocations",)

_MOST_POINTS = 800


def draw(frames: Frames) -> Figure:
    """One panel for each of function, client and executing node that has more than one value; else one panel."""
    rows = frames.measured
    told_apart = [name for name in ("function", "client", "node") if _values(rows, name) > 1] or ["function"]
    height = 3.6 if len(told_apart) < 3 else 3.3
    figure, panels = style.canvas(1, len(told_apart), height=height, sharey=True, sharex=True)
    for axes, name in zip(panels, told_apart, strict=True):
        _panel(axes, rows, name)
    panels[0].set_ylabel("Share of scheduled invocations")
    panels[0].set_ylim(0, 1.01)
    panels[0].set_yticks([0, 0.25, 0.5, 0.75, 0.9, 1])
    if frames.good.empty:
        for axes in panels[1:]:
            axes.remove()
        style.blank(panels[0], f"No successful invocation among {len(rows)} scheduled in the phase measure")
    elif _is_wide(frames.good["response_time_s"]):
        style.log_axis(panels[0], "x")
    return figure


def _values(rows: pd.DataFrame, name: str) -> int:
    return int(rows.loc[rows[name] != "", name].nunique())


def _panel(axes: Axes, rows: pd.DataFrame, name: str) -> None:
    axes.set_title(f"by {name}" if name != "node" else "by executing node")
    axes.set_xlabel("Response time (ms)")
    # A failed invocation has no executing node; there, the share is of those that a node answered.
    rows = rows[rows[name] != ""]
    groups = {str(value): group for value, group in rows.groupby(name)}
    chosen, more = style.busiest({value: len(group) for value, group in groups.items()})
    for index, value in enumerate(chosen):
        waits, share = _curve(groups[value])
        axes.plot(waits, share, label=f"{style.shorten(value, 18)} (of {len(groups[value])})", drawstyle="steps-post",
                  **style.line_style(index))
    style.left_out(axes, more, f"{name}s")
    style.key(axes, loc="lower right", fontsize=7)


def _curve(rows: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Waits in ms, ascending and thinned for drawing, and the share of ``rows`` answered by then."""
    waits = rows.loc[rows["status"] == "ok", "response_time_s"].dropna().sort_values(ignore_index=True) * 1e3
    share = pd.Series(np.arange(1, len(waits) + 1) / max(len(rows), 1))
    if len(waits) > _MOST_POINTS:
        kept = np.unique(np.linspace(0, len(waits) - 1, _MOST_POINTS).round().astype(int))
        waits, share = waits.iloc[kept], share.iloc[kept]
    return waits, share


def _is_wide(waits: pd.Series) -> bool:
    low, high = waits.quantile(0.01), waits.quantile(0.99)
    return bool(low > 0 and high / low > 20)
