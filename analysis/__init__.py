"""From a run's folder to figures and a report; reads run folders and nothing else.

    from analysis import draw, draw_all, names
    draw_all(Path("runs/quickstart-1"))              # figures/*.svg and *.pdf in the run's folder
    figure = draw(Path("runs/quickstart-1"), "throughput")   # a matplotlib Figure to work on

Read first: ``frames.py`` (the data), then any file of ``figures/``. A new figure is one new file there.
This package never changes a dataset.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import Protocol, cast

from matplotlib.figure import Figure

from analysis import figures, marks, style
from analysis.frames import Frames, load
from testbed.errors import UsageError

__all__ = ["Frames", "draw", "draw_all", "draw_frames", "load", "names"]


class FigureModule(Protocol):
    """What a file of ``figures/`` defines."""

    TITLE: str
    """The heading on the figure."""
    NEEDS: tuple[str, ...]
    """The tables that it reads; without a row in the first one the figure says that there is nothing to draw."""

    def draw(self, frames: Frames) -> Figure:
        """The figure, without heading and marks."""


def names() -> list[str]:
    """The figures that there are, by name of their file."""
    return sorted(info.name for info in pkgutil.iter_modules(figures.__path__))


def draw(folder: Path, name: str) -> Figure:
    """One figure of the run in ``folder``; raises RunNotFound, or UsageError for a figure that does not exist."""
    return draw_frames(load(folder), name)


def draw_frames(frames: Frames, name: str) -> Figure:
    """One figure of frames already loaded, with its heading, its origin and the mark of its verdict."""
    if name not in names():
        raise UsageError(f"There is no figure {name!r}. There are: {', '.join(names())}.")
    module = cast(FigureModule, importlib.import_module(f"analysis.figures.{name}"))
    with style.styled():
        if frames.table(module.NEEDS[0]).empty:
            figure, (axes,) = style.canvas(height=2.4)
            style.blank(axes, f"Nothing to draw: {module.NEEDS[0]}.csv has no rows\n(the run is {frames.record.state})")
        else:
            figure = module.draw(frames)
        marks.frame(figure, frames, module.TITLE)
    return figure


def draw_all(folder: Path) -> list[Path]:
    """Draw every figure of the run in ``folder`` into ``folder/figures``, as SVG and as PDF; gives their paths."""
    frames, out = load(folder), folder / "figures"
    out.mkdir(exist_ok=True)
    return [path for name in names() for path in style.save(draw_frames(frames, name), out / name)]
