"""Runs and sweeps as the command line does them: with a live view, figures, a report, and an exit status."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from testbed import store
from testbed.cli import tables
from testbed.cli.view import LiveView
from testbed.experiment.load import load
from testbed.run import perform
from testbed.substrate.find import named


def run_experiment(
    path: Path, substrate: str, sets: Sequence[str], out: Path, figures: bool, quiet: bool
) -> tuple[Path, int]:
    """Run the experiment and tell how it went; its folder and the exit status."""
    experiment, carrier = load(path, sets), named(substrate)
    with LiveView(experiment.name, quiet) as view:
        folder = perform(experiment, carrier, out, view)
        if figures:
            view.phase("drawing the figures")
            drawn = draw(folder)
    record = store.read_record(folder)
    tables.ending(record)
    if figures:
        tables.err.print(f"figure   {drawn}\nreport   {folder / 'report.html'}", markup=False, soft_wrap=True)
    return folder, status_of(record)


def draw(folder: Path) -> Path:
    """All figures and the report; returns the figure to look at first."""
    import analysis
    from analysis.report import report

    paths = analysis.draw_all(folder)
    report(folder)
    return next((path for path in paths if path.name == "latency_over_time.svg"), paths[0])


def status_of(record: store.RunRecord) -> int:
    """0 if the run came to its end and its verdict is not invalid, else 1."""
    verdict = (record.verdict or {}).get("level", "invalid")
    return 0 if record.state == "done" and verdict != "invalid" else 1
