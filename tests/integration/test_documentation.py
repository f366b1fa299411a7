"""Each page of docs/, taken at its word; ``pages.py`` says what that means."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path

import pytest
from pages import KINDS, Block, acceptable, blocks, play

from testbed.cli.files import problems_of
from testbed.experiment.load import load
from testbed.places import home

PAGES = sorted([*(home() / "docs").glob("*.md"), *(home() / "experiments").rglob("README.md")])
MEASURED = "benchmarks.md"  # its commands take minutes and fill the machine: only their names are checked
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(home())))
played = [page for page in PAGES if page.name != MEASURED and any(each.kind == "sh" for each in blocks(page))]


def prepared(page: Path, folder: Path) -> Path:
    """A checkout of its own for a page, with the files in it that the page shows."""
    for name in ("testbed", "roles", "analysis", "topologies", "experiments"):
        shutil.copytree(home() / name, folder / name, ignore=shutil.ignore_patterns("*.pyc.*"))  # those being written
    for block in blocks(page):
        if block.file:
            (folder / block.file).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.file).write_text(block.text, encoding="utf-8")
    return folder


@each_page
def test_every_block_says_what_it_is(page: Path) -> None:
    assert [each.where for each in blocks(page) if each.kind not in KINDS] == []


@each_page
def test_the_yaml_that_is_shown_is_valid_and_the_python_compiles(page: Path, tmp_path: Path) -> None:
    prepared_once: list[Path] = []
    for block in blocks(page):
        if block.kind == "python":
            compile(block.text, block.where, "exec")
        if block.kind == "yaml" and not _needs_its_page(block):
            prepared_once = prepared_once or [_written(page, tmp_path)]
            path = prepared_once[0] / (block.file or f"block-{block.line}.yaml")
            path.write_text(block.text, encoding="utf-8")
            assert [str(problem) for problem in problems_of(path)] == [], block.where


def _written(page: Path, folder: Path) -> Path:
    for block in blocks(page):
        if block.file:
            (folder / block.file).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.file).write_text(block.text, encoding="utf-8")
    return folder


def _needs_its_page(block: Block) -> bool:
    """Whether it is of a system that the page itself makes; then the page's own `testbed check` is the check."""
    systems = {each.file.split("/")[1] for each in blocks(block.page) if re.match(r"roles/[^/]+/system\.py", each.file)}
    return any(re.search(rf"^system: {system}$", block.text, re.MULTILINE) for system in systems)


@pytest.mark.feature("netns")
@pytest.mark.feature("relay")
@pytest.mark.feature("ping")
@pytest.mark.parametrize("page", played, ids=lambda page: str(page.relative_to(home())))
def test_every_command_that_is_shown_works(page: Path, tmp_path: Path) -> None:
    folder = prepared(page, tmp_path)
    commands = [command for block in blocks(page) if block.kind == "sh" for command in block.commands]
    for done in play(commands, folder, folder):
        assert acceptable(done, folder), str(done)
    if page.name == "adding-a-role.md":
        _check_kiosks(next(folder.glob("runs/kiosks-*")))


def _check_kiosks(run: Path) -> None:
    """What the page says about its own system is what its run's dataset says."""
    with (run / "invocations.csv").open(encoding="utf-8") as file:
        calls = list(csv.DictReader(file))
    with (run / "kiosk_counters.csv").open(encoding="utf-8") as file:
        counters = list(csv.DictReader(file))
    assert {"near", "far"} <= {row["node"] for row in calls}
    assert {"ok", "rejected"} <= {row["status"] for row in calls}
    assert max(int(row["busy"]) for row in counters if row["node"] == "near") == 2
    assert max(int(row["busy"]) for row in counters if row["node"] == "far") == 1
    assert {row["served"] for row in counters} == {"0", "1"}
    assert all(0 <= float(row["t"]) < 100 for row in counters)


@each_page
def test_every_file_that_is_linked_or_named_exists(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    linked = {target for target in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in target}
    shown = {each.file for each in blocks(page)}
    named = {path for path in re.findall(r"`((?:testbed|roles|analysis|tests|topologies|experiments|docs|benchmarks)/"
                                         r"[\w./-]*)`", text) if path not in shown}
    missing = [target for target in linked if not (page.parent / target).exists()]
    missing += [path for path in named if not (home() / path).exists() and not path.startswith("roles/kiosk")]
    assert missing == []


@pytest.mark.parametrize("folder", sorted((home() / "experiments" / "papers").iterdir()), ids=lambda path: path.name)
def test_a_papers_page_names_every_published_value(folder: Path) -> None:
    page = (folder / "README.md").read_text(encoding="utf-8")
    numbers = {float(each) for each in re.findall(r"\d+(?:\.\d+)?", page.replace(",", ""))}
    papers = [published for path in folder.glob("*.yaml") if (published := load(path).file.published)]
    values = [value for published in papers for value in published.values]
    assert values
    scales = 1, 1e3, 1e-3, 1e-6, 1e-9  # the page has the unit that reads best: s, ms, GB km
    shown = [{float(f"{value.value * scale:.6g}") for scale in scales} & numbers for value in values]
    assert [value.name for value, found in zip(values, shown, strict=True) if not found] == []
    assert [value.name for value in values if f"{value.tolerance * 100:g} %" not in page] == []
