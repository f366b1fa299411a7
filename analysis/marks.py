"""What stands on every figure whatever it shows: title, origin, verdict, and on time axes the events.

A run that is not valid is never drawn without its mark.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import style
from analysis.frames import Frames

MOST_LABELLED = 9
"""With more moments than this, events are numbered; the report's table of events has the numbers too."""
MOST_LINES = 30
"""With more moments than this, each is a tick at the top instead of a line, and only their number is written."""


def verdict_line(frames: Frames) -> tuple[str, str]:
    """What to write over a figure of this run, and its colour; nothing for a valid run that came to its end."""
    verdict, record = frames.verdict, frames.record
    if verdict is None:
        return f"NOT JUDGED: the run is {record.state}", style.RED
    # The first sentence says what was seen; the advice after it is the report's.
    reasons = [re.split(r"\.\s", reason.what)[0].rstrip(".") for reason in verdict.reasons]
    why = reasons[0] if reasons else "no reason was recorded"
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    if verdict.level != "valid":
        words = why if len(why) <= 105 else f"{why[:104]}…"
        return f"{verdict.level.upper()}: {words}{more}", style.RED if verdict.level == "invalid" else style.ORANGE
    return ("", "") if record.state == "done" else (f"NOT FINISHED: the run is {record.state}", style.ORANGE)


def frame(figure: Figure, frames: Frames, title: str, stamp: bool = True) -> None:
    """Title above, the run's name and settings below, and the mark of a run that is not to be trusted.

    ``stamp`` writes the mark across the drawing as well, which an empty one does not need.
    """
    record, verdict = frames.record, frames.verdict
    words, colour = verdict_line(frames)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    origin = f"{record.run_id} · {record.system} · {record.substrate} · seed {record.seed}"
    # An x label of the whole figure, since the layout keeps room for it, which it does not for free text.
    figure.supxlabel(origin, x=0.99, ha="right", fontsize=6.5, color=style.FAINT)
    if not words:
        return
    figure.suptitle(f"{title}\n", x=0.01, ha="left", fontsize=11, fontweight="bold")
    figure.text(0.01, 1 - 0.30 / figure.get_figheight(), words, ha="left", va="top", fontsize=8, color=style.INK,
                gid="verdict", bbox={"boxstyle": "square,pad=0.25", "facecolor": colour, "alpha": 0.25, "linewidth": 0})
    if stamp and (verdict is None or verdict.level == "invalid"):
        figure.text(0.5, 0.48, "INVALID RUN" if verdict else "NOT JUDGED", ha="center", va="center", rotation=18,
                    fontsize=38, fontweight="bold", color=style.RED, alpha=0.22, gid="watermark")


@dataclass
class Moment:
    """Events that stand too close to be told apart on paper: their first time, what happened to whom, their rows.

    ``numbers`` counts the rows of ``events.csv`` from 1, as the report does.
    """

    t: float
    happened: dict[str, list[str]]
    numbers: list[int]

    @property
    def words(self) -> str:
        """What happened, for the figure: ``w2 worker: kill, agent exit``."""
        return "; ".join(f"{subject}: {', '.join(what)}" if subject else ", ".join(what)
                         for subject, what in self.happened.items())


def moments(frames: Frames) -> list[Moment]:
    """When something happened, in order of time; events within 1.5 % of the run share a moment.

    Of the steps of a replayed link only the first is one.
    """
    table = frames.table("events")
    times = table["t_actual"].fillna(table["t_planned"])
    near, found = 0.015 * _span(frames), list[Moment]()
    replayed = set[str]()
    for number, t in sorted(enumerate(times, start=1), key=lambda each: each[1]):
        kind, subject, detail = table[["kind", "subject", "detail"]].iloc[number - 1]
        if pd.isna(t):
            continue
        if kind == "trace":
            if subject in replayed:
                continue
            replayed.add(subject)
        if not found or t - found[-1].t > near:
            found.append(Moment(float(t), {}, []))
        what = str(detail) if kind == "shape" and detail else str(kind).replace("_", " ")
        happened = found[-1].happened.setdefault(str(subject), [])
        found[-1].numbers.append(number)
        if what not in happened:
            happened.append(what)
    return found


def events(axes: Axes, frames: Frames, labels: bool = True) -> None:
    """Draw the events as vertical lines with their names, and shade what is not the phase ``measure``."""
    for start, end, phase in _other_phases(frames):
        axes.axvspan(start, end, color=style.GRID, alpha=0.45, linewidth=0, zorder=0)
        if labels:
            axes.annotate(phase, (start, 1), xycoords=axes.get_xaxis_transform(), xytext=(2, -2), va="top",
                          textcoords="offset points", fontsize=7, color=style.FAINT)
    found = moments(frames)
    if len(found) > MOST_LINES:
        _ticks(axes, found, labels)
        return
    numbered = len(found) > MOST_LABELLED
    for moment in found:
        axes.axvline(moment.t, color=style.INK, linewidth=0.8, linestyle=(0, (4, 2)), zorder=1.5)
        if not labels:
            continue
        text = style.shorten(",".join(map(str, moment.numbers)), 8) if numbered else style.shorten(moment.words, 34)
        axes.annotate(text, (moment.t, 1), xycoords=axes.get_xaxis_transform(), xytext=(2, -2), fontsize=7, zorder=5,
                      textcoords="offset points", rotation=0 if numbered else 90, ha="left", va="top",
                      bbox={"boxstyle": "square,pad=0.1", "facecolor": style.PAPER, "alpha": 0.75, "linewidth": 0})


def _ticks(axes: Axes, found: list[Moment], labels: bool) -> None:
    """So many events that lines would hide the data."""
    for moment in found:
        axes.axvline(moment.t, ymin=0.96, color=style.INK, linewidth=0.6, zorder=1.5)
    if labels:
        count = sum(len(moment.numbers) for moment in found)
        axes.annotate(f"{count} events, see the table of events", (found[0].t, 0.955), fontsize=7, zorder=5,
                      xycoords=axes.get_xaxis_transform(), xytext=(2, -2), textcoords="offset points", va="top",
                      bbox={"boxstyle": "square,pad=0.1", "facecolor": style.PAPER, "alpha": 0.75, "linewidth": 0})


def time_axis(axes: Axes, frames: Frames) -> None:
    """The x axis of a figure over time: from the first thing scheduled to the last thing done."""
    start, end = _limits(frames)
    axes.set_xlim(start, end if end > start else start + 1)
    axes.set_xlabel("Time since the start of the workload (s)")


def _limits(frames: Frames) -> tuple[float, float]:
    rows = frames.invocations
    times = pd.concat([rows["t_scheduled"], rows["t_done"], frames.table("events")["t_actual"]]).dropna()
    if times.empty:
        times = pd.concat([frames.table("links")["t"], frames.table("nodes")["t"]]).dropna()
    return (min(0.0, float(times.min())), float(times.max())) if len(times) else (0.0, 1.0)


def _span(frames: Frames) -> float:
    start, end = _limits(frames)
    return end - start


def _other_phases(frames: Frames) -> Iterator[tuple[float, float, str]]:
    rows = frames.invocations
    measure = rows.loc[rows["phase"] == "measure", "t_scheduled"]
    start, end = _limits(frames)
    for phase in ("warmup", "cooldown"):
        times = rows.loc[rows["phase"] == phase, "t_scheduled"]
        if times.empty:
            continue
        if phase == "warmup":
            yield start, float(measure.min()) if len(measure) else float(times.max()), phase
        else:
            yield float(times.min()), end, phase
