"""The tables that the system's agents wrote become datasets of the run."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.collect.system import joined
from testbed.tables import Column, Table

TABLE = Table("things", "Things.", (
    Column("t", "number", "s", "When."), Column("t_next", "number", "s", "When again."),
    Column("name", "text", "", "Which."), Column("total_s", "number", "s", "How long."),
))  # fmt: skip
HEADER = "t,t_next,name,total_s\n"


def part(folder: Path, rows: str) -> Path:
    folder.mkdir()
    path = folder / "things.csv"
    path.write_text(HEADER + rows)
    return path


def test_moments_count_from_the_start_of_the_workload_and_durations_stay(tmp_path: Path) -> None:
    one, two = part(tmp_path / "a", '101.5,,"b, c",3.5\n'), part(tmp_path / "b", "99,104,d,\n")
    assert list(joined(TABLE, [one, two, tmp_path / "missing.csv"], 100.0)) == [
        {"t": 1.5, "t_next": None, "name": "b, c", "total_s": "3.5"},
        {"t": -1.0, "t_next": 4.0, "name": "d", "total_s": ""},
    ]


def test_moments_are_empty_where_no_workload_began(tmp_path: Path) -> None:
    (row,) = joined(TABLE, [part(tmp_path / "a", "101.5,102,b,3\n")], None)
    assert row == {"t": None, "t_next": None, "name": "b", "total_s": "3"}


def test_a_half_written_last_line_is_left_out_and_a_broken_one_is_told(tmp_path: Path) -> None:
    path = part(tmp_path / "a", "soon,,b,3\n1,2\n5,6,c,1\n101.5,102,b")
    unreadable, short, row = joined(TABLE, [path], 0.0)
    assert isinstance(unreadable, str)
    assert "could not convert string to float: 'soon'" in unreadable
    assert short == f"{path}:3: 2 cells under a header of 4"
    assert row == {"t": 5.0, "t_next": 6.0, "name": "c", "total_s": "1"}


@pytest.mark.parametrize(("name", "unit", "moment"), [
    ("t", "s", True), ("t_sent", "s", True), ("total_s", "s", False), ("exec_s", "s", False), ("t", "", False),
])
def test_a_moment_is_known_by_its_name_and_unit(name: str, unit: str, moment: bool) -> None:
    assert Column(name, "number", unit, "").is_moment is moment
