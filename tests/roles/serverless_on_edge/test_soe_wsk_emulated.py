"""Emulated runs with OpenWhisk servers behind the edge: one that dies and returns under load, and the experiment."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from testbed.cli import main
from testbed.experiment.load import load
from testbed.places import home
from testbed.store import find

DYING = Path(__file__).with_name("soe_wsk_emulated.yaml")
EXAMPLE = home() / "experiments" / "openwhisk" / "two-servers.yaml"
SUBSTRATES = [
    pytest.param("netns", marks=[pytest.mark.feature("netns"), pytest.mark.feature("relay")]),
    pytest.param("twin"),
]
LINE = re.compile(r"[0-9.e-]+ retcode: OK, from: http://[0-9.]+:3233, ptime: \d+ ms, hops: 3, load: 0/0/0, "
                  r"output: hello, dataout size: \d+$")  # fmt: skip


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def run(folder: Path, experiment: Path, substrate: str, *sets: str) -> Path:
    more = [word for each in sets for word in ("--set", each)]
    main(["run", str(experiment), "--substrate", substrate, "--out", str(folder), "--quiet", "--no-figures", *more])
    return find("last", folder)


def presence(found: Path, function: str, host: str) -> list[bool]:
    """Whether the router's first table leads to a host for a function, as that changes."""
    told = [False]
    for row in rows(found / "soe_tables.csv"):
        concerned = (row["function"], row["destination"].rpartition(":")[0]) == (function, host)
        if row["table"] == "0" and concerned and (row["action"] in ("change", "weight")) != told[-1]:
            told.append(not told[-1])
    return told


@pytest.mark.alone
@pytest.mark.parametrize("substrate", SUBSTRATES)
def test_every_call_has_its_end_while_a_server_a_computer_and_the_proxy_die(substrate: str, tmp_path: Path) -> None:
    found = run(tmp_path, DYING, substrate)
    calls = rows(found / "invocations.csv")
    assert len(calls) > 300 and {row["status"] for row in calls} <= {"ok", "error", "rejected", "timeout"}
    assert all(row["error"] for row in calls if row["status"] != "ok"), "each failure says why"
    late = [row for row in calls if float(row["t_scheduled"]) > 22]
    assert {(row["client"], row["status"]) for row in late} == {("c1", "ok"), ("c2", "ok")}
    assert {(row["client"], row["node"]) for row in late} == {("c1", "ow1"), ("c1", "ow2"), ("c2", "w1")}
    assert {(row["client"], row["hops"]) for row in late} == {("c1", "3"), ("c2", "2")}
    plain = [row for row in calls if row["client"] == "c2"]
    assert {row["status"] for row in plain} == {"ok"}, "other traffic notices nothing"
    computer = load(DYING).topology.address("k1")
    assert presence(found, "/guest/f", computer) == [False, True, False, True], "as its server goes and returns"


@pytest.mark.parametrize("substrate", SUBSTRATES)
def test_the_example_uses_both_servers_in_three_hops_and_its_log_is_the_originals(
    substrate: str, tmp_path: Path
) -> None:
    found = run(tmp_path, EXAMPLE, substrate, "workload.duration=12s", "workload.warmup=2s", "workload.timeout=20s")
    calls = rows(found / "invocations.csv")
    assert {row["status"] for row in calls} == {"ok"}
    copies = [row for row in calls if row["function"] == "copy"]
    assert {row["client"] for row in copies} == {"c1"} and {row["hops"] for row in copies} == {"3"}
    share = [row["node"] for row in copies].count("ow1") / len(copies)
    assert 0.2 < share < 0.8 and {row["node"] for row in copies} == {"ow1", "ow2"}
    others = [row for row in calls if row["function"] == "resize"]
    assert {(row["client"], row["node"], row["hops"]) for row in others} == {("c2", "w1", "2")}
    activations = rows(found / "wsk_activations.csv")
    assert {row["action"] for row in activations} == {"guest/copy"}
    if substrate != "twin":
        log = (found / "hosts" / "edge" / "wskproxy" / "stderr").read_text().splitlines()
        asked = [line for line in log if "POST /api/v1/namespaces/guest/actions/copy?blocking=true" in line]
        assert len(asked) == len(copies) == sum(LINE.search(line) is not None for line in log)
