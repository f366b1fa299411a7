"""The look of every figure: one size, one palette, vector output that is the same at every drawing.

Figures are made with :func:`canvas`, without pyplot, so that nothing global is touched. The palette is that of Okabe
and Ito (Color Universal Design, 2008), which people with any colour vision tell apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, cast

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

INK, FAINT, GRID, PAPER = "#222222", "#767676", "#dcdcdc", "#ffffff"
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9"
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, SKY, RED)
DASHES = ("-", "--", ":", "-.")
WIDTH = 7.2
"""Inches, the width of the text of a page."""
MOST_SERIES = 12
"""How many lines one pair of axes shows at most; what is left out is said beside it."""

STATUS: Mapping[str, tuple[str, str]] = {
    "error": (RED, "x"), "timeout": (PURPLE, "^"), "rejected": (ORANGE, "s"),
    "dropped": (SKY, "v"), "lost": (INK, "D"), "unsent": (FAINT, "+"),
}
"""The colour and the marker of each way to fail."""

RC: Mapping[str, Any] = {
    "figure.facecolor": PAPER, "axes.facecolor": "none", "savefig.facecolor": PAPER,
    "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "sans-serif"],
    "font.size": 9, "axes.titlesize": 9.5, "axes.labelsize": 9, "legend.fontsize": 8,
    "xtick.labelsize": 8, "ytick.labelsize": 8, "axes.titlelocation": "left",
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": FAINT, "xtick.color": INK, "ytick.color": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8,
    "axes.grid": True, "grid.color": GRID, "grid.linewidth": 0.6, "axes.axisbelow": True,
    "lines.linewidth": 1.5, "lines.markersize": 4, "legend.frameon": False, "legend.handlelength": 1.8,
    "text.parse_math": False,  # a function may be called $x$
    "text.usetex": False, "axes.unicode_minus": True,
    "svg.fonttype": "none", "svg.hashsalt": "testbed", "pdf.fonttype": 42, "savefig.dpi": 160, "figure.dpi": 100,
}


def styled() -> AbstractContextManager[None]:
    """The style, in force while drawing and saving only."""
    return mpl.rc_context(cast(Any, dict(RC)))


def canvas(rows: int = 1, columns: int = 1, height: float = 3.6, **grid: Any) -> tuple[Figure, list[Axes]]:
    """A new figure, ``height`` inches high and as wide as all figures are, and its axes row by row."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **grid)
    return figure, list(axes.flat)


def line_style(index: int) -> dict[str, Any]:
    """Colour and dashes of the series ``index``, different for the first 24."""
    return {"color": PALETTE[index % len(PALETTE)], "linestyle": DASHES[index // len(PALETTE) % len(DASHES)]}


def key(axes: Axes, outside: bool = False, **more: Any) -> None:
    """A legend where there is something to tell apart; ``outside`` puts it to the right of the axes."""
    handles, labels = axes.get_legend_handles_labels()
    if labels and outside:
        axes.legend(handles, labels, loc="upper left", bbox_to_anchor=(1.01, 1.02), borderaxespad=0, **more)
    elif labels:
        axes.legend(handles, labels, **{"loc": "best", **more})


def blank(axes: Axes, why: str) -> None:
    """Say in plain words, in place of the drawing, why there is nothing to draw."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", va="center", fontsize=11, color=FAINT, wrap=True)


def log_axis(axes: Axes, which: Literal["x", "y"]) -> None:
    """A logarithmic axis whose numbers are plain text, since the style reads no formulas."""
    axis: Axis = axes.xaxis if which == "x" else axes.yaxis
    axes.set(**{f"{which}scale": "log"})
    axis.set_major_formatter(FuncFormatter(_plain))
    axis.set_minor_formatter(FuncFormatter(_sparse))


def _plain(value: float, _: object = None) -> str:
    return f"{value:g}"


def _sparse(value: float, _: object = None) -> str:
    digit = f"{value:.0e}"[0]
    return f"{value:g}" if digit in "25" else ""


def top_percentile(count: int) -> int:
    """The highest of the usual percentiles that ``count`` values can tell: it needs ten of them above it."""
    return next((q for q in (99, 95, 90) if count >= 1000 / (100 - q)), 50)


def shorten(text: str, most: int) -> str:
    """``text`` with its middle left out where it has more than ``most`` characters."""
    if len(text) <= most:
        return text
    head = (most - 1) * 2 // 3
    return f"{text[:head]}…{text[len(text) - (most - 1 - head):]}"


def busiest(sizes: Mapping[str, float], most: int = MOST_SERIES) -> tuple[list[str], int]:
    """The names with the greatest sizes, in order of name, and how many were left out."""
    chosen = sorted(sorted(sizes, key=lambda name: (-sizes[name], name))[:most])
    return chosen, len(sizes) - len(chosen)


def left_out(axes: Axes, count: int, what: str) -> None:
    """Note under the axes' title that ``count`` more series were not drawn."""
    if count:
        note = f"{axes.get_title(loc='left')} (the {MOST_SERIES} busiest; {count} more {what} not drawn)"
        axes.set_title(note.strip())


def save(figure: Figure, base: Path, kinds: Sequence[str] = ("svg", "pdf")) -> list[Path]:
    """Write ``base.svg`` and ``base.pdf``, byte for byte the same for the same figure."""
    undated: Mapping[str, dict[str, Any]] = {
        "svg": {"Date": None, "Creator": "testbed"},
        "pdf": {"CreationDate": None, "Creator": "testbed", "Producer": "testbed"},
    }
    paths = [base.with_suffix(f".{kind}") for kind in kinds]
    with styled():
        for kind, path in zip(kinds, paths, strict=True):
            figure.savefig(path, metadata=undated.get(kind))
    return paths
