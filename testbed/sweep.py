"""A sweep: one run for each combination of the values that an experiment lists, in one folder.

runs/<sweep_id>/
  sweep.json        the points: what was set, which run it is, its verdict
  sweep.csv         one row a run: the swept values, the verdict, the summary over all functions
  published.json    measured beside published values, where the experiment has some
  figures/          a curve of each published metric
  <run folders>
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from testbed import parallel, store
from testbed.collect.schema import SUMMARY
from testbed.conduct import Quiet, View
from testbed.document import set_path
from testbed.experiment.load import from_text
from testbed.experiment.model import Experiment
from testbed.published import compare
from testbed.run import perform
from testbed.substrate.base import Substrate
from testbed.tables import cell


@dataclass(frozen=True)
class Point:
    """One combination of swept values (path -> value as written), and the experiment with them in place."""

    values: Mapping[str, Any]
    experiment: Experiment

    @property
    def named(self) -> str:
        """The values, for a person."""
        return ", ".join(f"{path.rpartition('.')[2]} {value}" for path, value in self.values.items())


def points(experiment: Experiment) -> list[Point]:
    """Every combination, the last path varying fastest; raises InputError if one of them is not a valid experiment."""
    return [Point(values, _with(experiment, values)) for values in _combinations(experiment.file.sweep)]


def _combinations(sweep: Mapping[str, list[Any]]) -> Iterator[dict[str, Any]]:
    for values in product(*sweep.values()):
        yield dict(zip(sweep, values, strict=True))


def _with(experiment: Experiment, values: Mapping[str, Any]) -> Experiment:
    document = experiment.document
    for path, value in values.items():
        document = set_path(document, f"{path}={json.dumps(value)}")
    return from_text(document)


def perform_sweep(
    experiment: Experiment, substrate: Substrate, out: Path, view: View, done: Callable[[Path], None]
) -> Path:
    """Run every point and return the sweep's folder; ``done`` is told each run's folder.

    A run that fails is a point with its error; the others go on. Ctrl-C ends the sweep after the interrupted run.
    """
    every = points(experiment)
    folder = fresh(out / f"{experiment.name}-{time.strftime('%Y%m%d-%H%M%S')}")
    finished: dict[int, Path] = {}
    for number, run in _runs(every, substrate, folder, view):
        finished[number] = run
        record = store.read_record(run)
        _write(folder, experiment, [(every[each], finished[each]) for each in sorted(finished)])
        done(run)
        if record.state == "interrupted":
            break
    return folder


def _runs(every: Sequence[Point], substrate: Substrate, folder: Path, view: View) -> Iterator[tuple[int, Path]]:
    """Each point's number and run: one after the other in real time, on all processors in virtual time."""
    if substrate.virtual:
        view.phase(f"{len(every)} points")
        works = [partial(_performed, point, substrate, folder) for point in every]
        yield from ((number, Path(run)) for number, run in parallel.each(works))
        return
    for number, point in enumerate(every):
        view.phase(f"point {number + 1} of {len(every)} ({point.named})")
        yield number, perform(point.experiment, substrate, folder, view)


def _performed(point: Point, substrate: Substrate, folder: Path) -> str:
    return str(perform(point.experiment, substrate, folder, Quiet()))


def fresh(folder: Path) -> Path:
    """Make ``folder``; its name gets a number if it is taken."""
    name, count = folder.name, 1
    while folder.exists():
        count += 1
        folder = folder.with_name(f"{name}-{count}")
    folder.mkdir(parents=True)
    return folder


def _write(folder: Path, experiment: Experiment, finished: list[tuple[Point, Path]]) -> None:
    """The sweep's own files, for all points so far."""
    records = [(point, store.read_record(run)) for point, run in finished]
    listed = [
        {"values": dict(point.values), "run": record.run_id, "state": record.state,
         "verdict": (record.verdict or {}).get("level")}
        for point, record in records
    ]  # fmt: skip
    store.write_atomically(
        folder / "sweep.json", json.dumps({"experiment": experiment.name, "points": listed}, indent=2)
    )
    with (folder / "sweep.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*experiment.file.sweep, "run_id", "verdict", *SUMMARY.header])
        for (point, record), each in zip(records, listed, strict=True):
            row = [record.summary.get(name) for name in SUMMARY.header]
            writer.writerow([*point.values.values(), record.run_id, each["verdict"], *map(cell, row)])
    if experiment.file.published:
        compared = compare(experiment.file.published, [(point.values, record.results) for point, record in records])
        store.write_atomically(folder / "published.json", json.dumps(compared, indent=2))


def metrics(experiment: Experiment) -> list[str]:
    """The metrics that the sweep's curves show: those that were published, else the median."""
    published = experiment.file.published
    return (published.metrics if published else []) or ["response_time_p50_s"]
