"""Planted faults are found, told, told again byte for byte, and made small."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import shop
from shop import EXPERIMENT, search

from testbed.cli.app import main
from testbed.explore.exploring import Finding, Search, explore, shrunk

pytestmark = pytest.mark.usefixtures("shop_home")
USUAL = ("--lasting", "20s", "--every", "1s")


def first_found(searched: Search, runs: int) -> Finding:
    """The finding with the lowest seed."""
    found = [finding for part in explore(searched, range(1, runs + 1)) for finding in part.findings]
    assert found, f"nothing found in {runs} runs"
    return min(found, key=lambda each: each.seed)


def in_a_process(folder: Path, hash_seed: str) -> subprocess.CompletedProcess[str]:
    """Seed 2 told again in a process of its own."""
    argv = [sys.executable, shop.__file__, "explore", str(EXPERIMENT), *USUAL, "--seed", "2", "--out", str(folder)]
    return subprocess.run(argv, capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": hash_seed})


def command(folder: Path, *arguments: str) -> int:
    """The exit status of ``testbed explore`` in the shop."""
    return main(["explore", str(EXPERIMENT), *USUAL, *arguments, "--out", str(folder)])


def test_finds_the_sale_that_is_booked_twice_and_the_one_fault_that_it_takes() -> None:
    searched = search(kinds=("crash", "delay", "loss", "duplicate"))
    found = first_found(searched, 30)
    assert found.violation.invariant == "sales are booked once"
    smallest = shrunk(searched, found)
    (needed,) = [fault for fault in searched.faults(found.seed) if fault.number in smallest.faults]
    assert needed.kind == "duplicate"
    assert searched.tell(found.seed, []).violation is None
    assert searched.tell(found.seed, smallest.faults).violation == smallest.violation


def test_finds_nothing_in_a_till_that_knows_what_it_has_booked() -> None:
    tried = list(explore(search("settings.till.till.careful=true"), range(1, 13)))
    assert [finding for part in tried for finding in part.findings] == []
    assert (sum(part.seeds for part in tried), min(part.invocations for part in tried) > 0) == (12, True)


def test_takes_an_error_in_an_agent_for_a_violation_also_if_the_caller_is_told() -> None:
    found = first_found(search("settings.till.till={careful: true, proud: true}", kinds=("reorder",)), 10)
    assert found.violation.invariant == "agents do not fail"
    assert "comes too late" in found.violation.sentence
    assert "a:7000 failed at sell: ValueError" in found.violation.sentence


def test_takes_an_agent_that_does_not_come_back_for_a_violation() -> None:
    found = first_found(search("settings.till.till.lazy=true", kinds=("crash",), lasting_s=5.0), 10)
    assert found.violation.invariant == "the system goes on"
    assert "is not back, 5 s after all is well" in found.violation.sentence


def test_tells_a_run_again_byte_for_byte_whatever_the_hash_seed(tmp_path: Path) -> None:
    done = [in_a_process(tmp_path / seed, seed) for seed in ("1", "777")]
    assert [each.returncode for each in done] == [1, 1], done[0].stderr
    assert command(tmp_path / "here", "--seed", "2") == 1
    texts = {path.read_bytes() for path in tmp_path.glob("*/explore/*")}
    assert len(texts) == 1
    text = texts.pop().decode()
    assert "VIOLATION: sales are booked once" in text
    assert "FAULT [" in text and "invocation 0: any sent by d" in text and "a:7000" in text


def test_the_command_tells_seed_sentence_timeline_and_how_to_see_it_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(tmp_path, "--runs", "4", "--faults", "duplicate,delay") == 1
    told = capsys.readouterr().out
    assert "sales are booked once: violated in" in told
    assert "A till books each sale once, however often it hears of it." in told
    again = next(line for line in told.splitlines() if line.startswith("With these faults again:"))
    arguments = again.partition("--seed")[2].split()
    assert arguments[3:5] == ["--faults", "duplicate,delay"]
    assert command(tmp_path, "--seed", *arguments) == 1
    assert capsys.readouterr().out.splitlines()[-2] in told  # the sentence of the violation, with its time


def test_the_command_succeeds_where_everything_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(tmp_path, "--runs", "2", "--faults", "crash") == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert "all invariants hold" in told.err


@pytest.mark.parametrize(("arguments", "said"), [
    (("--faults", "crash,rust"), "There is no kind of fault called rust. There are: crash, machine"),
    (("--faults", ","), "No kind of fault is named."),
    (("--every", "3"), "--every 3: give a time with its unit, such as 5s."),
    (("--heal-by", "2"), "--heal-by above 0 and at most 1"),
    (("--seed", "1", "--only", "99"), "This seed draws no fault number 99"),
    (("--seed", "1", "--only", "a"), "--only a: give numbers of faults with commas, or none."),
])  # fmt: skip
def test_refuses_what_it_cannot_explore(
    arguments: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(tmp_path, *arguments) == 2
    assert said in " ".join(capsys.readouterr().err.split())
