"""How far the twin is from the emulation: the figure of both curves and the tables, from a validation's folder.

    from analysis.validation import figure, load, markdown
    found = load(Path("runs/quickstart-validation-20260105-100000"))
    figure(found).savefig("validation.pdf")
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import style
from analysis.curve import Scale
from testbed.errors import RunNotFound

Found = Mapping[str, Any]
PANELS = {"p50": "median", "p95": "95th percentile"}
WORDS = {**PANELS, "mean": "mean", "p99": "99th percentile", "throughput": "throughput", "link_bytes": "bytes per link",
         "cold_share": "cold share"}  # fmt: skip
_MARKERS = {"valid": "o", "suspect": "^"}


def load(folder: Path) -> Found:
    """What ``validation.json`` in ``folder`` says; raises RunNotFound where there is none."""
    try:
        found: Found = json.loads((folder / "validation.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunNotFound(f"{folder} is no validation's folder: {error}.") from error
    return found


def figure(found: Found) -> Figure:
    """Median and 95th percentile over the load points: emulation and twin, with published values as rings.

    The point of the calibration has a square around it, a suspect emulation is a triangle; points that were left out
    are counted in the heading.
    """
    drawn = [point for point in found["points"] if "metrics" in point]
    scale = Scale([point["value"] for point in found["points"]])
    with style.styled():
        canvas, both = style.canvas(1, len(PANELS), height=3.4)
        for axes, metric in zip(both, PANELS, strict=True):
            _panel(axes, found, drawn, metric, scale)
        left_out = len(found["points"]) - len(drawn)
        words = f"{found['experiment']}: twin and emulation ({found['substrate']})"
        canvas.suptitle(f"{words}, {_count(left_out)} left out" if left_out else words, x=0.01, ha="left", fontsize=11,
                        fontweight="bold")  # fmt: skip
        style.key(both[-1], outside=True)
    return canvas


def _panel(axes: Axes, found: Found, drawn: Sequence[Found], metric: str, scale: Scale) -> None:
    for index, side in enumerate(("emulation", "twin")):
        told = [(scale[each["value"]], 1e3 * each["metrics"][metric][side], each) for each in drawn
                if each["metrics"][metric][side] is not None]  # fmt: skip
        told.sort(key=lambda each: each[0])
        look = style.line_style(index)
        axes.plot([x for x, _, _ in told], [y for _, y, _ in told], label=side, **look)
        for x, y, each in told:
            marker = _MARKERS.get(each["verdict"], "X") if side == "emulation" else "s"
            axes.plot(x, y, marker, color=look["color"], markersize=6 if side == "emulation" else 4, zorder=3)
            if each["role"] == "calibration" and side == "emulation":
                axes.plot(x, y, "s", color=style.INK, markersize=12, fillstyle="none", label="calibrated here")
    rings = [(scale[each["at"]], 1e3 * each["value"]) for each in found["published"] if each["metric"] == metric]
    if rings:
        axes.plot(*zip(*rings, strict=True), "o", color=style.INK, markersize=10, fillstyle="none", label="published")
    latency = str(found["latency"]).removesuffix("_s").replace("_", " ")
    axes.set(title=PANELS[metric], ylabel=f"{latency} (ms)", ylim=(0, None))
    name = str(found["over"]).rpartition(".")[2]
    axes.set_xlabel(f"{name} ({scale.unit})" if scale.unit else name)
    if not scale.numeric:
        axes.set_xticks(range(len(scale.values)), scale.values)


def reaches(found: Found) -> list[str]:
    """A sentence for each reach: met, or missed by how much."""
    return [_reach(each) for each in found["reaches"]]


def _reach(each: Found) -> str:
    head = f"{WORDS[each['metric']]}, reach {_percent(each['reach'])}"
    if each["met"] is None:
        why = " (it takes 1,000 answers at a point)" if each["metric"] == "p99" else ""
        return f"{head}: not told by any point up to a utilisation of 0.8{why}"
    over = f"{_percent(each['mape'])} over {_count(each['points'])}"
    missed = 100 * ((each["mape"] or 0.0) - each["reach"])
    return f"{head}: {over}: " + ("met" if each["met"] else f"missed by {missed:.1f} points")


def markdown(found: Found) -> str:
    """All tables of a validation, as Markdown."""
    return "\n".join(_pages(found)).rstrip() + "\n"


def _pages(found: Found) -> Iterator[str]:
    latency = str(found["latency"]).removesuffix("_s").replace("_", " ")
    yield f"# {found['experiment']}: the twin beside the emulation\n"
    yield (
        f"{found['system']}, emulation on {found['substrate']}, {found['repeat']} run(s) at each point, over "
        f"`{found['over']}`. Latency is the {latency}; errors are (twin - emulation) / emulation. The twin was "
        "calibrated at one point and is tested at the others. Utilisation is the highest of three shares: the busiest "
        "workers' and link's, and what waiting implies, 1 - (lowest mean latency of all points / mean latency).\n"
    )
    yield from (f"Note: {note}.\n" for note in found["notes"])
    yield from (f"- {line}" for line in reaches(found))
    yield "\n## Load points\n"
    yield from _table(["point", "", "verdict", "answers", "workers", "links", "waiting", "machine",
                       *(f"{WORDS[name]} ms" for name in ("p50", "p95", "p99", "mean")), "throughput 1/s",
                       "bytes per link", "cold share"], [_row(each) for each in found["points"]])  # fmt: skip
    yield "\nEach cell is: emulation / twin (error).\n\n## Mean absolute errors of the points that test\n"
    yield from _table(["utilisation", *WORDS.values()], [
        [band, *(_mean(means[name]) for name in WORDS)] for band, means in found["bands"].items()
    ])  # fmt: skip
    yield (
        "\nIn brackets: at how many load points. Where the emulation shows zero (or fewer than ten cold starts), a "
        "percentage says nothing: the mean difference stands instead.\n"
    )
    yield from _windows(found)
    yield from _links(found)


def _row(point: Found) -> list[str]:
    head = [point["value"], point["role"], point["verdict"]]
    if "metrics" not in point:
        return [*head, point["left_out"] or "not run yet", *[""] * 11]
    metrics = point["metrics"]
    return [
        *head, " / ".join(f"{ok} of {asked}" for ok, asked in zip(point["ok"], point["scheduled"], strict=True)),
        *(_share(each) for each in (*point["busy"].values(), point["machine"])),
        *(_pair(metrics[name], 1e3) for name in ("p50", "p95", "p99", "mean")),
        _pair(metrics["throughput"], 1), _percent(metrics["link_bytes"]["relative"]),
        _pair(metrics["cold_share"], 1, "not told"),
    ]  # fmt: skip


def _windows(found: Found) -> Iterator[str]:
    rows = [[point["value"], f"{each['from']:g} to {each['to']:g} s",
             *(_pair(each["metrics"][name], 1e3) for name in ("p50", "p95"))]
            for point in found["points"] for each in point.get("windows", ())]  # fmt: skip
    if rows:
        yield "\n## Between the events\n"
        yield from _table(["point", "scheduled", "median ms", "95th percentile ms"], rows)
        yield "\nMean absolute errors of all stretches of the points that test:\n"
        yield from _table(["utilisation", "median", "95th percentile"],
                          [[band, _mean(means["p50"]), _mean(means["p95"])]
                           for band, means in found["between_events"].items()])  # fmt: skip


def _links(found: Found) -> Iterator[str]:
    rows = [[point["value"], name, f"{each['emulation']:.0f}", f"{each['twin']:.0f}", _percent(each["relative"])]
            for point in found["points"] for name, each in point.get("links", {}).items()]  # fmt: skip
    if rows:
        yield "\n## Bytes on each link, both directions\n"
        yield from _table(["point", "link", "emulation", "twin", "error"], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def _pair(each: Found, factor: float, unknown: str = "too few") -> str:
    if each["emulation"] is None or each["twin"] is None:
        return unknown
    error = _percent(each["relative"], "+") if each["relative"] is not None else f"{factor * each['absolute']:+.3g}"
    return f"{factor * each['emulation']:.4g} / {factor * each['twin']:.4g} ({error})"


def _mean(each: Found) -> str:
    parts = [f"{_percent(each['mape'])} ({each['points']})"] if each["points"] else []
    parts += [f"{each['difference']:.3g} ({each['zeros']})"] if each["zeros"] else []
    return ", ".join(parts) or "-"


def _count(points: int) -> str:
    return f"{points} load point" + "s" * (points != 1)


def _percent(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{100 * value:{sign}.1f} %"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
