"""The record of events."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from testbed.collect.events import EventRecorder
from testbed.collect.schema import NODES
from testbed.collect.streamed import StreamedTable


def test_an_event_is_on_disk_with_both_of_its_times_as_soon_as_it_is_recorded(tmp_path: Path) -> None:
    with EventRecorder(tmp_path, lambda: 10.25) as events:
        events.record("cut", "a-b", "link down", planned=10.0)
        events.record("agent_exit", "w1")
        with (tmp_path / "events.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
    assert [(row["t_planned"], row["t_actual"], row["kind"]) for row in rows] == [
        ("10", "10.25", "cut"), ("", "10.25", "agent_exit")]


def test_refuses_a_row_with_a_column_that_the_table_does_not_have(tmp_path: Path) -> None:
    with StreamedTable(tmp_path, NODES) as table, pytest.raises(ValueError, match="mood"):
        table.append([{"t": 1.0, "mood": "good"}])


def test_the_header_stands_before_the_first_row(tmp_path: Path) -> None:
    StreamedTable(tmp_path, NODES).close()
    assert (tmp_path / "nodes.csv").read_text() == ",".join(NODES.header) + "\n"
