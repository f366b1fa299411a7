"""One experiment on several substrates, in a table and in a picture."""

from __future__ import annotations

import re

import pytest
import synthetic_run

from analysis import side_by_side
from analysis.frames import load


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> side_by_side.Runs:
    out = tmp_path_factory.mktemp("sides")
    near, same, far = (synthetic_run.make(out, run_id=name, delay=delay, verdict=verdict) for name, delay, verdict in
                       (("a", "5ms", synthetic_run.VALID), ("b", "5ms", synthetic_run.VALID),
                        ("c", "20ms", synthetic_run.INVALID)))  # fmt: skip
    return {"demo": {"netns": [near], "mininet": [same], "vm": [far, far], "twin": []}}


def test_each_substrate_has_a_line_with_ratios_to_the_first(runs: side_by_side.Runs) -> None:
    text = side_by_side.markdown(runs)
    lines = {line.split(" | ")[0].strip("| "): line for line in text.splitlines() if line.startswith("| ")}
    assert list(lines) == ["Substrate", "---", "netns", "mininet", "vm"]
    ratios = {name: [float(each) for each in re.findall(r"\(([\d.]+)\)", line)] for name, line in lines.items()}
    assert ratios["netns"] == ratios["mininet"] != []
    assert set(ratios["netns"]) == {1.0}
    assert all(ratio > 1 for ratio in ratios["vm"])
    assert "| invalid: issued |" in lines["vm"]
    assert "- vm: only 91 % of the schedule was sent" in text


def test_medians_are_those_of_the_good_answers_in_the_stretch(runs: side_by_side.Runs) -> None:
    first, *_ = side_by_side.sides(runs["demo"])
    good = load(runs["demo"]["netns"][0]).good
    cuts = side_by_side.stretches([first])
    assert [start for start, _ in cuts[1:]] == [end for _, end in cuts[:-1]]
    start, end = cuts[0]
    inside = good[(good["t_scheduled"] >= start) & (good["t_scheduled"] < end)]
    assert first.quantile(0.5, start, end) == pytest.approx(inside["response_time_s"].median() * 1e3)
    assert first.failed == (load(runs["demo"]["netns"][0]).measured["status"] != "ok").sum()


def test_all_substrates_are_in_one_picture_and_an_invalid_one_is_marked(runs: side_by_side.Runs) -> None:
    drawn = side_by_side.figure(runs)
    labels = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert labels == ["netns", "mininet", "vm"]
    assert drawn.axes[0].get_title(loc="left") == "demo – invalid: vm"
