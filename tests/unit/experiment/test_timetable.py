"""Timelines are spelt out when a file is read: names, patterns, repetitions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from testbed.experiment.load import load, planned_shapes
from testbed.timeline.actions import Attach, Hold, KillAgents, Planned, ResumeHost, SetCalendar, StartAgents, Timetable
from testbed.timeline.force import InForce

EXPERIMENT: dict[str, Any] = {
    "name": "small",
    "topology": {
        "nodes": {"c": {}, "e1": {"kind": "router"}, "e2": {"kind": "router"}, "w1": {"tags": ["leaf"]},
                  "w2": {"tags": ["leaf"]}},
        "links": [{"name": name, "ends": ends, "delay": "1ms"} for name, ends in {
            "near1": ["c", "e1"], "near2": ["c", "e2"], "core": ["e1", "e2"], "edge1": ["e1", "w1"],
            "edge2": ["e2", "w2"]}.items()],
    },
    "system": "serverless_on_edge",
    "place": {"control": "e1", "gateway": "e1", "worker": ["w1", "w2"], "client": "c"},
    "functions": {"f": {"service": "1ms"}},
    "workload": {"duration": "10s", "traffic": [{"arrivals": {"model": "poisson", "rate": "1/s"}}]},
}  # fmt: skip


def timetable(folder: Path, *timeline: dict[str, Any]) -> Timetable:
    path = folder / "small.yaml"
    path.write_text(json.dumps({**EXPERIMENT, "timeline": timeline}))
    return load(path).timetable


def told(events: tuple[Planned, ...]) -> list[tuple[float, str, str]]:
    return [(event.at, event.kind, event.subject) for event in events]


@pytest.mark.parametrize(("bounds", "times"), [
    ({"times": 3}, [1.0, 3.0, 5.0]),
    ({"until": "7s"}, [1.0, 3.0, 5.0]),
    ({}, [1.0, 3.0, 5.0, 7.0, 9.0]),
    ({"times": 2, "until": "60s"}, [1.0, 3.0]),
])  # fmt: skip
def test_repetitions_are_spelt_out(tmp_path: Path, bounds: dict[str, Any], times: list[float]) -> None:
    event = {"at": "1s", "do": "shape", "link": "core", "change": {"delay": "2ms"}, "every": "2s"}
    assert [each.at for each in timetable(tmp_path, event | bounds).events] == times


def test_patterns_and_tags_mean_one_event_for_each(tmp_path: Path) -> None:
    found = timetable(tmp_path, {"at": "1s", "do": "cut", "link": ["edge*", "core"], "for": "1s"},
                      {"at": "1s", "do": "kill", "node": "tag:leaf"}).events  # fmt: skip
    assert told(found) == [
        (1.0, "cut", "edge1"), (1.0, "cut", "edge2"), (1.0, "cut", "core"),
        (1.0, "kill", "computer on w1"), (1.0, "kill", "computer on w2"),
        (2.0, "mend", "edge1"), (2.0, "mend", "edge2"), (2.0, "mend", "core"),
    ]  # fmt: skip


def test_flapping_is_down_and_up_in_turn(tmp_path: Path) -> None:
    flap = {"at": "1s", "do": "flap", "link": "core", "down": "100ms", "up": "200ms", "times": 3}
    assert told(timetable(tmp_path, flap).events) == [
        (1.0, "cut", "core"), (1.1, "mend", "core"), (1.3, "cut", "core"), (1.4, "mend", "core"),
        (1.6, "cut", "core"), (1.7, "mend", "core"),
    ]  # fmt: skip


def test_an_end_comes_before_the_next_beginning_at_the_same_time(tmp_path: Path) -> None:
    cut = {"at": "1s", "do": "cut", "link": "core", "for": "1s", "every": "1s", "times": 2}
    assert [each.kind for each in timetable(tmp_path, cut).events] == ["cut", "mend", "cut", "mend"]


def test_a_partition_cuts_the_links_between_its_groups_alone(tmp_path: Path) -> None:
    both = {"at": "1s", "do": "partition", "groups": [["e1", "w*", "c"], ["e2"]], "for": "1s"}
    one = {"at": "3s", "do": "partition", "groups": [["c", "e1", "w1"]]}
    cut = [event.actions[0] for event in timetable(tmp_path, both, one).events if event.kind == "partition"]
    assert cut == [Hold(("near2", "core", "edge2"), "partition"), Hold(("near2", "core"), "partition")]


def test_a_crash_silences_links_before_it_kills_and_a_restore_leaves_clients_dead(tmp_path: Path) -> None:
    found = timetable(tmp_path, {"at": "1s", "do": "crash", "node": ["w1", "c"], "for": "1s"}).events
    crash, restore = ([event for event in found if event.kind == kind] for kind in ("crash", "restore"))
    assert crash[0].actions == (Hold(("edge1",), "crash w1"), KillAgents((("w1", "computer"),)), ResumeHost("w1"))
    assert restore[0].actions[1] == StartAgents((("w1", "computer"),))
    assert len(restore[1].actions) == 1


def test_a_host_that_moves_begins_where_its_first_move_does(tmp_path: Path) -> None:
    moves = [{"at": f"{t}s", "do": "move", "node": "c", "from": f"near{a}", "to": f"near{b}"}
             for t, a, b in ((2, 2, 1), (4, 1, 2))]  # fmt: skip
    found = timetable(tmp_path, *moves)
    assert found.before == (Hold(("near1",), "move c"), Attach("c", "near2"))
    assert [event.actions[-1] for event in found.events] == [Attach("c", "near1"), Attach("c", "near2")]


def test_a_link_is_up_when_nothing_holds_it_down_any_more(tmp_path: Path) -> None:
    found = timetable(
        tmp_path, {"at": "1s", "do": "cut", "link": "core"}, {"at": "2s", "do": "partition", "groups": [["e2", "w2"]]},
        {"at": "3s", "do": "mend", "link": "core"}, {"at": "4s", "do": "heal"})  # fmt: skip
    path = tmp_path / "small.yaml"
    force, changes = InForce(load(path).topology), []
    for event in found.events:
        changes += [(event.at, *change) for action in event.actions for change in force.connect(action)]
    assert changes == [(1.0, "core", False), (2.0, "near2", False), (4.0, "near2", True), (4.0, "core", True)]


def test_every_shape_that_a_replay_brings_is_planned(tmp_path: Path) -> None:
    (tmp_path / "link.csv").write_text("time (s),delay (ms)\n0,10\n1,20\n")
    trace = {"at": "1s", "do": "trace", "link": "core", "file": "link.csv", "loop": True}
    found = timetable(tmp_path, trace)
    assert [each.at for each in found.events] == [float(t) for t in range(1, 10)]
    shapes = planned_shapes(load(tmp_path / "small.yaml"))
    assert sorted(shape.delay for shape in shapes["core"]) == [0.01, 0.02]


def test_another_recording_is_another_input(tmp_path: Path) -> None:
    digests = []
    for delay in (10, 11):
        (tmp_path / "link.csv").write_text(f"time (s),delay (ms)\n0,{delay}\n")
        timetable(tmp_path, {"at": "1s", "do": "trace", "link": "core", "file": "link.csv"})
        digests.append(load(tmp_path / "small.yaml").digest)
    assert digests[0] != digests[1]


def test_a_skew_says_what_is_wrong_and_ends_by_itself_or_with_a_sync(tmp_path: Path) -> None:
    found = timetable(
        tmp_path, {"at": "1s", "do": "skew", "node": "tag:leaf", "by": "-250ms", "for": "2s"},
        {"at": "4s", "do": "skew", "node": "c", "by": "1h", "drift": "20ppm"}, {"at": "5s", "do": "sync", "node": "c"},
        {"at": "6s", "do": "skew", "node": "c", "drift": "-1.5ppm"})  # fmt: skip
    assert [(each.at, each.kind, each.detail, each.actions[0]) for each in found.events] == [
        (1.0, "skew", "its calendar is 250ms behind", SetCalendar("w1", -0.25)),
        (1.0, "skew", "its calendar is 250ms behind", SetCalendar("w2", -0.25)),
        (3.0, "sync", "its calendar is right", SetCalendar("w1")),
        (3.0, "sync", "its calendar is right", SetCalendar("w2")),
        (4.0, "skew", "its calendar is 1h ahead and gains 20ppm", SetCalendar("c", 3600.0, 20 * 1e-6)),
        (5.0, "sync", "its calendar is right", SetCalendar("c")),
        (6.0, "skew", "its calendar loses 1.5ppm", SetCalendar("c", 0.0, -1.5e-6)),
    ]  # fmt: skip
    assert found.skewed == {"w1", "w2", "c"}


def test_loads_are_doubtful_without_processors(tmp_path: Path) -> None:
    assert timetable(tmp_path, {"at": "1s", "do": "load", "node": "w*", "cpu": 1, "for": "1s"}).doubtful == (
        "the load on w1", "the load on w2",
    )  # fmt: skip
