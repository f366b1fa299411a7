"""The record of a run: complete and readable at any moment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from testbed.collect.schema import SUMMARY
from testbed.errors import RunNotFound
from testbed.store import Run, RunRecord, find, read_record, records


def begun(out: Path, run_id: str = "a-1") -> Run:
    return Run.begin(out, RunRecord(run_id, "a", "system", "netns", 1))


def test_a_run_is_readable_from_its_first_moment(tmp_path: Path) -> None:
    run = begun(tmp_path)
    assert read_record(run.folder).state == "preparing"


def test_two_runs_of_one_name_get_two_folders(tmp_path: Path) -> None:
    assert [begun(tmp_path).folder.name for _ in range(3)] == ["a-1", "a-1-2", "a-1-3"]
    assert read_record(tmp_path / "a-1-3").run_id == "a-1-3"


def test_how_a_run_ended_is_told(tmp_path: Path) -> None:
    run = begun(tmp_path)
    run.finish("failed", "it rained")
    told = read_record(run.folder)
    assert (told.state, told.error, bool(told.ended)) == ("failed", "it rained", True)
    assert [path.name for path in run.folder.iterdir()] == ["run.json"]  # nothing half-written is left


def test_a_table_has_its_header_and_leaves_unknown_cells_empty(tmp_path: Path) -> None:
    run = begun(tmp_path)
    run.rows(SUMMARY, [{"function": "f", "ok": 3}])
    header, row = (run.folder / "summary.csv").read_text().splitlines()
    assert header == ",".join(SUMMARY.header)
    assert row == "f,,3" + "," * (len(SUMMARY.header) - 3)


def test_a_column_that_nobody_named_is_refused_and_leaves_the_old_table(tmp_path: Path) -> None:
    run = begun(tmp_path)
    run.rows(SUMMARY, [{"function": "f"}])
    before = (run.folder / "summary.csv").read_text()
    with pytest.raises(ValueError, match="colour"):
        run.rows(SUMMARY, [{"colour": "red"}])
    assert (run.folder / "summary.csv").read_text() == before


def test_runs_are_found_by_name_by_beginning_by_folder_and_as_the_last(tmp_path: Path) -> None:
    first, second = begun(tmp_path, "apple-1"), begun(tmp_path / "sweep", "berry-1")
    assert find("apple-1", tmp_path) == find("app", tmp_path) == first.folder
    assert find(str(second.folder), tmp_path) == find("last", tmp_path) == second.folder
    assert [record.run_id for record in records(tmp_path)] == ["apple-1", "berry-1"]


@pytest.mark.parametrize(("name", "said"), [("cherry", "No run 'cherry'"), ("a", "fits 2 runs")])
def test_a_name_that_fits_none_or_many_is_told(tmp_path: Path, name: str, said: str) -> None:
    begun(tmp_path, "apple-1"), begun(tmp_path, "apple-2")
    with pytest.raises(RunNotFound, match=said):
        find(name, tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", json.dumps({"run_id": 1, "unknown": 2})])
def test_a_folder_that_is_no_run_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunNotFound, match="testbed runs"):
        read_record(tmp_path)
