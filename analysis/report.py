"""One offline HTML file that tells a run: the verdict, the network, the figures, the tables, the exact inputs."""

from __future__ import annotations

import io
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup

from analysis import facts, has_data, names, style, svg
from analysis import figure as drawn
from analysis.frames import Frames, load
from testbed.store import write_atomically

ORDER = ("latency_over_time", "latency_cdf", "throughput", "breakdown", "link_load", "node_load", "send_delay")
"""The figures that stand first, in this order; others follow by name."""

MOST_INPUT = 200_000
"""Characters of an input file that the report shows; the whole file lies beside it."""

_ADVICE = {
    "valid": "Nothing that was watched speaks against these numbers.",
    "suspect": "Read the reasons before you use these numbers. Each says what to do; if it stays, it belongs in the "
               "caption.",
    "invalid": "Do not use these numbers: they tell more about this machine than about the system under test. Remove "
               "the cause named below (less load, fewer hosts, a calmer machine), then repeat the run.",
    "none": "The run ended before it could be judged. What was collected until then is kept; it is no result.",
}


@dataclass(frozen=True)
class Drawing:
    """A drawing of the page: its anchor, its heading and its SVG."""

    name: str
    title: str
    svg: Markup


def report(folder: Path) -> Path:
    """Write ``report.html`` into the run's ``folder`` and give its path; raises RunNotFound for what is no run."""
    path = folder / "report.html"
    write_atomically(path, page(load(folder)))
    return path


def page(frames: Frames) -> str:
    """The report as HTML, with everything that it shows inside it."""
    figures = list(drawings(frames))  # first, since reading the tables finds their problems
    tables = facts.sheets(frames)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True,
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )
    level = frames.verdict.level if frames.verdict else "none"
    return environment.get_template("report.html.j2").render(
        record=frames.record, verdict=frames.verdict, level=level, advice=_ADVICE[level], problems=frames.problems,
        topology=_topology(frames), figures=figures, tables=tables, inputs=_inputs(frames), repeat=repeat(frames),
        missing=[name for name in names() if not has_data(frames, name)],
        versions=facts.pairs("Versions", ("what", "version"), frames.record.versions),
        features=facts.pairs("What the machine offers", ("feature", "found"), frames.record.features),
    )


def drawings(frames: Frames) -> Iterator[Drawing]:
    """Every figure for which the run has data, as SVG for the page."""
    found = [name for name in names() if has_data(frames, name)]
    for name in sorted(found, key=lambda each: (ORDER.index(each) if each in ORDER else len(ORDER), each)):
        figure, text = drawn(frames, name), io.StringIO()
        title = figure.get_suptitle().strip()
        with style.styled():
            figure.savefig(text, format="svg", metadata={"Date": None, "Creator": "testbed"})
        yield Drawing(name, title, Markup(svg.inline(text.getvalue(), f"figure-{name}", title)))


def _topology(frames: Frames) -> Markup | None:
    text = frames.text("topology.svg")
    if not text:
        return None
    try:
        return Markup(svg.inline(text, "topology", "The network"))
    except ValueError as error:
        frames.problems.append(f"topology.svg: {error}.")
        return None


def _inputs(frames: Frames) -> list[tuple[str, str, bool]]:
    """The input files: name, text, and whether the text was cut."""
    texts = [(name, frames.text(name)) for name in ("experiment.yaml", "topology.yaml")]
    return [(name, text[:MOST_INPUT], len(text) > MOST_INPUT) for name, text in texts if text]


def repeat(frames: Frames) -> str:
    """The command that repeats the run from its own folder."""
    record = frames.record
    return shlex.join(["testbed", "run", str(frames.folder / "experiment.yaml"), "--substrate", record.substrate,
                       "--seed", str(record.seed)])
