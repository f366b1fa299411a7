"""What each direction of each link carried, and where packets were dropped."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import bins, marks, style
from analysis.frames import Frames

TITLE = "Load of the links"
NEEDS = ("links", "events")

DROPS = {
    "dropped_queue": ("full queue", style.RED, "v"),
    "dropped_loss": ("loss asked for", style.FAINT, "."),
    "dropped_down": ("link down", style.PURPLE, "x"),
}
"""Each counter of dropped packets with its name, colour and marker."""


def draw(frames: Frames) -> Figure:
    """Megabits per second leaving each node over each link; below it, packets dropped between two samples."""
    samples = frames.table("links")
    samples = samples.assign(direction="from " + samples["node"] + " over " + samples["link"])
    figure, (axes, below) = style.canvas(2, 1, height=4.6, sharex=True, height_ratios=(3, 1.3))
    _load(axes, samples)
    _drops(below, samples)
    marks.events(axes, frames)
    marks.events(below, frames, labels=False)
    marks.time_axis(below, frames)
    return figure


def _load(axes: Axes, samples: pd.DataFrame) -> None:
    grown = bins.increments(samples, ["direction"], "size_bytes")
    sizes: pd.Series = grown.groupby("direction")["grown"].sum()
    chosen, more = style.busiest({str(name): float(size) for name, size in sizes.items()})
    for index, name in enumerate(chosen):
        rows = grown[grown["direction"] == name]
        load = rows["grown"] * 8e-6 / rows["dt"]
        axes.plot(rows["t"], load, label=style.shorten(name, 32), **style.line_style(index))
    axes.set_ylabel("Load (Mbit/s)")
    axes.set_ylim(bottom=0)
    style.left_out(axes, more, "directions")
    style.key(axes, outside=True, fontsize=7)


def _drops(axes: Axes, samples: pd.DataFrame) -> None:
    total = 0.0
    for counter, (label, colour, marker) in DROPS.items():
        grown = bins.increments(samples, ["direction"], counter)
        drops = grown.groupby("t")["grown"].sum()
        drops, total = drops[drops > 0], total + float(drops.sum())
        if len(drops):
            axes.plot(drops.index, drops, marker, color=colour, label=f"{label} ({drops.sum():.0f})")
    axes.set_ylabel("Dropped\n(packets)")
    axes.set_ylim(bottom=0)
    if not total:
        axes.set_yticks([0])
        axes.set_title("no packet was dropped")
    style.key(axes, outside=True, fontsize=7)
