"""A schedule from a CSV trace: replayed to the letter, and each mistake told with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from plans import CLIENTS, FUNCTIONS, workload

from testbed.errors import InputError
from testbed.roles.api import Invocation
from testbed.workload.schedule import problems, schedule


def trace(tmp_path: Path, text: str, **keys: Any) -> dict[str, list[Invocation]]:
    (tmp_path / "trace.csv").write_text(text, encoding="utf-8")
    spec = workload({"arrivals": {"model": "trace", "file": "trace.csv"} | keys})
    return {client: list(each.invocations) for client, each in schedule(spec, CLIENTS, FUNCTIONS, 1, tmp_path).items()}


def test_a_trace_is_replayed_to_the_letter(tmp_path: Path) -> None:
    rows = "2.5,g,c1,30,s9\n0.25,f,c2,7,\n1,f,c1,0,s1\n"
    found = trace(tmp_path, "t_offset_s,function,client,payload_bytes,session\n" + rows)
    assert [(i.t_scheduled, i.function, len(i.payload), i.session) for i in found["c1"]] == [
        (1.0, "f", 0, "s1"), (2.5, "g", 30, "s9")]
    assert [(i.t_scheduled, i.function, len(i.payload)) for i in found["c2"]] == [(0.25, "f", 7)]


def test_a_trace_without_clients_is_dealt_out_in_turn(tmp_path: Path) -> None:
    found = trace(tmp_path, "t_offset_s\n" + "\n".join(map(str, range(6))), speed=2)
    assert [i.t_scheduled for i in found["c1"]] == [0.0, 1.0, 2.0]
    assert [i.t_scheduled for i in found["c2"]] == [0.5, 1.5, 2.5]


def test_every_mistake_of_a_trace_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("t_offset_s,function,client\n-1,f,c1\n1,nope,c1\nx,f,c9\n1,f\n2,f,c2\n")
    spec = workload({"arrivals": {"model": "trace", "file": "t.csv"}})
    ((place, error),) = problems(spec, CLIENTS, FUNCTIONS, tmp_path)
    assert place == ("traffic", 0, "arrivals", "file")
    name = tmp_path / "t.csv"
    assert str(error).splitlines() == [
        f"{name}:2 t_offset_s: found -1; expected a number from 0 to 1e9.",
        f"{name}:3 function: found nope; expected one of f, g.",
        f"{name}:4 client: found c9; expected one of c1, c2.",
        f"{name}:4 t_offset_s: found x; expected a number from 0 to 1e9.",
        f"{name}:5: found 2 cells; expected 3, as the header has.",
    ]


@pytest.mark.parametrize("text", ["", "a,b\n", "function\nf\n", "t_offset_s,t_offset_s\n", "t_offset_s,size\n"])
def test_refuses_a_trace_with_another_header(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"trace\.csv:1: found the header .*; expected t_offset_s and any of"):
        trace(tmp_path, text)


def test_a_file_that_is_not_there_is_told_with_its_place(tmp_path: Path) -> None:
    spec = workload({"arrivals": {"model": "trace", "file": "no.csv"}, "payload": {"file": "no.txt"}})
    found = dict(problems(spec, CLIENTS, FUNCTIONS, tmp_path))
    assert set(found) == {("traffic", 0, "payload", "file"), ("traffic", 0, "arrivals", "file")}
    assert all("No such file" in str(error) for error in found.values())
