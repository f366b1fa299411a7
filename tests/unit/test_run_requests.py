"""Requests to end that come when a run is over and its record is being completed."""

from __future__ import annotations

import csv
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed import store
from testbed.conduct import Quiet
from testbed.experiment.load import load
from testbed.run import perform
from testbed.substrate.find import named

EXPERIMENT = """\
name: short
topology: topologies/two-hosts.yaml
system: serverless_on_edge
place: {control: h1, gateway: h1, worker: h2, client: h1}
functions: {square: {service: 2ms}}
workload:
  duration: 1s
  timeout: 1s
  traffic: [{arrivals: {model: deterministic, rate: 20/s}}]
"""


class Impatient(Quiet):
    """Somebody who asks for the end when the results are being collected."""

    def phase(self, name: str) -> None:
        if name == "collecting and judging":
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def handlers() -> Iterator[None]:
    """What signals do afterwards is what they did before."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
def test_a_request_to_end_while_the_record_is_completed_costs_no_row(tmp_path: Path) -> None:
    (tmp_path / "short.yaml").write_text(EXPERIMENT)
    folder = perform(load(tmp_path / "short.yaml", []), named("twin"), tmp_path / "runs", Impatient())
    assert store.read_record(folder).state == "done"
    with (folder / "invocations.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 20
    assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
