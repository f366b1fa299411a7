"""Roles at random places, and beside other roles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from testbed.experiment.load import load
from testbed.experiment.model import Experiment

EXPERIMENT: dict[str, Any] = {
    "name": "small",
    "topology": {"generate": [{"family": "ring", "nodes": 20}]},
    "system": "serverless_on_edge",
    "place": {"control": "h1", "worker": "random:6", "gateway": ["role:worker", "h1"], "client": "random:20"},
    "functions": {"f": {"service": "1ms"}},
    "workload": {"duration": "10s", "traffic": [{"arrivals": {"model": "poisson", "rate": "1/s"}}]},
}


def placed(folder: Path, seed: int, **place: object) -> Experiment:
    path = folder / "small.yaml"
    path.write_text(json.dumps({**EXPERIMENT, "seed": seed, "place": {**EXPERIMENT["place"], **place}}))
    return load(path)


def test_random_nodes_are_different_hosts_that_the_seed_chooses(tmp_path: Path) -> None:
    chosen = {placed(tmp_path, seed).nodes_of("computer") for seed in (1, 2, 3, 4)}
    assert placed(tmp_path, 1).nodes_of("computer") in chosen
    assert len(chosen) == 4 and all(len(set(each)) == 6 and each[0].startswith("h") for each in chosen)
    assert sorted(placed(tmp_path, 1).nodes_of("client")) == sorted(f"h{number}" for number in range(1, 21))


def test_where_one_role_is_does_not_depend_on_the_others(tmp_path: Path) -> None:
    one, other = placed(tmp_path, 5), placed(tmp_path, 5, gateway="random:1", client="h3")
    assert one.nodes_of("computer") == other.nodes_of("computer")


@pytest.mark.parametrize("name", ["worker", "computer"])
def test_a_role_can_be_wherever_another_one_is(tmp_path: Path, name: str) -> None:
    found = placed(tmp_path, 7, gateway=[f"role:{name}", "h1"])
    assert found.nodes_of("router") == tuple(dict.fromkeys((*found.nodes_of("computer"), "h1")))
