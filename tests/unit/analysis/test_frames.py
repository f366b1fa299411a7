"""Run folders as DataFrames: whatever state a run left them in."""

from __future__ import annotations

from pathlib import Path

import pytest
import synthetic_run

from analysis import load
from testbed.collect.schema import TABLES
from testbed.errors import RunNotFound


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic_run.make(tmp_path_factory.mktemp("runs"))


def test_every_column_has_the_kind_that_the_schema_gives_it(folder: Path) -> None:
    frames = load(folder)
    kinds = {"text": "str", "integer": "Int64", "number": "float64", "truth": "boolean"}
    for table in TABLES:
        found = {name: str(dtype) for name, dtype in frames.table(table.name).dtypes.items()}
        assert found == {column.name: kinds[column.kind] for column in table.columns}
    assert frames.problems == []


def test_every_row_of_the_file_is_a_row_of_the_frame(folder: Path) -> None:
    lines = (folder / "invocations.csv").read_text().splitlines()
    assert len(load(folder).invocations) == len(lines) - 1


def test_statistics_use_the_measured_phase_alone(folder: Path) -> None:
    frames = load(folder)
    assert set(frames.invocations["phase"]) == {"warmup", "measure"}
    assert set(frames.measured["phase"]) == {"measure"}
    assert set(frames.good["status"]) == {"ok"}


def test_a_missing_table_is_empty_and_has_all_its_columns(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_bytes((folder / "run.json").read_bytes())
    frames = load(tmp_path)
    for table in TABLES:
        assert list(frames.table(table.name).columns) == list(table.header)
        assert frames.table(table.name).empty
    assert frames.good.empty


def test_a_half_written_last_row_is_left_out(tmp_path: Path) -> None:
    folder = synthetic_run.make(tmp_path, rows=50)
    whole = (folder / "invocations.csv").read_text()
    (folder / "invocations.csv").write_text(whole + "edge-demo-1,valid,netns,demo,7,measure,51,s1,c")
    assert len(load(folder).invocations) == 50


def test_a_cell_that_is_no_number_counts_as_empty_and_is_told(tmp_path: Path) -> None:
    folder = synthetic_run.make(tmp_path, rows=20)
    (folder / "nodes.csv").write_text("t,node,role,cpu_s,memory_bytes,processes\n1.0,w1,worker,much,12,1.5\n")
    frames = load(folder)
    nodes = frames.table("nodes")
    assert nodes["cpu_s"].isna().all() and nodes["processes"].isna().all()
    assert nodes["memory_bytes"].tolist() == [12]
    assert any("nodes.csv" in problem and "cpu_s" in problem and "'much'" in problem for problem in frames.problems)
    assert any("processes" in problem for problem in frames.problems)


def test_a_line_with_too_many_cells_is_left_out_and_told(tmp_path: Path) -> None:
    folder = synthetic_run.make(tmp_path, rows=20)
    (folder / "events.csv").write_text("t_planned,t_actual,kind,subject,detail\n1,1,cut,a-b,x\n2,2,cut,a-b,x,y,z\n")
    frames = load(folder)
    assert frames.table("events")["t_actual"].tolist() == [1.0]
    assert frames.problems == ["events.csv: 1 lines have too many cells and were left out."]


def test_tables_of_the_system_are_read_too(tmp_path: Path) -> None:
    folder = synthetic_run.make(tmp_path, rows=20)
    (folder / "weights.csv").write_text("t,router,weight\n0.5,r1,1.25\n1.0,r1,1.5\n")
    frames = load(folder)
    assert frames.table("weights")["weight"].sum() == 2.75
    assert frames.table("weights")["router"].tolist() == ["r1", "r1"]
    assert "weights" in frames.datasets


def test_a_folder_without_a_run_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(RunNotFound, match="is not a run's folder"):
        load(tmp_path)


def test_the_verdict_comes_with_its_reasons(tmp_path: Path) -> None:
    verdict = load(synthetic_run.make(tmp_path, verdict=synthetic_run.INVALID, rows=5)).verdict
    assert verdict is not None and verdict.level == "invalid"
    assert [reason.check for reason in verdict.reasons] == ["issued", "steal"]
