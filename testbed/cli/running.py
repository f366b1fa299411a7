"""Runs and sweeps as the command line does them: with a live view, figures, a report, and an exit status."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from testbed import store
from testbed.cli import options, tables
from testbed.cli.view import LiveView
from testbed.errors import UsageError
from testbed.experiment.load import load
from testbed.experiment.model import Experiment
from testbed.run import perform
from testbed.substrate.base import Substrate
from testbed.sweep import metrics, perform_sweep


def run_experiment(
    path: Path, substrate: str, sets: Sequence[str], out: Path, figures: bool, quiet: bool, nat: str = ""
) -> tuple[Path, int]:
    """Run the experiment, or each point of its sweep, and tell how it went; the folder and the exit status."""
    experiment = load(path, sets)
    carrier = options.carrier(substrate, nat, experiment.topology)
    tables.notes(experiment.topology)
    with LiveView(experiment.name, quiet) as view:
        if experiment.file.sweep:
            return _sweep(experiment, carrier, out, figures, view)
        folder = perform(experiment, carrier, out, view)
        drawn = _draw(folder, view) if figures else None
    status = _tell(folder)
    if drawn:
        tables.err.print(f"figure   {drawn}\nreport   {folder / 'report.html'}", markup=False, soft_wrap=True)
    return folder, status


def _sweep(experiment: Experiment, carrier: Substrate, out: Path, figures: bool, view: LiveView) -> tuple[Path, int]:
    statuses, folders = [], []

    def done(folder: Path) -> None:
        folders.append(folder)
        statuses.append(_tell(folder))
        if figures:
            _draw(folder, view)

    whole = perform_sweep(experiment, carrier, out, view, done)
    if (whole / "published.json").exists():
        tables.published(json.loads((whole / "published.json").read_text(encoding="utf-8")))
    if figures:
        for metric in metrics(experiment):
            tables.err.print(f"figure   {_curve(whole, folders, metric)}", markup=False, soft_wrap=True)
    return whole, max(statuses, default=1)


def draw_curve(sweeps: Sequence[Path], metric: str, over: str, output: Path, log: bool) -> tuple[Path, ...]:
    """The curve over the runs of all these sweeps; raises UsageError for a folder that holds no runs."""
    from analysis.curve import curve
    from analysis.style import save

    return tuple(save(curve(_runs(sweeps), metric, over, log), output))


def draw_distribution(sweeps: Sequence[Path], column: str, output: Path) -> tuple[Path, ...]:
    """The distribution of a column of invocations.csv at each point of these sweeps; its quantiles go to stderr."""
    from analysis.distribution import SHARES, distribution
    from analysis.style import save

    found = distribution(_runs(sweeps), column)
    tables.err.print(f"{column} at {', '.join(f'{share:.0%}' for share in SHARES)}:", markup=False, soft_wrap=True)
    for label, values in found.quantiles().items():
        tables.err.print(f"  {label}: {', '.join(f'{each:.4g}' for each in values)}", markup=False, soft_wrap=True)
    return tuple(save(found.figure(), output))


def _runs(sweeps: Sequence[Path]) -> list[Path]:
    folders = []
    for sweep in sweeps:
        runs = sorted(path.parent for path in sweep.glob("*/run.json"))
        if not runs:
            raise UsageError(f"{sweep} is no sweep's folder: there are no runs in it.")
        folders += runs
    return folders


def _curve(whole: Path, folders: Sequence[Path], metric: str) -> Path:
    from analysis.curve import curve
    from analysis.style import save

    (whole / "figures").mkdir(exist_ok=True)
    return save(curve(folders, metric), whole / "figures" / f"curve-{_plain(metric)}")[0]


def _plain(metric: str) -> str:
    """A metric's name as a part of a file's."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", metric)


def _tell(folder: Path) -> int:
    record = store.read_record(folder)
    tables.ending(record)
    return status_of(record)


def _draw(folder: Path, view: LiveView) -> Path:
    """All figures and the report; returns the figure to look at first."""
    import analysis
    from analysis.report import report

    view.phase("drawing the figures")
    paths = analysis.draw_all(folder)
    report(folder)
    return next((path for path in paths if path.name == "latency_over_time.svg"), paths[0])


def status_of(record: store.RunRecord) -> int:
    """0 if the run came to its end and its verdict is not invalid, else 1."""
    verdict = (record.verdict or {}).get("level", "invalid")
    return 0 if record.state == "done" and verdict != "invalid" else 1
