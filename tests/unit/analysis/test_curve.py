"""Curves over the runs of a sweep."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median

import pytest
import synthetic_run

from analysis.curve import Scale, at, curve
from analysis.distribution import distribution
from analysis.frames import load
from testbed.errors import UsageError

PUBLISHED = """\
published:
  source: a paper
  values:
  - {name: median, metric: response_time_p50_s, value: 0.06, tolerance: 0.1, at: {delay: 10ms}}
"""


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    verdicts = {"5ms": synthetic_run.VALID, "10ms": synthetic_run.SUSPECT, "20ms": synthetic_run.INVALID}
    out = tmp_path_factory.mktemp("sweep")
    folders = [synthetic_run.make(out, run_id=f"run-{delay}", delay=delay, verdict=verdict)
               for delay, verdict in verdicts.items()]
    for folder in folders:
        with (folder / "experiment.yaml").open("a") as file:
            file.write(PUBLISHED)
    return folders


def test_the_line_goes_through_what_each_run_measured(sweep: list[Path]) -> None:
    (axes,) = curve(sweep).axes
    line = next(each for each in axes.lines if each.get_label() == "measured")
    assert list(line.get_xdata()) == [5.0, 10.0, 20.0]
    assert list(line.get_ydata()) == sorted(line.get_ydata())
    assert axes.get_xlabel() == "topology.defaults.link.delay (ms)"
    assert axes.get_ylabel() == "response time p50 (ms)"


def test_published_values_stand_where_they_belong(sweep: list[Path]) -> None:
    (axes,) = curve(sweep).axes
    rings = next(each for each in axes.lines if each.get_label() == "published")
    assert (list(rings.get_xdata()), list(rings.get_ydata())) == ([10.0], [60.0])


def test_the_same_sweep_on_two_substrates_is_two_lines_of_one_colour(sweep: list[Path], tmp_path: Path) -> None:
    twins = [synthetic_run.make(tmp_path, run_id=f"twin-{delay}", delay=delay, verdict=synthetic_run.VALID)
             for delay in ("5ms", "10ms")]  # fmt: skip
    for folder in twins:
        record = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps({**record, "substrate": "twin"}))
    (axes,) = curve([*sweep, *twins]).axes
    emulated, twin = (next(each for each in axes.lines if each.get_label() == name) for name in ("netns", "twin"))
    assert emulated.get_color() == twin.get_color()
    assert emulated.get_linestyle() != twin.get_linestyle()


def test_runs_that_cannot_be_trusted_have_a_mark_of_their_own(sweep: list[Path]) -> None:
    (axes,) = curve(sweep).axes
    assert "1 suspect, 1 invalid" in axes.get_title(loc="left")
    assert [each.get_marker() for each in axes.lines if len(each.get_xdata()) == 1][:3] == ["o", "^", "X"]


def test_values_that_share_no_unit_stand_side_by_side() -> None:
    assert not Scale(["100us", "1ms"]).numeric and not Scale(["low", "high"]).numeric
    scale = Scale(["0", "1%", "5%"])
    assert scale.numeric and scale.unit == "%" and scale["5%"] == 5.0


@pytest.mark.parametrize(
    ("path", "value"), [("a.b", 1), ("list[1].c", 2), ("a.x", None), ("list[7].c", None), ("a.b.c", None)]
)
def test_a_path_finds_what_stands_there(path: str, value: object) -> None:
    assert at({"a": {"b": 1}, "list": [{}, {"c": 2}]}, path) == value


def test_runs_without_a_sweep_are_refused(tmp_path: Path) -> None:
    folder = synthetic_run.make(tmp_path, rows=10)
    (folder / "experiment.yaml").write_text("name: x\n")
    with pytest.raises(UsageError, match="give the runs of one sweep"):
        curve([folder])


def test_a_metric_that_does_not_exist_is_refused(sweep: list[Path]) -> None:
    with pytest.raises(UsageError, match=r"no column 'bogus'.*throughput"):
        curve(sweep, "bogus")


def test_axes_can_be_logarithmic(sweep: list[Path]) -> None:
    (axes,) = curve(sweep, log=True).axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.get_ylim()[0] > 0


@pytest.fixture(scope="module")
def repeated(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two points whose swept values are no amounts, with six seeds each."""
    folders = []
    for seed in range(12):
        folder = synthetic_run.make(tmp_path_factory.mktemp("repeated"), seed=seed, rows=60)
        sweep = "sweep: {seed: [0, 1, 2, 3, 4, 5], place.gateway: [one, many]}"
        text = f"name: x\nplace: {{gateway: {'one' if seed < 6 else 'many'}}}\nseed: {seed % 6}\n{sweep}\n"
        (folder / "experiment.yaml").write_text(text)
        folders.append(folder)
    return folders


def test_many_seeds_of_points_that_are_no_amounts_make_boxes(repeated: list[Path]) -> None:
    (axes,) = curve(repeated).axes
    assert axes.get_xlabel() == "place.gateway"
    assert [each.get_text() for each in axes.get_xticklabels()] == ["one", "many"]
    runs = [next(iter(line.get_ydata())) for line in axes.lines if line.get_marker() == "o"]
    medians = [line.get_ydata() for line in axes.lines if line.get_linewidth() == 2.5 and len(line.get_xdata())]
    assert len(runs) == 12
    assert [next(iter(each)) for each in medians] == pytest.approx([median(runs[:6]), median(runs[6:])])


def test_a_distribution_puts_all_seeds_of_a_point_together(repeated: list[Path]) -> None:
    found = distribution(repeated, "exec_s")
    assert list(found.values) == ["gateway many", "gateway one"]
    assert len(found.values["gateway one"]) == sum(len(load(each).good) for each in repeated[:6])
    assert found.quantiles()["gateway one"][1] == pytest.approx(found.values["gateway one"].median())
    (axes,) = found.figure().axes
    assert axes.get_xlabel() == "exec (ms)" and axes.get_title(loc="left") == "12 runs"
    assert all(max(line.get_ydata()) == 1.0 for line in axes.lines)


@pytest.mark.parametrize("column", ["bogus", "client"])
def test_a_distribution_is_that_of_numbers(repeated: list[Path], column: str) -> None:
    with pytest.raises(UsageError, match="no number"):
        distribution(repeated, column)
