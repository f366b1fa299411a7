"""One curve over the runs of a sweep: what was varied against what was measured, and the published values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from analysis import style
from analysis.frames import Frames, load
from testbed.errors import UsageError

_AMOUNT = re.compile(r"([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*([A-Za-zµ%/]*)$")
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
_FOR_A_BOX = 5  # runs
_MARKERS = {"valid": "o", "suspect": "^", "invalid": "X", "none": "X"}


@dataclass(frozen=True)
class Point:
    """One run of a sweep, seen through its experiment file."""

    frames: Frames

    @cached_property
    def inputs(self) -> Mapping[str, Any]:
        """What stands in the run's ``experiment.yaml``."""
        try:
            read = YAML(typ="safe", pure=True).load(self.frames.text("experiment.yaml"))
        except YAMLError as error:
            raise UsageError(f"{self.frames.folder}/experiment.yaml is not readable: {error}") from error
        return read if isinstance(read, dict) else {}

    @property
    def swept(self) -> dict[str, str]:
        """The value of each path that the experiment sweeps over, as it was written."""
        return {path: str(at(self.inputs, path)) for path in self.inputs.get("sweep") or {}}

    def told(self, *besides: str) -> str:
        """The swept values for a person, but for the seed and the paths ``besides``."""
        kept = (path for path in self.swept if path not in ("seed", *besides))
        return ", ".join(f"{path.rpartition('.')[2]} {self.swept[path]}" for path in kept)

    def metric(self, name: str) -> float | None:
        """A column of ``summary.csv`` over all functions, or what the run measured beside; None where it has none."""
        if name in self.frames.record.measures:
            return self.frames.record.measures[name]
        table = self.frames.table("summary")
        rows = table[table["function"] == "*"]
        if name not in table.columns:
            raise UsageError(f"summary.csv has no column {name!r}. It has: {', '.join(map(str, table.columns))}.")
        return None if rows.empty or rows[name].isna().all() else float(rows[name].iloc[0])

    @property
    def level(self) -> str:
        """The run's verdict, ``none`` where it was not judged."""
        return self.frames.verdict.level if self.frames.verdict else "none"


def at(inputs: object, path: str) -> object:
    """What stands at a dotted path (``links[2].delay``) of an experiment; None where there is nothing."""
    for name, index in _STEP.findall(path):
        if isinstance(inputs, dict):
            inputs = inputs.get(name)
        elif isinstance(inputs, list) and index and int(index) < len(inputs):
            inputs = inputs[int(index)]
        else:
            return None
    return inputs


def curve(folders: Sequence[Path], metric: str = "response_time_p50_s", x: str = "", log: bool = False) -> Figure:
    """``metric`` (a column of ``summary.csv``) over the swept path ``x``, by default the first one.

    With ``log`` both axes are logarithmic.

    Further swept paths make a line each, and so do substrates where the runs of several sweeps are given; runs of one
    point (repetitions, also with other seeds) are all drawn, the line goes through their mean; where the points of one
    line are no amounts and have many runs each, boxes stand in for it. A run that is not valid
    has a marker of its own. Published values of the metric are drawn as rings.
    """
    points = [Point(load(folder)) for folder in folders]
    x = x or _first(points)
    if not x or any(x not in point.swept for point in points):
        raise UsageError(f"Not all of these runs sweep over {x or 'anything'}: give the runs of one sweep.")
    scale = Scale([value for point in points for value in [*_asked(point, x), point.swept[x]]])
    with style.styled():
        figure, (axes,) = style.canvas()
        _lines(axes, points, metric, x, scale)
        _published(axes, points[0], metric, x, scale)
        _dress(figure, axes, points, metric, x, scale)
        if log:
            _logarithmic(axes)
    return figure


def _logarithmic(axes: Axes) -> None:
    axes.loglog()
    axes.autoscale(axis="y")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")


def _first(points: Sequence[Point]) -> str:
    """The first swept path whose values are amounts, else the first; seeds only where there is nothing else."""
    every = list(dict.fromkeys(path for point in points for path in point.swept))
    paths = [path for path in every if path != "seed"] or every
    amounts = (path for path in paths if Scale([point.swept.get(path, "") for point in points]).numeric)
    return next(amounts, paths[0] if paths else "")


def _asked(point: Point, x: str) -> list[str]:
    return [str(value) for value in point.inputs["sweep"][x]]


class Scale:
    """Where written values stand on an axis: as numbers where they share a unit, else side by side in their order."""

    def __init__(self, values: Sequence[str]) -> None:
        self.values = list(dict.fromkeys(values))
        matches = [_AMOUNT.match(value) for value in self.values]
        # A zero needs no unit, so it does not speak against the unit of the others.
        units = {found[2] for found in matches if found and (found[2] or float(found[1]))}
        self.numeric = all(matches) and len(units) <= 1
        self.unit = units.pop() if self.numeric and units else ""

    def __getitem__(self, value: str) -> float:
        found = _AMOUNT.match(value)
        return float(found[1]) if self.numeric and found else float(self.values.index(value))


def _unit(metric: str) -> tuple[float, str]:
    if metric == "byte_km_rate":
        return 8e-6, "Mbit/s times km"
    metric = re.sub(r"^.*\.(\w+)\.(?!count)[\w/]+$", r"\1", metric)  # the column, of a dataset's
    if metric.endswith("_s"):
        return 1e3, "ms"
    return (1e2, "%") if metric.endswith("share") else (1.0, "1/s" if metric == "throughput" else "")


def _lines(axes: Axes, points: Sequence[Point], metric: str, x: str, scale: Scale) -> None:
    """A colour for each combination of the other swept values; where there are several, dashes for each substrate."""
    substrates = list(dict.fromkeys(point.frames.record.substrate for point in points))
    lines: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        lines.setdefault((point.told(x), point.frames.record.substrate), []).append(point)
    labels = sorted({label for label, _ in lines}, key=natural)
    for (label, substrate), members in sorted(lines.items(), key=lambda each: natural(" ".join(each[0]))):
        look = style.line_style(labels.index(label))
        if len(substrates) > 1:
            label = f"{label}, {substrate}" if label else substrate
            look["linestyle"] = style.DASHES[substrates.index(substrate) % len(style.DASHES)]
        reached = _dots(axes, [(scale[each.swept[x]], each) for each in members], metric, look)
        if len(lines) == 1 and not scale.numeric and min(map(len, reached.values()), default=0) >= _FOR_A_BOX:
            _boxes(axes, reached, look)
        else:
            means = sorted((place, sum(values) / len(values)) for place, values in reached.items())
            axes.plot([place for place, _ in means], [mean for _, mean in means], label=label or "measured", **look)


def natural(label: str) -> list[tuple[float, str]]:
    """A key that sorts 4/s before 16/s."""
    return [(float(number or 0), text) for number, text in re.findall(r"(\d+(?:\.\d+)?)|(\D+)", label)]


def _dots(
    axes: Axes, members: Sequence[tuple[float, Point]], metric: str, look: dict[str, Any]
) -> dict[float, list[float]]:
    """Draw each run by itself; place -> what the runs there measured."""
    factor, _ = _unit(metric)
    reached: dict[float, list[float]] = {}
    for place, point in members:
        value = point.metric(metric)
        if value is not None:
            reached.setdefault(place, []).append(value * factor)
            colour = look["color"] if point.level == "valid" else style.RED
            axes.plot(place, value * factor, _MARKERS[point.level], color=colour, markersize=6, zorder=3)
    return reached


def _boxes(axes: Axes, reached: Mapping[float, list[float]], look: dict[str, Any]) -> None:
    """Quartiles and median of many runs side by side, from the least to the most."""
    thick, thin = {"color": look["color"], "linewidth": 2.5}, {"color": look["color"]}
    axes.boxplot(list(reached.values()), positions=list(reached), widths=0.3, whis=(0, 100), showfliers=False,
                 manage_ticks=False, boxprops=thin, whiskerprops=thin, capprops=thin,
                 medianprops=thick)  # fmt: skip
    axes.plot([], [], label="measured, median", **thick)


def _published(axes: Axes, point: Point, metric: str, x: str, scale: Scale) -> None:
    factor, _ = _unit(metric)
    told = (point.inputs.get("published") or {}).get("values") or []
    fitting = [(each["at"], each["value"]) for each in told if each.get("metric") == metric and each.get("at")]
    places = [(scale[str(value)], amount * factor) for where, amount in fitting for key, value in where.items()
              if (x == key or x.endswith(f".{key}")) and str(value) in scale.values]
    if places:
        axes.plot([place for place, _ in places], [amount for _, amount in places], "o", color=style.INK, markersize=10,
                  fillstyle="none", label="published")


def _dress(figure: Figure, axes: Axes, points: Sequence[Point], metric: str, x: str, scale: Scale) -> None:
    _, unit = _unit(metric)
    words = re.sub(r"_s(?=\.|$)", "", metric).replace("_", " ")
    figure.suptitle(f"{points[0].frames.record.experiment}: {words}", x=0.01, ha="left", fontsize=11, fontweight="bold")
    axes.set_ylabel(f"{words} ({unit})" if unit else words)
    axes.set_xlabel(f"{x} ({scale.unit})" if scale.unit else x)
    axes.set_ylim(bottom=0)
    if not scale.numeric:
        axes.set_xticks(range(len(scale.values)), scale.values)
        axes.set_xlim(-0.5, len(scale.values) - 0.5)
    told = doubts(points)
    worse = f": {told} (triangles: suspect, crosses: worse)" if told else ""
    axes.set_title(f"{len(points)} runs{worse}")
    style.key(axes, outside=True)


def doubts(points: Sequence[Point]) -> str:
    """How many runs are not valid, by verdict; nothing where all are."""
    bad = {level: sum(point.level == level for point in points) for level in ("suspect", "invalid", "none")}
    return ", ".join(f"{count} {'not judged' if level == 'none' else level}" for level, count in bad.items() if count)
