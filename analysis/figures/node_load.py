"""What the agents of each host used: CPU and memory."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from analysis import bins, marks, style
from analysis.frames import Frames

TITLE = "Load of the hosts"
NEEDS = ("nodes", "events")


def draw(frames: Frames) -> Figure:
    """CPU in cores between two samples, and resident memory, for each agent."""
    samples = frames.table("nodes")
    samples = samples.assign(agent=samples["node"] + " " + samples["role"])
    grown = bins.increments(samples, ["agent"], "cpu_s")
    used: pd.Series = grown.groupby("agent")["grown"].sum()
    chosen, more = style.busiest({str(name): float(size) for name, size in used.items()})
    figure, (above, below) = style.canvas(2, 1, height=4.4, sharex=True)
    for index, name in enumerate(chosen):
        cpu, memory = grown[grown["agent"] == name], samples[samples["agent"] == name]
        above.plot(cpu["t"], cpu["grown"] / cpu["dt"], label=style.shorten(name, 28), **style.line_style(index))
        below.plot(memory["t"], memory["memory_bytes"].astype("float64") / 1e6, **style.line_style(index))
    above.set_ylabel("CPU (cores)")
    below.set_ylabel("Memory (MB)")
    for axes in (above, below):
        axes.set_ylim(bottom=0)
        marks.events(axes, frames, labels=axes is above)
    style.left_out(above, more, "agents")
    style.key(above, outside=True, fontsize=7)
    marks.time_axis(below, frames)
    return figure
