"""Every experiment that comes with the program runs in the twin, in a short form."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.cli.files import is_experiment
from testbed.conduct import Quiet
from testbed.experiment.load import load
from testbed.places import home
from testbed.run import perform
from testbed.store import read_record
from testbed.substrate.find import named

EXPERIMENTS = sorted(path for path in (home() / "experiments").rglob("*.yaml") if is_experiment(path))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_it_runs_in_the_twin(path: Path, tmp_path: Path) -> None:
    short = ["workload.warmup=1s", "workload.duration=2s", "timeline=[]"]
    if "rate: 5000/s" in path.read_text(encoding="utf-8"):
        short.append("workload.traffic[0].arrivals.rate=300/s")
    folder = perform(load(path, short), named("twin"), tmp_path, Quiet())
    record = read_record(folder)
    assert (record.state, record.error) == ("done", "")
    assert record.verdict is not None
    assert record.verdict["level"] != "invalid", record.verdict["reasons"]
    assert record.summary["scheduled"] > 0
    assert record.summary["ok"] > 0


def test_there_are_experiments() -> None:
    assert len(EXPERIMENTS) > 8
