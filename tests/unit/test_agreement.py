"""How far two runs of a load point are apart: errors, bands, means, reaches, as tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import synthetic_run

from testbed.agreement import (
    BANDS,
    Error,
    Seen,
    Setting,
    band,
    by_link,
    errors,
    judged,
    mean_errors,
    pooled,
    seen,
    utilisation,
    waiting,
    windowed,
)

PLAIN = Seen(
    times=tuple((t / 100, 0.010 + t / 1e5) for t in range(1000)),
    scheduled=1000, throughput=100.0, cold=0, told=1000, link_bytes={"wire": 1000.0, "side": 500.0, "quiet": 1.0},
    workers=0.5, links=0.2, machine=0.9,
)  # fmt: skip


@pytest.mark.parametrize(
    ("emulation", "twin", "relative", "absolute"),
    [
        (0.100, 0.105, 0.05, 0.005),
        (0.100, 0.090, -0.10, -0.010),
        (0.0, 0.25, None, 0.25),
        (0.0, 0.0, None, 0.0),
        (None, 0.1, None, None),
        (0.1, None, None, None),
    ],
)
def test_an_error_is_relative_to_the_emulation_and_absolute_where_that_shows_nothing(
    emulation: float | None, twin: float | None, relative: float | None, absolute: float | None
) -> None:
    found = Error.between(emulation, twin)
    assert found.relative == (None if relative is None else pytest.approx(relative))
    assert found.absolute == (None if absolute is None else pytest.approx(absolute))


@pytest.mark.parametrize(
    ("rows", "told"),
    [(1000, "p50 p95 p99"), (999, "p50 p95"), (100, "p50 p95"), (99, "p50"), (1, "p50"), (0, "")],
)
def test_a_percentile_of_too_few_rows_is_not_told(rows: int, told: str) -> None:
    few = replace(PLAIN, times=PLAIN.times[:rows])
    found = windowed(few, few, 0.0, float("inf"))
    assert {name for name, each in found.items() if each.relative is not None} == set(told.split())


def test_each_percentile_is_compared_with_its_own() -> None:
    slower = replace(PLAIN, times=tuple((t, latency * 1.1) for t, latency in PLAIN.times), throughput=99.0)
    found = errors(PLAIN, slower)
    assert {name: found[name].relative for name in ("mean", "p50", "p95", "p99")} == pytest.approx(
        dict.fromkeys(("mean", "p50", "p95", "p99"), 0.1)
    )
    assert found["throughput"].relative == pytest.approx(-0.01)
    assert found["p50"].emulation == pytest.approx(0.010 + 499.5 / 1e5)


def test_a_window_sees_only_what_was_scheduled_in_it() -> None:
    late = replace(PLAIN, times=tuple((t, latency * (2 if t >= 5 else 1)) for t, latency in PLAIN.times))
    assert windowed(PLAIN, late, 0.0, 5.0)["p50"].relative == pytest.approx(0.0)
    assert windowed(PLAIN, late, 5.0, 10.0)["p50"].relative == pytest.approx(1.0)


def test_links_that_carry_next_to_nothing_do_not_count_and_errors_of_links_do_not_cancel() -> None:
    other = replace(PLAIN, link_bytes={"wire": 900.0, "side": 550.0, "quiet": 99.0})
    assert {name: each.relative for name, each in by_link(PLAIN, other).items()} == pytest.approx(
        {"wire": -0.1, "side": 0.1}
    )
    assert errors(PLAIN, other)["link_bytes"].relative == pytest.approx(0.1)
    assert by_link(PLAIN, replace(PLAIN, link_bytes={}))["wire"].relative == -1.0


@pytest.mark.parametrize(
    ("shares", "found"),
    [((0.8, 0.1), BANDS[0]), ((0.1, 0.81), BANDS[1]), ((None, 0.9), BANDS[1]), ((0.3, None), BANDS[0]), ((), BANDS[0])],
)
def test_the_busiest_of_all_gives_the_band(shares: tuple[float | None, ...], found: str) -> None:
    assert band(utilisation(shares)) == found


@pytest.mark.parametrize(("factor", "share"), [(1.0, 0.0), (2.0, 0.5), (5.0, 0.8), (10.0, 0.9)])
def test_waiting_implies_a_utilisation_in_the_worst_window(factor: float, share: float) -> None:
    def slowed(times: float, start: float) -> Seen:
        return replace(PLAIN, times=tuple((t, latency * (times if t >= start else 1)) for t, latency in PLAIN.times))

    slow = slowed(factor, 5.0)
    assert waiting(slow, [PLAIN, slow], [(0.0, 5.0), (5.0, 10.0)]) == pytest.approx(share)
    assert waiting(slowed(factor, 0.0), [PLAIN, slow], []) == pytest.approx(share)
    assert waiting(PLAIN, [PLAIN, slow], []) == 0.0
    assert waiting(replace(PLAIN, times=()), [PLAIN], []) == 0.0


def test_means_are_over_absolute_errors_and_keep_those_of_zero_apart() -> None:
    def point(relative: float, cold: tuple[float, float]) -> dict[str, Error]:
        twin = replace(PLAIN, times=tuple((t, latency * (1 + relative)) for t, latency in PLAIN.times))
        return errors(replace(PLAIN, cold=int(cold[0] * 1000)), replace(twin, cold=int(cold[1] * 1000)))

    rest = [point(0.0, (0.0, 0.0)), point(-0.04, (0.009, 0.109))]  # nine cold starts are too few for a percentage
    means = mean_errors([point(0.04, (0.0, 0.1)), point(-0.08, (0.2, 0.1)), *rest])
    assert (means["p50"].mape, means["p50"].points) == (pytest.approx(0.04), 4)
    cold = means["cold_share"]
    assert (cold.mape, cold.points, cold.difference, cold.zeros) == (pytest.approx(0.5), 1, pytest.approx(0.2 / 3), 3)


def test_a_reach_is_met_missed_or_not_told() -> None:
    few = replace(PLAIN, times=PLAIN.times[:500])
    slow = replace(few, times=tuple((t, latency * 1.07) for t, latency in few.times))
    told = {each["metric"]: each["met"] for each in judged(mean_errors([errors(few, slow)]))}
    assert told == {"p50": False, "p95": True, "p99": None, "throughput": True}
    assert {each["met"] for each in judged(mean_errors([]))} == {None}


def test_repetitions_are_pooled() -> None:
    other = replace(PLAIN, throughput=50.0, cold=10, workers=None, link_bytes={"wire": 3000.0})
    both = pooled([PLAIN, other])
    assert (len(both.times), both.scheduled, both.throughput) == (2000, 2000, 75.0)
    assert (both.cold, both.told, both.workers) == (10, 2000, 0.5)
    assert both.link_bytes == {"wire": 2000.0, "side": 250.0, "quiet": 0.5}
    assert pooled([PLAIN]) == PLAIN


def test_a_run_s_folder_is_read_as_it_stands(tmp_path: Path) -> None:
    folder = synthetic_run.make(tmp_path)
    setting = Setting("response_time_s", 55.0, {"resize": 2, "word-count": 1}, {("r1-w1", "r1"): 1e6})
    found = seen(folder, setting)
    lines = [line.split(",") for line in (folder / "invocations.csv").read_text().splitlines()]
    columns = {name: index for index, name in enumerate(lines[0])}
    good = [row for row in lines[1:] if row[columns["phase"]] == "measure" and row[columns["status"]] == "ok"]
    assert len(found.times) == len(good) < found.scheduled
    assert found.throughput == pytest.approx(len(good) / 55)
    busy = {(node, function): sum(float(row[columns["exec_s"]]) + float(row[columns["init_s"]]) for row in good
                                  if (row[columns["node"]], row[columns["function"]]) == (node, function))
            for node in ("w1", "w2") for function in ("resize", "word-count")}  # fmt: skip
    shares = [spent / 55 / (2 if function == "resize" else 1) for (_, function), spent in busy.items()]
    assert found.workers == pytest.approx(max(shares))
    links = (folder / "links.csv").read_text().splitlines()
    sizes = [int(line.split(",")[4]) for line in links if ",r1-w1,r1," in line]
    assert found.links == pytest.approx(8 * (sizes[-1] - sizes[0]) / 60 / 1e6)
    assert found.machine is None
