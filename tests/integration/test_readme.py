"""The README, taken at its word: its tour is executed, its experiment is run, its two commands are tb's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from command import cli, record
from pages import acceptable, blocks, play, section

from testbed.cli.files import is_experiment, problems_of
from testbed.places import home
from testbed.store import read_record

README = home() / "README.md"


def text_of(heading: str, kind: str) -> str:
    """The one block of this kind below a heading."""
    below = section(README.read_text(encoding="utf-8"), heading)
    (found,) = [block.text for block in blocks(README) if block.kind == kind and block.text in below]
    return found


def commands(text: str) -> list[str]:
    return [line.split("#")[0].strip() for line in text.splitlines() if line.strip()]


@pytest.mark.feature("netns")
@pytest.mark.feature("relay")
@pytest.mark.feature("ping")
def test_every_command_of_the_tour_works_in_a_fresh_folder(tmp_path: Path) -> None:
    tour = commands(text_of("A tour", "sh"))
    ended = play(tour, tmp_path, home())
    assert [done.command for done in ended] == tour
    for done in ended:
        assert acceptable(done, tmp_path), str(done)
    assert (tmp_path / "edge-line.svg").read_text(encoding="utf-8").startswith("<svg")
    first, run = sorted(tmp_path.glob("runs/quickstart-*"))
    assert read_record(first).substrate == "twin"
    assert (run / "report.html").exists()
    assert list((run / "figures").glob("latency_over_time.*"))


def test_the_simulation_prints_the_dates_of_a_cold_and_a_hot_call(tmp_path: Path) -> None:
    (tmp_path / "simulation.py").write_text(text_of("A simulation", "python"), encoding="utf-8")
    done = subprocess.run([sys.executable, "simulation.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    cold, hot = done.stdout.splitlines()
    assert cold.startswith("COLD on n1") and "'t_dispatch': 10.0, 't_start': 10.5, 't_end': 11.5" in cold
    assert hot.startswith("HOT on n1") and "'t_start': 11.5, 't_end': 12.5" in hot


def test_the_tour_has_about_ten_lines_and_each_is_explained() -> None:
    lines = text_of("A tour", "sh").splitlines()
    assert 8 <= len(lines) <= 12
    assert all(line.startswith("testbed ") for line in lines)


@pytest.fixture
def shown(tmp_path: Path) -> Path:
    """The experiment that the README shows, as a file."""
    path = tmp_path / "hello.yaml"
    path.write_text(text_of("An experiment", "yaml"), encoding="utf-8")
    return path


def test_the_experiment_shown_passes_the_check(shown: Path) -> None:
    assert is_experiment(shown)
    assert [str(problem) for problem in problems_of(shown)] == []
    assert cli("check", shown.name, cwd=shown.parent).returncode == 0


@pytest.mark.feature("netns")
@pytest.mark.feature("relay")
def test_the_experiment_shown_runs(shown: Path) -> None:
    done = cli("run", shown.name, "--no-figures", cwd=shown.parent)
    assert done.stdout.strip(), done.stderr
    told = record(shown.parent / done.stdout.splitlines()[-1])
    assert told["state"] == "done", told["error"]
    assert done.returncode == (1 if told["verdict"]["level"] == "invalid" else 0)
    assert told["summary"]["ok"] > 0
    assert [event["kind"] for event in told["events"]] == ["shape"]


def test_the_two_commands_at_the_top_are_in_the_help_of_tb() -> None:
    shown = re.findall(r"^\./tb (\w+)", README.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert shown[:2] == ["demo", "test"]
    told = subprocess.run([str(home() / "tb"), "help"], capture_output=True, text=True, timeout=30).stdout
    for word in shown:
        assert f"./tb {word} " in told, told


def test_every_page_and_file_that_the_readme_links_exists() -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", README.read_text(encoding="utf-8"))
    assert [each for each in targets if "://" not in each and not (home() / each).exists()] == []
