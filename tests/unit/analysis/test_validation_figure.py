"""The figure and the tables of a validation, from its JSON file alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from analysis.validation import figure, load, markdown, reaches
from testbed.errors import RunNotFound


def error(emulation: float | None, twin: float | None) -> dict[str, Any]:
    known = emulation is not None and twin is not None
    return {"emulation": emulation, "twin": twin, "relative": twin / emulation - 1 if known and emulation else None,
            "absolute": twin - emulation if known else None}  # fmt: skip


def point(value: str, role: str, p50: tuple[float, float], **more: Any) -> dict[str, Any]:
    metrics = {"mean": error(*p50), "p50": error(*p50), "p95": error(2 * p50[0], 2 * p50[1]), "p99": error(None, None),
               "throughput": error(20.0, 20.0), "link_bytes": error(1000.0, 900.0), "cold_share": error(0.0, 0.0)}
    return {"value": value, "role": role, "left_out": "", "verdict": "valid", "band": "up to 0.8", "machine": 0.5,
            "busy": {"workers": 0.25, "links": None, "waiting": 0.1}, "scheduled": [600, 600], "ok": [600, 599],
            "metrics": metrics, "links": {"wire": error(1000.0, 900.0)}, "windows": [], **more}  # fmt: skip


def mean(mape: float | None, points: int, difference: float | None = None, zeros: int = 0) -> dict[str, Any]:
    return {"mape": mape, "points": points, "difference": difference, "zeros": zeros}


MEANS = {"mean": mean(0.05, 1), "p50": mean(0.05, 1), "p95": mean(0.12, 1), "p99": mean(None, 0),
         "throughput": mean(0.0, 1), "link_bytes": mean(0.1, 1), "cold_share": mean(None, 0, 0.0, 1)}
FOUND: dict[str, Any] = {
    "experiment": "demo", "system": "some", "substrate": "netns", "repeat": 1, "state": "done", "notes": ["a note"],
    "over": "workload.rate", "latency": "response_time_s",
    "points": [
        point("5/s", "calibration", (0.020, 0.020)),
        point("10/s", "test", (0.020, 0.021), verdict="suspect",
              windows=[{"from": 1.0, "to": 2.5, "metrics": {"p50": error(0.02, 0.021), "p95": error(None, None)}}]),
        {"value": "20/s", "role": "left out", "left_out": "invalid, twice", "verdict": "none"},
    ],
    "bands": {"up to 0.8": MEANS, "above 0.8": {name: mean(None, 0) for name in MEANS}},
    "between_events": {"up to 0.8": {"p50": mean(0.033, 1), "p95": mean(None, 0)}},
    "reaches": [
        {"metric": "p50", "reach": 0.05, "mape": 0.04, "points": 1, "met": True},
        {"metric": "p95", "reach": 0.10, "mape": 0.12, "points": 1, "met": False},
        {"metric": "p99", "reach": 0.15, "mape": None, "points": 0, "met": None},
    ],
    "published": [{"name": "median", "metric": "p50", "at": "10/s", "value": 0.0195}],
}  # fmt: skip


def test_each_reach_is_a_sentence() -> None:
    met, missed, not_told = reaches(FOUND)
    assert met == "median, reach 5.0 %: 4.0 % over 1 load point: met"
    assert missed.endswith("12.0 % over 1 load point: missed by 2.0 points")
    assert "not told" in not_told
    assert "1,000 answers" in not_told


def test_the_figure_has_both_curves_the_published_value_and_the_point_of_the_calibration() -> None:
    median, high = figure(FOUND).axes
    lines = {line.get_label(): line for line in median.lines if len(line.get_xdata()) != 1 or line.get_marker() == "o"}
    assert list(lines["emulation"].get_xdata()) == [5.0, 10.0]
    assert list(lines["emulation"].get_ydata()) == [20.0, 20.0]
    assert list(lines["twin"].get_ydata()) == pytest.approx([20.0, 21.0])
    assert (list(lines["published"].get_xdata()), list(lines["published"].get_ydata())) == ([10.0], [19.5])
    squares = [line for line in median.lines if line.get_label() == "calibrated here"]
    assert [list(each.get_xdata()) for each in squares] == [[5.0]]
    assert "^" in {line.get_marker() for line in median.lines}
    assert not [line for line in high.lines if line.get_label() == "published"]


def test_the_figure_counts_what_was_left_out() -> None:
    assert "1 load point left out" in figure(FOUND).get_suptitle()


def test_the_tables_show_every_point_and_what_cannot_be_told() -> None:
    text = markdown(FOUND)
    assert "invalid, twice" in text
    assert "20 / 21 (+5.0 %)" in text
    assert "too few" in text
    assert "0 / 0 (+0)" in text
    assert "Note: a note." in text
    assert "1 to 2.5 s" in text
    assert "| up to 0.8 | 3.3 % (1) | - |" in text
    assert {line.count("|") for line in text.splitlines() if "10/s | test" in line or "20/s | left" in line} == {16}


def test_a_folder_without_a_validation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunNotFound, match="no validation's folder"):
        load(tmp_path)
    (tmp_path / "validation.json").write_text(json.dumps(FOUND))
    assert load(tmp_path) == FOUND
