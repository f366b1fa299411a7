"""The twin beside the emulation over load points: one folder with every run, the errors and what they were made of.

runs/<experiment>-validation-<time>/
  validation.json   the points with their runs, errors by point, band of utilisation and window, the reaches
  validation.md     the same as tables
  calibration.json  what the emulation at one of the points taught the twin
  figures/          median and 95th percentile over the load points, emulation and twin
  <run folders>
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from testbed import parallel, store
from testbed.calibrate import calibrated
from testbed.compared import LoadPoint, compared
from testbed.conduct import Quiet, View
from testbed.document import set_path
from testbed.errors import TestbedError, UsageError
from testbed.experiment.load import from_text
from testbed.experiment.model import Experiment
from testbed.run import perform
from testbed.substrate.base import Substrate
from testbed.substrate.find import named
from testbed.sweep import fresh
from testbed.workload.arrivals.closed import Closed


@dataclass
class Validation:
    """The work and its folder. ``told`` is given each emulated run's folder when it has ended."""

    experiment: Experiment
    substrate: Substrate
    folder: Path
    repeat: int
    view: View
    told: Callable[[Path], None]

    def __post_init__(self) -> None:
        asked = self.experiment.file.validation
        if asked is None:
            raise UsageError(
                f"{self.experiment.document.file} has no section `validation`. Name load points with "
                "`--over PATH=V1,V2,... --calibrate-at V`, such as --over 'workload.traffic[0].arrivals.rate=5/s,10/s'."
            )
        if self.substrate.virtual:
            raise UsageError("The twin cannot be validated against itself. Name a substrate that emulates.")
        self.path, values = next(iter(asked.over.items()))
        self.points = [self._point(value, value == asked.calibrate) for value in values]
        self.notes: list[str] = []
        closed = any(isinstance(each.arrivals, Closed) for each in self.experiment.workload.traffic)
        self.latency = "service_latency_s" if closed else "response_time_s"  # what a closed loop is late by, adds up

    def _point(self, value: Any, calibrates: bool) -> LoadPoint:
        document = set_path(self.experiment.document, f"{self.path}={json.dumps(value)}")
        if self.experiment.file.sweep:
            document = set_path(document, "sweep={}")
        seeds = range(self.experiment.seed, self.experiment.seed + self.repeat)
        return LoadPoint(value, [from_text(set_path(document, f"seed={seed}")) for seed in seeds], calibrates)

    def carry_out(self) -> str:
        """All of it; returns the state: ``done``, or ``interrupted`` after Ctrl-C in an emulated run."""
        self.write("running")
        for point in sorted(self.points, key=lambda each: not each.calibrates):  # what all depends on comes first
            if not self._emulate(point):
                self.write("interrupted")
                return "interrupted"
            if point.calibrates:
                self._calibrate(point)
            self.write("running")
        self._run_twins()
        self.write("done")
        return "done"

    def _emulate(self, point: LoadPoint) -> bool:
        """Run each repetition; one that cannot be used is run once more. False after Ctrl-C."""
        for number, experiment in enumerate(point.experiments):
            again = f", repetition {number + 1}" if self.repeat > 1 else ""
            for attempt in ("", ", once more"):
                self.view.phase(f"emulation at {point.value}{again}{attempt}")
                run = perform(experiment, self.substrate, self.folder, self.view)
                self.told(run)
                if store.read_record(run).state == "interrupted":
                    return False
                if not (why := _unusable(run)):
                    point.emulation.append(run)
                    break
                point.refused.append(run)
            else:
                point.left_out = f"the emulation could not be used, twice: {why}"
                break
        return True

    def _calibrate(self, point: LoadPoint) -> None:
        if point.left_out:
            raise TestbedError(f"At {point.value}, where the twin is to be calibrated, {point.left_out}")
        self.view.phase("calibrating the twin")
        known, self.notes = calibrated(point.emulation[0], point.experiments[0])
        store.write_atomically(self.folder / "calibration.json", known.model_dump_json(indent=2) + "\n")

    def _run_twins(self) -> None:
        self.view.phase("the twin at all points")
        places = [(point, each) for point in self.points if not point.left_out for each in point.experiments]
        works = [partial(self._twin, each) for _, each in places]
        found = dict(parallel.each(works))
        for number, (point, _) in enumerate(places):
            run = Path(found[number])
            point.twin.append(run)
            if why := _unusable(run):
                point.left_out = f"the twin's run could not be used: {why}"

    def _twin(self, experiment: Experiment) -> str:
        path = f"twin.calibration={json.dumps(str((self.folder / 'calibration.json').absolute()))}"
        return str(perform(from_text(set_path(experiment.document, path)), named("twin"), self.folder, Quiet()))

    def write(self, state: str) -> None:
        """Write ``validation.json`` as far as it is known."""
        told = compared(self.experiment, self.path, self.latency, self.points)
        data = {"substrate": self.substrate.name, "repeat": self.repeat, "state": state, "notes": self.notes, **told}
        store.write_atomically(self.folder / "validation.json", json.dumps(data, indent=2, default=str) + "\n")


def validate(
    experiment: Experiment, substrate: Substrate, out: Path, repeat: int, view: View, told: Callable[[Path], None]
) -> tuple[Path, str]:
    """Carry out what the experiment's section ``validation`` asks for; the folder below ``out``, and the state.

    Raises UsageError where it asks for nothing, and TestbedError where the twin cannot be calibrated.
    """
    work = Validation(experiment, substrate, out, repeat, view, told)
    work.folder = fresh(out.absolute() / f"{experiment.name}-validation-{time.strftime('%Y%m%d-%H%M%S')}")
    try:
        return work.folder, work.carry_out()
    except TestbedError:
        work.write("failed")
        raise


def _unusable(run: Path) -> str:
    """Why a run says nothing, or nothing."""
    record = store.read_record(run)
    if record.state != "done":
        return record.error or f"the run is {record.state}"
    verdict = record.verdict or {"level": "invalid", "reasons": []}
    if verdict["level"] == "invalid":
        return " ".join(reason["what"] for reason in verdict["reasons"] if reason["level"] == "invalid")
    return "" if record.summary.get("ok") else "no invocation was answered well"
