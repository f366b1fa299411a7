"""``testbed import`` and ``testbed export``, and files of other programs where a topology may stand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from testbed.cli.app import main
from testbed.experiment.load import load as load_experiment
from testbed.places import home
from testbed.topology.load import load

SAMPLES = Path(__file__).parent / "samples"


@pytest.fixture(autouse=True)
def in_a_fresh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("file", "more"), [
    ("harbours.graphml", ()), ("fabric.clab.yml", ()), ("campus.py", ("--topo", "campus")),
])  # fmt: skip
def test_an_imported_file_passes_the_check(
    file: str, more: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", str(SAMPLES / file), "-o", "mine.yaml", *more]) == 0
    said = capsys.readouterr()
    assert said.out == "mine.yaml\n" and f"{file}:" in said.err
    assert main(["check", "mine.yaml"]) == 0
    assert capsys.readouterr().err == "mine.yaml: ok\n"
    assert Path("mine.yaml").read_text().startswith("# Purpose: ")


def test_a_bad_file_leaves_nothing_written(capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.graphml").write_text("<graphml>\n<graph>\n")
    assert main(["import", "bad.graphml"]) == 2
    assert capsys.readouterr().err.startswith("bad.graphml:3: found broken XML")
    assert not Path("topology.yaml").exists()


def test_a_file_of_an_unknown_kind_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("net.gml").touch()
    assert main(["import", "net.gml"]) == 2
    assert ".graphml" in capsys.readouterr().err


def test_check_takes_files_of_other_programs_and_tells_their_notes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(SAMPLES / "one-way.graphml"), str(SAMPLES / "campus.py")]) == 2
    said = capsys.readouterr().err
    assert "one-way.graphml:14: The hyper-edge is left out" in said and "several topologies" in said


def test_export_writes_what_the_ending_says(capsys: pytest.CaptureFixture[str]) -> None:
    for name, beginning in (("a.graphml", "<?xml"), ("a.json", "{"), ("a.dot", "graph "), ("a.gv", "graph ")):
        assert main(["export", "topologies/office.yaml", "-o", name]) == 0
        assert Path(name).read_text(encoding="utf-8").startswith(beginning)
    capsys.readouterr()
    assert main(["export", "experiments/quickstart.yaml", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "quickstart"


def test_export_without_a_known_format_says_which_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "topologies/office.yaml", "-o", "a.png"]) == 2
    assert main(["export", "topologies/office.yaml"]) == 2
    assert capsys.readouterr().err.count("graphml, dot, json") == 2


def test_an_experiment_may_name_a_file_of_another_program() -> None:
    assert main(["export", "topologies/quickstart.yaml", "-o", "quick.graphml"]) == 0
    made = load_experiment(Path("experiments/quickstart.yaml"), [f"topology={Path('quick.graphml').resolve()}"])
    assert made.topology.digest == load(home() / "topologies" / "quickstart.yaml").digest
