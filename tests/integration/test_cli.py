"""The commands beside run, as a user types them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from command import HELLO, cli, command, environment, write


def test_doctor_names_each_feature_its_fallback_and_its_remedy(tmp_path: Path) -> None:
    found = json.loads(cli("doctor", "--json", cwd=tmp_path).stdout)
    assert {"netns", "netem", "relay", "sshd"} <= {feature["name"] for feature in found}
    for feature in found:
        assert feature["detail"]
        assert feature["available"] or feature["remedy"], feature
    assert "netem" in cli("doctor", cwd=tmp_path).stderr


def test_check_accepts_what_comes_along_from_any_folder(tmp_path: Path) -> None:
    done = cli("check", "experiments/quickstart.yaml", "topologies/two-hosts.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_check_tells_all_problems_and_exits_with_2(tmp_path: Path) -> None:
    path = write(tmp_path, HELLO.replace("2ms", "2").replace("h2", "h7"))
    done = cli("check", path.name, cwd=tmp_path)
    assert done.returncode == 2
    assert "experiment.yaml:6" in done.stderr
    assert "h7" in done.stderr
    problems = json.loads(cli("check", path.name, "--json", cwd=tmp_path).stdout)["experiment.yaml"]
    assert {problem["line"] for problem in problems} >= {4, 6}


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("run", "nothing.yaml"), 2, "nothing.yaml"),
        (("run", "experiments/quickstart.yaml", "--substrate", "netn"), 2, "Did you mean 'netns'?"),
        (("run", "experiments/quickstart.yaml", "--set", "workload.duraton=3s"), 2, "Try duration"),
        (("run", "experiments/quickstart.yaml", "--set", "nonsense"), 2, "path=value"),
        (("show", "nothing"), 2, "No run 'nothing'"),
        (("figure", "nothing"), 2, "No run 'nothing'"),
        (("down", "nothing"), 2, "nothing"),
        (("exec", "-n", "nothing", "h1", "--", "true"), 2, "nothing"),
        (("rnu",), 2, "rnu"),
    ],
)
def test_a_wrong_command_line_exits_with_2_and_says_why(
    tmp_path: Path, words: tuple[str, ...], status: int, said: str
) -> None:
    done = cli(*words, cwd=tmp_path)
    assert (done.returncode, said in done.stderr) == (status, True), done.stderr
    assert "Traceback" not in done.stderr


def test_what_an_experiment_will_send_is_a_trace_that_another_replays(tmp_path: Path) -> None:
    write(tmp_path, HELLO)
    done = cli("schedule", "experiment.yaml", "-o", "trace.csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    trace = (tmp_path / "trace.csv").read_text()
    assert len(trace.splitlines()) == 1 + 40 and trace.splitlines()[2] == "0.05,square,h1,100,"
    replaying = HELLO.replace("{model: deterministic, rate: 20/s}", "{model: trace, file: trace.csv}")
    (tmp_path / "again.yaml").write_text(replaying)
    assert cli("schedule", "again.yaml", cwd=tmp_path).stdout == trace


def test_graph_draws_a_topology_and_an_experiment(tmp_path: Path) -> None:
    for number, source in enumerate(("topologies/edge-line.yaml", "experiments/quickstart.yaml")):
        done = cli("graph", source, "-o", f"{number}.svg", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / f"{number}.svg").read_text().startswith("<svg")


@pytest.mark.feature("netns")
@pytest.mark.feature("ping")
def test_a_network_stays_up_until_it_is_taken_down(tmp_path: Path) -> None:
    name = f"cli-{tmp_path.name}"
    up = cli("up", "topologies/edge-line.yaml", "--name", name, cwd=tmp_path)
    assert (up.returncode, up.stdout.strip()) == (0, name), up.stderr
    try:
        for target in ("h2", "r1"):
            ping = cli("exec", "-n", name, "h1", "--", "ping", "-c", "1", "-W", "5", target, cwd=tmp_path)
            assert ping.returncode == 0, ping.stdout + ping.stderr
        assert cli("exec", "-n", name, "h1", "--", "sh", "-c", "exit 7", cwd=tmp_path).returncode == 7
        wrong = cli("exec", "-n", name, "h3", "--", "true", cwd=tmp_path)
        assert (wrong.returncode, "There is no host called 'h3'" in wrong.stderr) == (2, True)
        again = cli("up", "topologies/edge-line.yaml", "--name", name, cwd=tmp_path)
        assert (again.returncode, "is up already" in again.stderr) == (2, True)
    finally:
        assert cli("down", name, cwd=tmp_path).returncode == 0
    assert cli("exec", "-n", name, "h1", "--", "true", cwd=tmp_path).returncode == 2


@pytest.mark.feature("user-namespaces")
def test_a_machine_that_forbids_namespaces_is_told_so_with_the_remedy_and_status_3(tmp_path: Path) -> None:
    forbid = 'echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --bounding-set=-all --inh-caps=-all "$@"'
    words = ["unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh"]
    run = command("run", str(write(tmp_path, HELLO)), "--out", "runs")
    done = subprocess.run([*words, *run], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 3, done.stderr
    assert "sysctl -w user.max_user_namespaces" in done.stderr
    assert "Traceback" not in done.stderr
