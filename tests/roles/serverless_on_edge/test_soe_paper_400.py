"""The short form of experiment 400 in the twin: what its figure claims of the three execution models."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.conduct import Quiet
from testbed.experiment.load import load
from testbed.places import home
from testbed.run import perform
from testbed.store import read_record
from testbed.substrate.find import named

MODELS = ("pure-faas", "state-prop", "state-local")


def means(tmp_path: Path, file: str, rate: str, duration: str) -> dict[str, float]:
    """The mean delay of chains in each execution model, of the same chains in the same order."""
    found = {}
    for model in MODELS:
        sets = [f"workload.duration={duration}", f"topology.generate[0].link.rate={rate}", "sweep={}",
                f"settings.serverless_on_edge.client.execution-model={model}"]  # fmt: skip
        experiment = load(home() / "experiments" / "papers" / "pmc2022" / file, sets)
        record = read_record(perform(experiment, named("twin"), tmp_path, Quiet()))
        assert record.summary["ok"] == record.summary["scheduled"] > 2, record.summary
        found[model] = record.summary["response_time_mean_s"]
    return found


@pytest.mark.parametrize(("file", "duration"), [("400-3-6-10kB.yaml", "40s"), ("400-6-3-100kB.yaml", "100s")])
def test_on_slow_links_states_that_stay_are_quickest(tmp_path: Path, file: str, duration: str) -> None:
    delay = means(tmp_path, file, "1Mbit", duration)
    assert delay["state-local"] < min(delay["state-prop"], delay["pure-faas"])


def test_on_quick_links_that_lead_is_lost(tmp_path: Path) -> None:
    delay = means(tmp_path, "400-3-6-10kB.yaml", "100Mbit", "8s")
    assert delay["state-local"] > 0.9 * delay["state-prop"]
