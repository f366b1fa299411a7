"""Where the time goes: the mean response time of each function on each node, cut into its parts."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import style
from analysis.frames import Frames

TITLE = "Where the response time goes"
NEEDS = ("invocations",)

PARTS = {
    "send_delay_s": ("sent late", style.FAINT),
    "network_s": ("network and hops", style.SKY),
    "queue_s": ("queue", style.ORANGE),
    "init_s": ("init (cold start)", style.PURPLE),
    "exec_s": ("execution", style.GREEN),
}
"""Each part of a response time, in the order in which it passes; the rest is what the system does not tell."""

_MOST_BARS = 16


def draw(frames: Frames) -> Figure:
    """One bar for each pair of function and executing node, with the number of answers behind it."""
    good = frames.good
    groups = {(str(key[0]), str(key[1])): rows for key, rows in good.groupby(["function", "node"])}
    chosen = sorted(sorted(groups, key=lambda pair: -len(groups[pair]))[:_MOST_BARS])
    figure, (axes,) = style.canvas(height=max(2.4, 1.7 + 0.32 * len(chosen)))
    if not chosen:
        style.blank(axes, f"No successful invocation among {len(frames.measured)} scheduled in the phase measure")
        return figure
    means = pd.DataFrame([_parts(groups[pair]) for pair in chosen]) * 1e3
    _bars(axes, means)
    axes.set_yticks(range(len(chosen)), [_label(pair, groups[pair]) for pair in chosen])
    if len(groups) > len(chosen):
        axes.set_title(f"the {_MOST_BARS} most frequent of {len(groups)} pairs of function and node")
    style.key(axes, outside=True)
    return figure


def _bars(axes: Axes, means: pd.DataFrame) -> None:
    left = pd.Series(0.0, index=means.index)
    for part, (label, colour) in {**PARTS, "rest": ("not told apart", style.GRID)}.items():
        if means[part].max() > 0:
            axes.barh(means.index, means[part], left=left, label=label, color=colour, height=0.7)
        left = left + means[part]
    for row, total in enumerate(left):
        axes.annotate(f"{total:.3g}", (total, row), xytext=(3, 0), textcoords="offset points", va="center", fontsize=7)
    axes.set_xlim(0, max(float(left.max()) * 1.08, 1e-6))
    axes.set_xlabel("Mean of the good answers (ms)")
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)


def _parts(rows: pd.DataFrame) -> dict[str, float]:
    """Mean of each part in seconds; what is empty counts as zero and so goes to the rest."""
    told = {part: float(rows[part].fillna(0).clip(lower=0).mean()) for part in PARTS}
    rest = float(rows["response_time_s"].mean()) - sum(told.values())
    return {**told, "rest": rest if rest > 1e-6 else 0.0}


def _label(pair: tuple[str, str], rows: pd.DataFrame) -> str:
    function, node = pair
    hops = rows["hops"].dropna()
    passed = f", {hops.mean():.3g} hops" if len(hops) else ""
    return f"{style.shorten(function, 20)} on {style.shorten(node or '?', 14)}\n{len(rows)} answers{passed}"
