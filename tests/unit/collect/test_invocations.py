"""Rows out = invocations in."""

from __future__ import annotations

import csv
import io
import json
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.collect.invocations import OPEN, Planned, collect, reached_by
from testbed.collect.schema import INVOCATIONS
from testbed.collect.summary import summarise
from testbed.errors import TestbedError
from testbed.store import Run, RunRecord
from testbed.tables import cell

SCHEDULE = ("invocation_id", "phase", "session", "client", "function", "t_scheduled", "request_bytes", "user",
            "payload")
OUTCOME = ("invocation_id", "t_sent", "t_done", "in_flight", "status", "error", "exec_s", "node", "cold")


def as_csv(header: tuple[str, ...], rows: list[dict[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, header, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def planned(number: int, t: float | None = None, client: str = "c1") -> dict[str, Any]:
    return {"invocation_id": number, "phase": "measure", "session": "s", "client": client, "function": "f",
            "t_scheduled": number / 10 if t is None else t, "request_bytes": 5, "user": "", "payload": 0}


def ended(number: int, status: str = "ok", error: str = "", **more: Any) -> dict[str, Any]:
    t = number / 10
    return {"invocation_id": number, "t_sent": t + 0.001, "t_done": t + 0.05, "in_flight": 1, "status": status,
            "error": error, "exec_s": 0.02, "node": "w", "cold": 0} | more


def client(folder: Path, schedule: list[dict[str, Any]], outcomes: list[dict[str, Any]] | None,
           cut: int | None = None, sent: int | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "schedule.csv").write_text(as_csv(SCHEDULE, schedule))
    if outcomes is not None:
        (folder / "outcomes.csv").write_bytes(as_csv(OUTCOME, outcomes).encode()[:cut])
    if sent is not None:
        (folder / "progress.json").write_text(json.dumps({"sent": sent, "dropped": 0}))
    return folder


def statuses(folder: Path) -> list[str]:
    return [row["status"] for row in collect([folder]).rows]


def test_each_scheduled_invocation_has_one_row_with_its_derived_columns(tmp_path: Path) -> None:
    row = collect([client(tmp_path, [planned(3)], [ended(3)])]).rows[0]
    assert row["send_delay_s"] == pytest.approx(0.001)
    assert row["response_time_s"] == pytest.approx(0.05)
    assert row["service_latency_s"] == pytest.approx(0.049)
    assert row["network_s"] == pytest.approx(0.029)
    assert (row["cold"], row["node"], row["client"], row["request_bytes"]) == (False, "w", "c1", 5)


def test_all_clients_are_merged_in_the_order_of_the_schedule(tmp_path: Path) -> None:
    one = client(tmp_path / "a", [planned(0), planned(2)], [ended(2), ended(0)])
    two = client(tmp_path / "b", [planned(1, client="c2")], [ended(1)])
    assert [row["invocation_id"] for row in collect([two, one]).rows] == [0, 1, 2]


def test_what_was_fired_before_a_known_firing_and_has_no_outcome_is_lost_and_the_rest_unsent(tmp_path: Path) -> None:
    schedule = [planned(number) for number in range(4)]
    assert statuses(client(tmp_path, schedule, [ended(1)])) == ["lost", "ok", "unsent", "unsent"]


def test_the_clients_own_count_of_what_it_fired_is_evidence_too(tmp_path: Path) -> None:
    schedule = [planned(number) for number in range(3)]
    assert statuses(client(tmp_path, schedule, [], sent=2)) == ["lost", "lost", "unsent"]


def test_a_users_later_invocations_wait_for_its_own_earlier_ones_only(tmp_path: Path) -> None:
    schedule = [planned(0) | {"user": "u1"}, planned(1) | {"user": "u2"}, planned(2) | {"user": "u1"}, planned(3)]
    assert statuses(client(tmp_path, schedule, [ended(2), ended(3)], sent=3)) == ["lost", "unsent", "ok", "ok"]
    assert collect([tmp_path]).waiting.tolist() == [True, True, True, False]


def test_what_a_thinking_user_added_to_the_schedule_was_being_sent(tmp_path: Path) -> None:
    schedule = [planned(0) | {"user": "u1", "payload": ""}, planned(1) | {"user": "u2", "payload": ""}]
    assert statuses(client(tmp_path, schedule, [ended(1)])) == ["lost", "ok"]


def test_a_client_that_never_wrote_anything_leaves_its_whole_schedule_unsent(tmp_path: Path) -> None:
    assert statuses(client(tmp_path, [planned(0), planned(1)], None)) == ["unsent", "unsent"]


def test_an_invocation_dropped_at_the_in_flight_limit_shows_that_the_ones_before_it_were_fired(tmp_path: Path) -> None:
    dropped = ended(1, "dropped", t_sent="", t_done="")
    assert statuses(client(tmp_path, [planned(0), planned(1)], [dropped])) == ["lost", "dropped"]


@pytest.mark.parametrize(("bad", "why"), [
    (ended(0), "a second outcome of invocation 0"),
    (ended(9), "which was not scheduled here"),
    (ended(1, "splendid"), "unknown status 'splendid'"),
    (ended(1, t_sent=""), "without a time of sending"),
    (ended(1, t_sent="noon"), "noon"),
])
def test_refuses_an_outcome_that_cannot_be_true_and_says_why(tmp_path: Path, bad: dict[str, Any], why: str) -> None:
    found = collect([client(tmp_path, [planned(0), planned(1)], [ended(0), bad])])
    assert [row["status"] for row in found.rows] == ["ok", "unsent"]
    assert len(found.refused) == 1
    assert why in found.refused[0]


def test_refuses_two_clients_that_were_given_the_same_invocation(tmp_path: Path) -> None:
    folders = [client(tmp_path / name, [planned(0, client=name)], []) for name in ("a", "b")]
    with pytest.raises(TestbedError, match="Invocation 0 is scheduled for both a and b"):
        collect(folders)


def test_refuses_a_schedule_with_a_broken_number(tmp_path: Path) -> None:
    with pytest.raises(TestbedError, match="schedule of a client is not readable"):
        collect([client(tmp_path, [planned(0) | {"t_scheduled": "soon"}], [])])


def test_a_line_damaged_in_the_middle_is_refused_and_the_rest_is_kept(tmp_path: Path) -> None:
    folder = client(tmp_path, [planned(number) for number in range(3)], [ended(0), ended(1), ended(2)])
    lines = (folder / "outcomes.csv").read_bytes().split(b"\n")
    lines[2] = lines[2][:9] + b"\x00\xff"
    (folder / "outcomes.csv").write_bytes(b"\n".join(lines))
    found = collect([folder])
    assert [row["status"] for row in found.rows] == ["ok", "lost", "ok"]
    assert len(found.refused) == 1


def test_the_rows_fit_the_schema_and_carry_the_runs_columns(tmp_path: Path) -> None:
    run = Run.begin(tmp_path, RunRecord("r1", "e", "s", "netns", 7))
    found = collect([client(tmp_path / "c", [planned(0), planned(1)], [ended(0)])])
    run.cells(INVOCATIONS, found.stamped({"run_id": "r1", "verdict": "valid", "seed": 7}))
    with (run.folder / "invocations.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["run_id"], row["seed"], row["status"]) for row in rows] == [("r1", "7", "ok"), ("r1", "7", "unsent")]


def test_refuses_a_run_column_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="weather"):
        collect([]).stamped({"weather": "fair"})


# As tables are written: cell() takes carriage returns out, which the csv module cannot carry.
errors = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12).map(lambda text: str(cell(text)))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_crash_at_any_byte_leaves_exactly_the_scheduled_rows(data: st.DataObject) -> None:
    numbers = data.draw(st.lists(st.integers(0, 60), unique=True, max_size=20))
    schedule = [planned(number, data.draw(st.floats(0, 10))) for number in numbers]
    some = [number for number in numbers if data.draw(st.booleans())]
    outcomes = [ended(number, data.draw(st.sampled_from(["ok", "error", "timeout"])), data.draw(errors))
                for number in data.draw(st.permutations(some))]
    whole = as_csv(OUTCOME, outcomes).encode()
    cut = data.draw(st.integers(0, len(whole)))
    complete = {row["invocation_id"]: row for row in _complete(outcomes, cut)}
    with tempfile.TemporaryDirectory() as folder:
        found = collect([client(Path(folder), schedule, outcomes, cut, data.draw(st.none() | st.integers(0, 25)))])
    rows = {row["invocation_id"]: row for row in found.rows}
    assert [row["invocation_id"] for row in found.rows] == sorted(numbers)
    assert found.refused == []
    for number, row in rows.items():
        if number in complete:
            assert (row["status"], row["error"]) == (complete[number]["status"], complete[number]["error"])
        else:
            assert row["status"] in ("lost", "unsent")


def _complete(outcomes: list[dict[str, Any]], cut: int) -> list[dict[str, Any]]:
    """The outcomes whose line stood in the file, line end included, when it was cut."""
    return [row for number, row in enumerate(outcomes) if len(as_csv(OUTCOME, outcomes[: number + 1]).encode()) <= cut]


@given(st.sets(st.integers(0, 30)), st.integers(0, 40))
def test_nothing_unsent_comes_before_anything_that_was_fired(done: set[int], sent: int) -> None:
    ids = numpy.arange(31)
    schedule = Planned(ids, ids / 10, numpy.full(31, OPEN), numpy.zeros(31, bool))
    fired = reached_by(schedule, numpy.isin(ids, list(done)), sent).tolist()
    assert fired == sorted(fired, reverse=True)
    assert sum(fired) == max([min(sent, 31), *(number + 1 for number in done)])


def test_many_invocations_need_little_memory_each(tmp_path: Path) -> None:
    def traced(count: int) -> int:
        """The peak of memory, beyond what was taken before, while so many invocations are merged and written."""
        folder = tmp_path / str(count)
        made = client(folder, [planned(number) for number in range(count)],
                      [ended(number, t_sent=number / 10 + 0.0001, node=f"w{number % 9}") for number in range(count)])
        run = Run.begin(folder, RunRecord("r1", "e", "s", "netns", 7))
        tracemalloc.start()
        try:
            found = collect([made])
            run.cells(INVOCATIONS, found.stamped({"run_id": "r1"}))
            assert len(list(summarise(found))) == 2
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    traced(10)
    few, many = traced(5_000), traced(50_000)
    assert (many - few) / 45_000 < 300  # bytes; a dictionary for each row needs more than 1,000
