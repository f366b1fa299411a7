"""Completing the folder of a run whose driver was killed, so that it says how the run ended and has all its rows."""

from __future__ import annotations

import shutil
import time
from contextlib import ExitStack
from pathlib import Path

from testbed import store
from testbed.calibrate import experiment_of
from testbed.conclude import conclude
from testbed.errors import UsageError
from testbed.store import Run

GONE_WITHIN_S = 5.0  # what a killed driver has started dies a moment after it


def recover(folder: Path) -> list[str]:
    """Write what the run in ``folder`` would have written at its end; gives what has changed since it was run.

    Its state becomes ``failed``, its verdict is invalid, and each scheduled invocation has its row: what clients had
    reported by then, the rest as ``unsent`` or ``lost``. Raises UsageError for a run that has ended by itself or still
    goes on, and where files of the experiment are gone.
    """
    run = Run(folder, store.read_record(folder))
    if run.record.state not in ("preparing", "running"):
        raise UsageError(f"{run.record.run_id} is {run.record.state} and complete: there is nothing to recover.")
    with ExitStack() as undo:
        _hold(run, undo)
        experiment, changed = experiment_of(folder)
        _remove_halves(folder)
        conclude(run, experiment, None, complete=False)
        run.finish("failed", f"the command was killed while the run was {run.record.state}; completed afterwards")
    return changed


def _hold(run: Run, undo: ExitStack) -> None:
    """Wait until nobody is at work on the run; UsageError where that lasts."""
    deadline = time.monotonic() + GONE_WITHIN_S
    while True:
        try:
            undo.enter_context(run.held())
            return
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                told = f"{run.record.run_id} is still {run.record.state}: its command is at work."
                raise UsageError(f"{told} Ctrl-C there, or `testbed down {run.record.run_id}`, ends it.") from error
            time.sleep(0.05)


def _remove_halves(folder: Path) -> None:
    """Take away what was being written, or was there for the time of the run only."""
    for half in (*folder.glob("*.part"), *folder.glob(".run.json.*")):
        half.unlink()
    for schedules in folder.glob("schedules-*"):
        shutil.rmtree(schedules)
