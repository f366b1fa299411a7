"""The wheel: installed anywhere, the command finds the roles, topologies and experiments that came with it."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from command import HELLO, record, write

from testbed.places import PACKAGE

CHECKOUT = PACKAGE.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the unpacked wheel; its dependencies are those of the tests."""
    folder = tmp_path_factory.mktemp("wheel")
    words = [
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(folder),
        str(CHECKOUT),
    ]
    subprocess.run([sys.executable, *words], check=True, capture_output=True, timeout=120)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(site: Path, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.path.insert(0, {str(site)!r}); from testbed.cli import main; sys.exit(main(sys.argv[1:]))"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
        "PYTHONPATH": str(site)
    }
    return subprocess.run(
        [sys.executable, "-c", code, *words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=150
    )


def test_what_came_along_is_found_from_any_folder(installed: Path, tmp_path: Path) -> None:
    paper = "experiments/papers/isms2021/303-slow.yaml"
    done = run(installed, "check", "experiments/quickstart.yaml", paper, "topologies/tree.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (installed / "testbed" / "share" / "roles" / "serverless_on_edge" / "system.py").exists()


@pytest.mark.feature("netns")
def test_an_experiment_runs_to_its_report(installed: Path, tmp_path: Path) -> None:
    done = run(installed, "run", str(write(tmp_path, HELLO)), "--out", "runs", cwd=tmp_path)
    folder = tmp_path / done.stdout.splitlines()[-1]
    assert record(folder)["state"] == "done", done.stderr
    assert (folder / "report.html").exists()


def test_the_command_is_declared(installed: Path) -> None:
    (entry,) = installed.glob("*.dist-info/entry_points.txt")
    assert "testbed = testbed.cli:main" in entry.read_text()
