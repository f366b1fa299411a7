"""Invocations in the format of 2021: arrivals from ends, recorded durations, and each mistake told with its line."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from azure import CLIENTS, replayed, services

from testbed.errors import InputError

HEADER = "app,func,end_timestamp,duration\n"


def trace(tmp_path: Path, text: str, **keys: Any) -> list[tuple[float, str, float | None]]:
    (tmp_path / "t.txt").write_text(HEADER + text, encoding="utf-8")
    found = replayed(tmp_path, model="azure2021", file="t.txt", **keys)
    return list(zip((each.t_scheduled for each in found), (each.function for each in found), services(found),
                    strict=True))  # fmt: skip


ROWS = "a,f,2.5,0.1\nb,f,3.0,2.9\na,f,4.0,0\na,f,4.0,0\na,g,5,0.25\n"


def test_an_invocation_arrives_when_it_ended_less_its_duration(tmp_path: Path) -> None:
    assert trace(tmp_path, ROWS) == [
        (0.1, "f-b-f", 2.9), (2.4, "f-a-f", 0.1), (4.0, "f-a-f", 0.0), (4.0, "f-a-f", 0.0), (4.75, "f-a-g", 0.25),
    ]  # fmt: skip


def test_a_window_counts_arrivals_and_speed_leaves_durations_alone(tmp_path: Path) -> None:
    found = trace(tmp_path, "a,f,0.5,1\n" + ROWS, window=["1s", "4s"], speed=2)
    assert found == [(0.7, "f-a-f", 0.1)]
    assert trace(tmp_path, "a,f,0.5,1\n" + ROWS)[0][0] == 0.1, "what began before the trace is left out"
    assert [t for t, _, _ in trace(tmp_path, ROWS, window=["4s", "1h"])] == [0, 0, 0.75]


def test_the_schedule_does_not_depend_on_the_order_of_rows_nor_on_the_seed(tmp_path: Path) -> None:
    rows = [f"a{n % 3},f{n % 5},{10 + n // 4},{(n * 7 % 9) / 8}\n" for n in range(200)]
    whole = trace(tmp_path, "".join(rows))
    assert len(whole) == 200
    assert trace(tmp_path, "".join(reversed(rows)), seed=2) == whole


def test_clients_take_turns(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text(HEADER + "".join(f"a,f,{n},0\n" for n in range(6)))
    found = replayed(tmp_path, model="azure2021", file="t.txt", clients=CLIENTS)
    assert [(each.t_scheduled, each.client) for each in found] == [(float(n), CLIENTS[n % 2]) for n in range(6)]


def test_thinning_keeps_whole_apps_and_a_number_of_functions_all_their_calls(tmp_path: Path) -> None:
    rows = "".join(f"app{n % 8},fun{n % 16:02},{n},0\n" for n in range(160))
    whole = Counter(name for _, name, _ in trace(tmp_path, rows))
    kept = Counter(name for _, name, _ in trace(tmp_path, rows, keep="40%"))
    assert kept.items() < whole.items()
    assert set(Counter(name.split("-")[1] for name in kept).values()) == {2}
    assert len({name for _, name, _ in trace(tmp_path, rows, functions=5)}) == 5


def test_names_are_as_long_as_they_must_be(tmp_path: Path) -> None:
    rows = "application,function1,1,0\napplication,function2,1,0\n"
    assert {name for _, name, _ in trace(tmp_path, rows)} == {"f-application-function1", "f-application-function2"}
    rows = f"{'a' * 64},{'f' * 63}1,1,0\n{'a' * 64},{'f' * 63}2,1,0\n"
    assert {name[-1] for _, name, _ in trace(tmp_path, rows)} == {"1", "2"}


def test_every_mistake_is_told_with_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(InputError) as told:
        trace(tmp_path, "a,f,1,1\na,f,one,1\na,,2,1\na,f,2,-1\na,f,nan,1\na,f\n")
    assert str(told.value).replace(f"{tmp_path}/", "").splitlines() == [
        "t.txt:3 end_timestamp: found one; expected a number from 0 to 1e12.",
        "t.txt:4 func: found nothing; expected an identifier.",
        "t.txt:5 duration: found -1; expected a number from 0 to 1e12.",
        "t.txt:6 end_timestamp: found nan; expected a number from 0 to 1e12.",
        "t.txt:7: found 2 cells; expected 4, as the header has.",
    ]


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    assert len(trace(tmp_path, ROWS)) == 5
    assert len(trace(tmp_path, ROWS + "a,f,9,1\n")) == 6
