"""The report of a run, as text and in a real browser."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
import synthetic_run

import analysis
from analysis.report import report

TOPOLOGY = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 90 20"><style>text{fill:red}</style>'
    '<g id="a"><text x="5" y="9">c1 &amp; r1</text></g><script>alert(1)</script></svg>'
)
PUBLISHED = {"source": "A paper, figure 3", "reproduced": False, "rows": [
    {"name": "median", "metric": "response_time_p50_s", "at": {}, "published": 0.2, "measured": 0.0589,
     "difference": -0.7055, "tolerance": 0.05, "reproduced": False}]}


class Page(HTMLParser):
    """What a page is made of: ids, what it links to, its figures, and all of its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: Counter[str] = Counter()
        self.links: list[tuple[str, str, str]] = []
        self.figures: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in attrs}
        if "id" in told:
            self.ids[told["id"]] += 1
        if tag == "figure":
            self.figures.append(told["id"])
        self.links += [(tag, name, told[name]) for name in ("src", "href", "xlink:href", "data", "action", "srcset")
                       if name in told]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = synthetic_run.make(tmp_path_factory.mktemp("runs"), verdict=synthetic_run.INVALID, published=PUBLISHED)
    (folder / "topology.svg").write_text(TOPOLOGY)
    agent = folder / "hosts" / "w2" / "worker"
    agent.mkdir(parents=True)
    (agent / "exit").write_text("-9\n")
    (agent / "stderr").write_text("ready\nOut of memory: killed\n")
    return report(folder)


@pytest.fixture(scope="module")
def page(written: Path) -> Page:
    return Page(written.read_text(encoding="utf-8"))


def test_every_figure_is_on_the_page(page: Page) -> None:
    assert sorted(page.figures) == sorted(analysis.names())


def test_no_two_things_on_the_page_have_the_same_id(page: Page) -> None:
    assert {name: count for name, count in page.ids.items() if count > 1} == {}


def test_every_link_leads_to_a_place_on_the_page(page: Page) -> None:
    outside = [link for link in page.links if not link[2].startswith(("#", "data:"))]
    assert outside == []
    assert {target[1:] for _, _, target in page.links if target.startswith("#")} <= set(page.ids)


def test_nothing_is_loaded_from_elsewhere(written: Path) -> None:
    text = written.read_text(encoding="utf-8")
    assert not re.search(r"url\(\s*['\"]?(?!#)", text)
    assert "@import" not in text and "<script" not in text and "http-equiv" in text


def test_the_page_is_small(written: Path) -> None:
    assert written.stat().st_size < 2_000_000


def test_the_verdict_stands_on_top_with_its_reasons(page: Page) -> None:
    head = page.text[: page.text.index("Figures")]
    assert "Invalid" in head and "Do not use these numbers" in head
    assert "only 91 % of the schedule was sent" in head and "8 % of the CPU was stolen" in head


@pytest.mark.parametrize("words", [
    "Measured beside published", "NOT reproduced", "A paper, figure 3", "200 ms", "58.9 ms", "-70.5%",
    "c1 & r1", "Calibration", "5.12 ms", "9.7 Mbit/s", "relay + tbf", "the kernel has no sch_netem",
    "delay 10ms -> 60ms", "Out of memory: killed", "topology.defaults.link.delay",
    "--seed 7", "invocations.csv", "alert(1)",
])
def test_the_page_tells(words: str, page: Page) -> None:
    assert words in page.text


def test_inputs_are_shown_as_text_and_not_run(written: Path) -> None:
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in written.read_text(encoding="utf-8")


def test_a_run_that_failed_before_it_began_has_a_report_too(tmp_path: Path) -> None:
    folder = synthetic_run.make(tmp_path, rows=0, verdict=None, state="failed", error="The agent <x> never got ready.")
    found = Page(report(folder).read_text(encoding="utf-8"))
    assert "Not judged" in found.text and "The agent <x> never got ready." in found.text
    assert found.figures == [] and "Nothing to draw" in found.text


def test_a_run_of_many_events_and_links_stays_small(tmp_path: Path) -> None:
    folder = synthetic_run.make(tmp_path, rows=8_000)
    (folder / "events.csv").write_text("t_planned,t_actual,kind,subject,detail\n" + "1,1,cut,a-b,x\n" * 5_000)
    path = report(folder)
    assert path.stat().st_size < 2_000_000
    assert "4850 more rows are in" in path.read_text(encoding="utf-8")


def test_a_broken_drawing_of_the_network_is_told(tmp_path: Path) -> None:
    folder = synthetic_run.make(tmp_path, rows=20)
    (folder / "topology.svg").write_text("<svg")
    assert "topology.svg: not readable as SVG" in report(folder).read_text(encoding="utf-8")


def test_the_same_run_gives_the_same_page(written: Path) -> None:
    before = written.read_bytes()
    assert report(written.parent).read_bytes() == before


# --- in a browser -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium() -> Iterator[list[str]]:
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no chromium on this machine")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        yield [found, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
               "--disable-background-networking", "--disable-component-update", "--disable-sync",
               f"--user-data-dir={profile}", "--enable-logging=stderr", "--virtual-time-budget=2000"]


def browse(chromium: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*chromium, *arguments], capture_output=True, text=True, timeout=120, check=True)


def test_a_browser_shows_every_figure_without_a_complaint(chromium: list[str], written: Path) -> None:
    result = browse(chromium, "--dump-dom", written.as_uri())
    assert sorted(Page(result.stdout).figures) == sorted(analysis.names())
    # The browser lays drawings out as SVG, so an unclosed tag in one would have swallowed the next.
    assert len(re.findall(r"<figure[^>]*><svg", result.stdout)) == len(analysis.names())
    assert [line for line in result.stderr.splitlines() if "CONSOLE" in line] == []


@pytest.mark.parametrize("size", ["1200,1600", "360,1600"])
def test_a_browser_draws_the_page(chromium: list[str], written: Path, tmp_path: Path, size: str) -> None:
    browse(chromium, f"--window-size={size}", f"--screenshot={tmp_path / 'page.png'}", written.as_uri())
    assert (tmp_path / "page.png").stat().st_size > 30_000  # an empty page of this size has a few thousand bytes


def test_a_browser_prints_the_page(chromium: list[str], written: Path, tmp_path: Path) -> None:
    browse(chromium, f"--print-to-pdf={tmp_path / 'page.pdf'}", written.as_uri())
    pages = len(re.findall(rb"/Type\s*/Page\b", (tmp_path / "page.pdf").read_bytes()))
    assert 3 <= pages <= 15
