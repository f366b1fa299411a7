"""Calibrating and validating from the command line: real short emulations, and the twin beside them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from command import HELLO, cli, record, write

from testbed.twin.calibration import read

pytestmark = [pytest.mark.alone, pytest.mark.feature("netns"), pytest.mark.feature("relay")]

CODE = "def code(ctx, payload):\n    return str(sum(i * i for i in range(20_000)))\n"
REAL = HELLO.replace("{service: 2ms}", "{code: square.py}").replace("duration: 2s", "duration: 4s")
OVER = ("--over", "workload.traffic[0].arrivals.rate=20/s,50/s", "--calibrate-at", "20/s")


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an emulated run of four seconds with a real function."""
    folder = tmp_path_factory.mktemp("emulated")
    (folder / "square.py").write_text(CODE)
    words = ("run", str(write(folder, REAL)), "--out", "runs", "--no-figures")
    done = usable(*words, cwd=folder)
    return Path(folder, done.stdout.splitlines()[-1])


def usable(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """What ``testbed WORDS`` said; tried again while the machine is too busy for a run that is not invalid."""
    for _ in range(3):
        done = cli(*words, cwd=cwd)
        if done.returncode == 0:
            break
    assert done.returncode == 0, done.stderr
    return done


def test_a_run_teaches_the_twin_what_functions_agents_and_calls_take(emulated: Path, tmp_path: Path) -> None:
    path = tmp_path / "known.json"
    done = cli("calibrate", str(emulated), "-o", str(path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(path)
    known = read(path)
    assert known.source.startswith(emulated.name)
    assert known.exec_s["square"].median > 1e-4
    assert known.init_s["square"].median > 1e-3
    assert all(0 < busy < 0.02 for busy in known.busy_s.values())
    assert {"client", "router"} <= known.busy_s.keys()

    experiment = Path(record(emulated)["source"])
    words = ("--substrate", "twin", "--no-figures", "--set", f"twin.calibration={path}")
    plain, taught = (
        record(cli("run", str(experiment), "--out", str(tmp_path), *given, cwd=tmp_path).stdout.splitlines()[-1])
        for given in (words[:3], words)
    )
    assert taught["features"]["calibration"] == known.source
    p50 = "response_time_p50_s"
    goal = record(emulated)["summary"][p50]
    assert abs(taught["summary"][p50] - goal) < abs(plain["summary"][p50] - goal)


def test_a_run_of_the_twin_teaches_nothing(emulated: Path, tmp_path: Path) -> None:
    experiment = Path(record(emulated)["source"])
    twin = cli("run", str(experiment), "--out", "runs", "--substrate", "twin", "--no-figures", cwd=tmp_path)
    done = cli("calibrate", str(Path(tmp_path, twin.stdout.splitlines()[-1])), cwd=tmp_path)
    assert done.returncode == 2
    assert "is a run of the twin" in done.stderr
    assert not (tmp_path / "calibration.json").exists()


def test_a_changed_function_is_noticed(emulated: Path, tmp_path: Path) -> None:
    code = Path(record(emulated)["source"]).with_name("square.py")
    code.write_text(CODE + "# changed\n")
    try:
        done = cli("calibrate", str(emulated), cwd=tmp_path)
    finally:
        code.write_text(CODE)
    assert done.returncode == 0, done.stderr
    assert "have changed since" in done.stderr


def test_a_validation_has_every_run_both_curves_the_tables_and_the_reaches(tmp_path: Path) -> None:
    text = HELLO.replace("duration: 2s", "duration: 3s")
    done = usable("validate", str(write(tmp_path, text)), *OVER, "--out", "runs", "-q", cwd=tmp_path)
    folder = Path(tmp_path, done.stdout.splitlines()[-1])
    found = json.loads((folder / "validation.json").read_text(encoding="utf-8"))
    assert found["state"] == "done"
    assert [(each["value"], each["role"]) for each in found["points"]] == [("20/s", "calibration"), ("50/s", "test")]
    for point in found["points"]:
        (emulated,), (twin,) = point["emulation"], point["twin"]
        assert (record(folder / emulated)["substrate"], record(folder / twin)["substrate"]) == ("netns", "twin")
        assert record(folder / twin)["features"]["calibration"].startswith(found["points"][0]["emulation"][0])
        assert point["scheduled"][0] == point["scheduled"][1]
        assert point["metrics"]["p50"]["twin"] == pytest.approx(record(folder / twin)["summary"]["response_time_p50_s"])
        assert 0 < point["busy"]["links"] < 1
        assert point["busy"]["workers"] > 0
        assert 0 <= point["busy"]["waiting"] < 1
    assert found["bands"]["up to 0.8"]["p50"]["points"] == 1
    assert [each["metric"] for each in found["reaches"]] == ["p50", "p95", "p99", "throughput"]
    assert "| 50/s | test |" in (folder / "validation.md").read_text(encoding="utf-8")
    assert (folder / "figures" / "validation.svg").stat().st_size > 2000
    assert "median, reach 5.0 %" in done.stderr
    assert "99th percentile, reach 15.0 %: not told" in done.stderr
    levels = [each["verdict"] for each in found["points"]]
    assert set(levels) <= {"valid", "suspect"}


def test_a_point_that_cannot_be_used_is_tried_twice_and_left_out_aloud(tmp_path: Path) -> None:
    over = ("--over", "workload.timeout=2s,1ms", "--calibrate-at", "2s")  # nobody answers within 1 ms over 10 ms
    text = HELLO.replace("duration: 2s", "duration: 1s")
    for _ in range(3):
        done = cli("validate", str(write(tmp_path, text)), *over, "--out", "runs", "-q", cwd=tmp_path)
        if done.stdout:
            break
    assert done.returncode == 1, done.stderr
    folder = Path(tmp_path, done.stdout.splitlines()[-1])
    point = json.loads((folder / "validation.json").read_text(encoding="utf-8"))["points"][1]
    assert (point["role"], point["emulation"], point["twin"], len(point["refused"])) == ("left out", [], [], 2)
    assert "no invocation was answered well" in point["left_out"] or "invalid" in point["left_out"]
    assert f"left out: 1ms: {point['left_out']}" in " ".join(done.stderr.split())
