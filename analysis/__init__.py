"""From a run's folder to figures and a report; reads run folders and nothing else.

    from analysis import draw_all, figure, load
    draw_all(Path("runs/quickstart-1"))          # figures/*.svg and *.pdf in the run's folder
    frames = load(Path("runs/quickstart-1"))     # its datasets as pandas DataFrames
    figure(frames, "throughput")                 # a matplotlib Figure to work on

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

__all__ = ["Frames", "draw", "draw_all", "figure", "has_data", "load", "names"]


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


def figure(frames: Frames, name: str) -> Figure:
    """One figure, to look at or to work on, with its heading, its origin and the mark of its verdict.

    Raises UsageError for a figure that does not exist.
    """
    if name not in names():
        raise UsageError(f"There is no figure {name!r}. There are: {', '.join(names())}.")
    module = cast(FigureModule, importlib.import_module(f"analysis.figures.{name}"))
    empty = not has_data(frames, name)
    with style.styled():
        if empty:
            drawn, (axes,) = style.canvas(height=1.9)
            style.blank(axes, f"Nothing to draw: {module.NEEDS[0]}.csv has no rows")
        else:
            drawn = module.draw(frames)
        marks.frame(drawn, frames, module.TITLE, stamp=not empty)
    return drawn


def has_data(frames: Frames, name: str) -> bool:
    """Whether the run has a row in the first table that the figure needs."""
    module = cast(FigureModule, importlib.import_module(f"analysis.figures.{name}"))
    return not frames.table(module.NEEDS[0]).empty


def draw(folder: Path, *chosen: str) -> list[Path]:
    """Draw figures of the run in ``folder`` into its ``figures/``, as SVG and as PDF; gives the paths.

    Raises RunNotFound for what is no run, and UsageError for a figure that does not exist.
    """
    frames, out = load(folder), folder / "figures"
    drawn = [(name, figure(frames, name)) for name in chosen]
    out.mkdir(exist_ok=True)
    return [path for name, each in drawn for path in style.save(each, out / name)]


def draw_all(folder: Path) -> list[Path]:
    """Draw every figure of the run in ``folder``, as :func:`draw` does."""
    return draw(folder, *names())
