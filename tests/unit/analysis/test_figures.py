"""Every figure of a good run, of a run that cannot be trusted, and of one in which nothing worked."""

from __future__ import annotations

import re
import textwrap
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import synthetic_run

import analysis
from analysis import marks, style
from analysis.figures import breakdown, latency_cdf
from testbed.collect import schema
from testbed.errors import UsageError
from testbed.places import home
from testbed.store import Run
from testbed.tables import Row


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> analysis.Frames:
    return analysis.load(synthetic_run.make(tmp_path_factory.mktemp("runs")))


@pytest.fixture(scope="module")
def invalid(tmp_path_factory: pytest.TempPathFactory) -> analysis.Frames:
    return analysis.load(synthetic_run.make(tmp_path_factory.mktemp("runs"), verdict=synthetic_run.INVALID))


@pytest.fixture(scope="module")
def all_failed(tmp_path_factory: pytest.TempPathFactory) -> analysis.Frames:
    run = Run.begin(tmp_path_factory.mktemp("runs"), synthetic_run.record(state="failed"))
    rows: list[Row] = [{"phase": "measure", "invocation_id": number, "client": "c1", "function": "f",
                        "t_scheduled": number / 10, "status": "unsent"} for number in range(40)]
    run.rows(schema.INVOCATIONS, rows)
    return analysis.load(run.folder)


def texts(svg: str) -> list[str]:
    return [unescape(re.sub(r"<[^>]+>", "", found)).strip() for found in re.findall(r"<text.*?</text>", svg, re.DOTALL)]


def drawn(frames: analysis.Frames, name: str, folder: Path) -> str:
    (path,) = style.save(analysis.figure(frames, name), folder / name, ("svg",))
    return path.read_text()


def test_the_figures_are_found_by_listing_their_folder() -> None:
    files = {path.stem for path in Path(analysis.figures.__path__[0]).glob("*.py")} - {"__init__"}
    assert set(analysis.names()) == files
    assert {"latency_cdf", "latency_over_time", "throughput", "breakdown", "link_load"} <= files


def test_a_figure_that_does_not_exist_is_refused_with_those_that_do(valid: analysis.Frames) -> None:
    with pytest.raises(UsageError, match=r"no figure 'bogus'.*throughput"):
        analysis.figure(valid, "bogus")


@pytest.mark.parametrize("name", analysis.names())
class TestEachFigure:
    def test_has_units_on_its_axes_and_names_its_run(self, name: str, valid: analysis.Frames, tmp_path: Path) -> None:
        written = texts(drawn(valid, name, tmp_path))
        assert any(re.search(r"\((ms|s|1/s|Mbit/s|MB|cores)\)$", text) for text in written)
        assert "edge-demo-1 · demo · netns · seed 7" in written

    def test_is_not_marked_where_the_run_is_valid(self, name: str, valid: analysis.Frames, tmp_path: Path) -> None:
        svg = drawn(valid, name, tmp_path)
        assert 'id="watermark"' not in svg and 'id="verdict"' not in svg

    def test_is_marked_where_the_run_is_invalid(self, name: str, invalid: analysis.Frames, tmp_path: Path) -> None:
        svg = drawn(invalid, name, tmp_path)
        assert 'id="watermark"' in svg and "INVALID RUN" in texts(svg)
        assert any("only 91 % of the schedule was sent" in text for text in texts(svg))

    def test_says_so_where_nothing_worked(self, name: str, all_failed: analysis.Frames, tmp_path: Path) -> None:
        written = " ".join(texts(drawn(all_failed, name, tmp_path)))
        assert re.search(r"No successful invocation|Nothing to draw|was sent|0 good, 40 failed", written)

    def test_is_the_same_bytes_at_every_drawing(self, name: str, valid: analysis.Frames, tmp_path: Path) -> None:
        first = [path.read_bytes() for path in style.save(analysis.figure(valid, name), tmp_path / "a")]
        second = [path.read_bytes() for path in style.save(analysis.figure(valid, name), tmp_path / "b")]
        assert first == second


@pytest.mark.parametrize("name", ["latency_over_time", "throughput", "link_load", "node_load", "send_delay"])
def test_figures_over_time_show_the_events(name: str, valid: analysis.Frames, tmp_path: Path) -> None:
    written = texts(drawn(valid, name, tmp_path))
    assert "r1-w1: delay 10ms -> 60ms" in written
    assert "w2 worker: kill, agent exit" in written


def test_a_suspect_run_is_marked_with_its_reason(tmp_path: Path) -> None:
    frames = analysis.load(synthetic_run.make(tmp_path, verdict=synthetic_run.SUSPECT))
    written = texts(drawn(frames, "throughput", tmp_path))
    assert any(text.startswith("SUSPECT: the generator was late") for text in written)
    assert "INVALID RUN" not in written


def test_a_run_that_was_never_judged_is_marked(tmp_path: Path) -> None:
    frames = analysis.load(synthetic_run.make(tmp_path, verdict=None, state="interrupted"))
    assert "NOT JUDGED" in texts(drawn(frames, "latency_cdf", tmp_path))


def test_many_events_are_numbered_instead_of_named(tmp_path: Path) -> None:
    folder = synthetic_run.make(tmp_path)
    lines = "".join(f"{t},{t},cut,a-b,\n" for t in range(0, 60, 4))
    (folder / "events.csv").write_text("t_planned,t_actual,kind,subject,detail\n" + lines)
    frames = analysis.load(folder)
    written = texts(drawn(frames, "throughput", tmp_path))
    assert len(marks.moments(frames)) == 15
    assert "15" in written and "a-b: cut" not in written


def test_very_many_events_are_ticks_with_their_number(tmp_path: Path) -> None:
    folder = synthetic_run.make(tmp_path)
    lines = "".join(f"{t},{t},cut,a-b,\n" for t in range(0, 60))
    (folder / "events.csv").write_text("t_planned,t_actual,kind,subject,detail\n" + lines)
    written = texts(drawn(analysis.load(folder), "throughput", tmp_path))
    assert "60 events, see the table of events" in written
    assert "a-b: cut" not in written


def test_a_replayed_link_is_one_event(tmp_path: Path) -> None:
    folder = synthetic_run.make(tmp_path)
    lines = "".join(f"{t},{t},trace,a-b,rate {t + 1}Mbit\n" for t in range(0, 60))
    (folder / "events.csv").write_text("t_planned,t_actual,kind,subject,detail\n" + lines)
    assert [moment.words for moment in marks.moments(analysis.load(folder))] == ["a-b: trace"]


def test_failures_keep_a_latency_curve_below_one(valid: analysis.Frames) -> None:
    rows = valid.measured
    _, share = latency_cdf._curve(rows)
    assert share.iloc[-1] == pytest.approx((rows["status"] == "ok").mean())
    assert share.iloc[-1] < 0.95


def test_the_parts_of_a_response_time_add_up_to_it(valid: analysis.Frames) -> None:
    rows = valid.good
    assert sum(breakdown._parts(rows).values()) == pytest.approx(rows["response_time_s"].mean(), rel=1e-6)


def test_what_the_system_does_not_tell_apart_is_shown_as_such(valid: analysis.Frames, tmp_path: Path) -> None:
    folder = synthetic_run.make(tmp_path, rows=100)
    frames = analysis.load(folder)
    table = frames.invocations
    table[["network_s", "queue_s", "init_s", "exec_s"]] = float("nan")
    written = texts(drawn(frames, "breakdown", tmp_path))
    assert "not told apart" in written and "execution" not in written


def test_names_are_never_read_as_formulas_or_markup(tmp_path: Path) -> None:
    folder = synthetic_run.make(tmp_path, rows=60)
    path = folder / "invocations.csv"
    path.write_text(path.read_text().replace("word-count", "$x^2$ <b>"))
    assert any("$x^2$ <b>" in text for text in texts(drawn(analysis.load(folder), "latency_cdf", tmp_path)))


def test_a_run_of_many_invocations_still_gives_small_files(tmp_path: Path) -> None:
    folder = synthetic_run.make(tmp_path, rows=8_000)
    sizes = {path.name: path.stat().st_size for path in analysis.draw_all(folder)}
    assert set(sizes) == {f"{name}.{kind}" for name in analysis.names() for kind in ("svg", "pdf")}
    assert max(sizes.values()) < 400_000, sizes


def test_the_example_of_the_documentation_draws(valid: analysis.Frames) -> None:
    page = (home() / "docs" / "analysis.md").read_text(encoding="utf-8")
    start = page.index('    """Answers that met a cold start')
    code = textwrap.dedent(page[start : page.index("Heading, origin and verdict")])
    module: dict[str, Any] = {}
    exec(compile(code, "docs/analysis.md", "exec"), module)  # noqa: S102 - our own documentation
    assert module["draw"](valid).axes[0].get_ylabel() == "Cold starts per second (1/s)"
