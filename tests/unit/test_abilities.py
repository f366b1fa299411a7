"""The table of what substrates can do: filled by the suite, told by the page, and never older than the suite."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import abilities
import abilities_page

from testbed.places import home
from testbed.substrate.find import named

TESTS = home() / "tests"
SUITE = """
import os
import pytest

@pytest.mark.ability("links", "a delay holds")
@pytest.mark.substrates("netns")
@pytest.mark.parametrize("mechanism", ["relay", "tbf"])
def test_delay(substrate, mechanism, measured):
    if os.fork() == 0:
        measured("how late", "ms", 1.5)
        os._exit(0)
    os.wait()
    if mechanism == "tbf" and OUTCOME == "skipped":
        pytest.skip("needs tbf: not here")
    assert mechanism != "tbf" or OUTCOME == "passed"

@pytest.mark.ability("hosts", "a command runs", on="machines")
def test_command():
    pass
"""


def play(folder: Path, outcome: str, *words: str) -> dict[str, Any]:
    """Run a small suite with the option --table; what is in the file of results then."""
    (folder / "test_small.py").write_text(f"OUTCOME = {outcome!r}\n{SUITE}")
    plain = "import pytest\n@pytest.fixture\ndef nothing(): pass\n"
    (folder / "conftest.py").write_text(plain)
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "abilities", "-p", "no:cacheprovider", str(folder), *words,
            "--rootdir", str(folder), "-c", os.devnull, "--table", str(folder / "table.json"), "-W", "ignore"]
    paths = os.pathsep.join([str(TESTS), str(home())])
    done = subprocess.run(argv, cwd=folder, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True)
    assert done.returncode == (1 if outcome == "failed" else 0), done.stdout + done.stderr
    found: dict[str, Any] = json.loads((folder / "table.json").read_text())
    return found


def outcomes(table: dict[str, Any]) -> dict[tuple[str, str], str]:
    return {(row["substrate"], row["mechanism"]): row["outcome"] for row in table["results"]}


def test_a_run_with_a_table_tries_every_substrate_and_later_runs_replace_what_they_tried_again(tmp_path: Path) -> None:
    table = play(tmp_path, "failed")
    every = {(name, mechanism): {"relay": "passed", "tbf": "failed"}[mechanism]
             for name in abilities.SUBSTRATES for mechanism in ("relay", "tbf")}  # fmt: skip
    assert outcomes(table) == {**every, ("machines", ""): "passed"}
    table = play(tmp_path, "skipped", "-k", "test_delay and netns", "--place", "vm")
    assert outcomes(table) == {**every, ("machines", ""): "passed", ("vm", "relay"): "passed", ("vm", "tbf"): "skipped"}
    assert [row["reason"] for row in table["results"] if row["substrate"] == "vm"] == ["", "needs tbf: not here"]
    assert {tuple(row["values"]) for row in table["figures"]} == {(1.5,)}
    assert outcomes(play(tmp_path, "passed", "-k", "test_delay and netns"))["netns", "tbf"] == "passed"


def test_the_page_tells_passes_failures_reasons_and_what_was_not_tried() -> None:
    def row(ability: str, substrate: str, mechanism: str, outcome: str, reason: str = "") -> dict[str, Any]:
        return {"ability": ability, "substrate": substrate, "mechanism": mechanism, "outcome": outcome,
                "tests": 1, "reason": reason}  # fmt: skip

    machine = {"version": "1", "kernel": "6.0", "python": "3", "size": "2 cores", "date": "today"}
    results = [row("a delay holds", "netns", "relay", "passed"), row("a delay holds", "netns", "tbf", "failed"),
               row("a delay holds", "netns", "netem", "skipped", "needs netem"),
               row("a command runs", "mininet", "", "skipped", "needs mnexec"), row("gone", "netns", "", "passed")]
    figures = [{"what": "how late", "unit": "ms", "ability": "a delay holds", "substrate": "netns",
                "mechanism": "relay", "values": [0.1, 0.5, 0.2]}]  # fmt: skip
    suite = [abilities.Ability("links", "a delay holds"), abilities.Ability("hosts", "a command runs")]
    text = abilities_page.page(suite, [{"machine": machine, "results": results, "figures": figures}])
    assert "| a delay holds | yes: relay; **no**: tbf; netem [2] | – | – | – |" in text
    assert "| a command runs | – | [1] | – | – |" in text
    assert "1. needs mnexec\n2. needs netem\n" in text
    assert "| mininet | Linux 6.0, 2 cores, today | cannot run there: needs mnexec |" in text
    assert "| mininet:ovs | – | not run |" in text
    assert "| how late | ms | relay | 0.200 (0.100 to 0.500) |" in text
    assert "gone" not in text


def test_the_documentation_has_the_page_that_the_results_and_the_suite_make() -> None:
    made = abilities_page.page(abilities.known(TESTS), abilities_page.read(abilities_page.RESULTS))
    assert abilities_page.PAGE.read_text(encoding="utf-8") == made, "run: python tests/abilities_page.py"


def test_every_test_of_the_suite_for_all_substrates_says_which_ability_it_shows() -> None:
    decorators = {"each_substrate", "each_switching", "each_carrier", "any_carrier"}
    silent = []
    for name in ("network", "hosts", "shaping_conformance", "shaping_changes", "kill", "soak"):
        path = TESTS / "integration" / f"test_{name}.py"
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            said = [ast.unparse(each) for each in getattr(node, "decorator_list", ())]
            if decorators & set(said) and not any(each.startswith("pytest.mark.ability(") for each in said):
                silent.append(f"{path.name}: {node.name}")  # type: ignore[attr-defined]
    assert silent == []


def test_every_ability_is_in_a_group_of_the_page() -> None:
    assert {each.group for each in abilities.known(TESTS)} <= set(abilities_page.GROUPS)


def test_every_substrate_of_the_suite_exists() -> None:
    assert [named(name).name for name in abilities.SUBSTRATES] == [name.split(":")[0] for name in abilities.SUBSTRATES]
