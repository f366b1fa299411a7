"""An emulated run with all that is real at once: TLS, an HTTP computer, and agents that die and return under load."""

from __future__ import annotations

import csv
import stat
from pathlib import Path

from roles.serverless_on_edge import keys
from testbed.cli import main
from testbed.store import find

EXPERIMENT = Path(__file__).with_name("soe_secure.yaml")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def run(folder: Path, substrate: str) -> Path:
    main(["run", str(EXPERIMENT), "--substrate", substrate, "--out", str(folder), "--quiet", "--no-figures"])
    return find("last", folder)


def check(found: Path) -> None:
    """Every call has its row; those after the last return all end well, on every computer."""
    calls = rows(found / "invocations.csv")
    assert len(calls) > 100 and {row["status"] for row in calls} <= {"ok", "error", "rejected", "timeout"}
    assert all(row["error"] for row in calls if row["status"] != "ok"), "each failure says why"
    late = [row for row in calls if float(row["t_scheduled"]) > 13]
    assert {row["status"] for row in late} == {"ok"}
    assert {row["node"] for row in late} == {"w1", "w2", "w3"}


def test_calls_over_tls_survive_the_death_of_each_agent_in_turn(tmp_path: Path) -> None:
    found = run(tmp_path, "netns")
    check(found)
    secrets = list(found.rglob(Path(keys.KEY).name))
    assert len({path.read_text() for path in secrets}) == len(secrets) == 5, "router, three computers, client"
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets} == {0o600}


def test_the_twin_tells_the_same_story(tmp_path: Path) -> None:
    check(run(tmp_path, "twin"))
