"""Calibrating the twin and validating it, as the command line does them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from testbed import store
from testbed.calibrate import calibrated, experiment_of
from testbed.cli import tables
from testbed.cli.tables import err
from testbed.cli.view import LiveView
from testbed.experiment.load import load
from testbed.substrate.find import named
from testbed.twin.calibration import Calibration
from testbed.validate import validate


def calibrate_twin(folder: Path, output: Path) -> None:
    """Write the calibration that an emulated run gives, and tell what it says."""
    experiment, changed = experiment_of(folder)
    known, notes = calibrated(folder, experiment)
    store.write_atomically(output, known.model_dump_json(indent=2) + "\n")
    for note in [*(f"Since then, {each}." for each in changed), *(f"Note: {each}." for each in notes)]:
        err.print(note, style="yellow", markup=False, soft_wrap=True)
    for line in _told(known):
        err.print(line, markup=False)


def _told(known: Calibration) -> list[str]:
    lines = [f"{what} of {name}: {1e3 * spread.median:.3f} ms at the median"
             for what, spreads in (("time in", known.exec_s), ("cold start", known.init_s))
             for name, spread in spreads.items()]  # fmt: skip
    lines += [f"{role}: busy for {1e3 * busy:.3f} ms with each message" for role, busy in known.busy_s.items()]
    return [*lines, f"a call: {1e3 * known.call_s.median:.3f} ms more at the median"]


def assignments(over: str, calibrate_at: str) -> list[str]:
    """What ``--over PATH=V1,V2`` and ``--calibrate-at V`` stand for, as ``--set`` would say it."""
    path, _, values = over.partition("=")
    listed = ", ".join(filter(None, map(str.strip, values.split(","))))
    sets = [f"validation.over={{{json.dumps(path.strip())}: [{listed}]}}"] if over else []
    return [*sets, *([f"validation.calibrate={calibrate_at}"] if calibrate_at else [])]


def validate_twin(
    path: Path, substrate: str, sets: Sequence[str], out: Path, repeat: int, quiet: bool
) -> tuple[Path, int]:
    """Run all load points, write tables and figure, tell the reaches; the folder and the exit status."""
    from analysis import validation
    from analysis.style import save

    experiment = load(path, sets)
    with LiveView(f"{experiment.name}: validation", quiet) as view:
        folder, state = validate(experiment, named(substrate), out, repeat, view, _tell)
    found = validation.load(folder)
    (folder / "validation.md").write_text(validation.markdown(found), encoding="utf-8")
    (folder / "figures").mkdir(exist_ok=True)
    figure, _ = save(validation.figure(found), folder / "figures" / "validation")
    for line in [*(f"Note: {note}." for note in found["notes"]), *validation.reaches(found), *_left_out(found)]:
        err.print(line, markup=False, soft_wrap=True)
    err.print(f"figure   {figure}\ntables   {folder / 'validation.md'}", markup=False, soft_wrap=True)
    complete = state == "done" and all(point["role"] != "left out" for point in found["points"])
    return folder, 0 if complete else 1


def _left_out(found: Any) -> list[str]:
    return [f"left out: {point['value']}: {point['left_out']}" for point in found["points"] if point["left_out"]]


def _tell(folder: Path) -> None:
    tables.ending(store.read_record(folder))
