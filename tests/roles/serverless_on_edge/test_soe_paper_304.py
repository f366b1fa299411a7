"""Experiment 304 in the twin, with few seeds: its network, and what its figures claim of one router against many."""

from __future__ import annotations

import csv
from pathlib import Path

import networkx
import pytest

from testbed.conduct import Quiet
from testbed.experiment.load import load
from testbed.experiment.model import Experiment
from testbed.places import home
from testbed.run import perform
from testbed.store import read_record
from testbed.substrate.find import named

ONE, MANY = "random:1", "role:worker"


def variant(gateway: str, seed: int) -> Experiment:
    sets = ["sweep={}", f"place.gateway={gateway}", f"seed={seed}", "workload.duration=10s", "workload.warmup=2s"]
    return load(home() / "experiments" / "papers" / "isms2021" / "304.yaml", sets)


def city(experiment: Experiment) -> networkx.Graph:
    """The network with all its hosts."""
    return networkx.Graph(tuple(end.node for end in link.ends) for link in experiment.topology.links.values())


def test_the_network_has_the_numbers_of_the_original() -> None:
    experiment = variant(ONE, 1)
    routers = city(experiment).subgraph(node.name for node in experiment.topology.of_kind("router"))
    assert (len(routers), routers.number_of_edges()) == (40, 92)
    assert networkx.is_connected(routers) and networkx.diameter(routers) == 10
    assert len(experiment.topology.of_kind("host")) == 40


@pytest.mark.parametrize("seed", [1, 2])
def test_seeds_choose_where_computers_and_routers_are(seed: int) -> None:
    one, many = variant(ONE, seed), variant(MANY, seed)
    assert many.nodes_of("router") == many.nodes_of("computer") == one.nodes_of("computer")
    assert (len(many.nodes_of("computer")), len(one.nodes_of("router"))) == (6, 1)
    assert variant(ONE, 3).nodes_of("computer") != one.nodes_of("computer")


@pytest.mark.parametrize("seed", [1, 2])
def test_one_router_for_all_makes_calls_longer_and_more_traffic(tmp_path: Path, seed: int) -> None:
    found = {}
    for gateway in (ONE, MANY):
        record = read_record(perform(variant(gateway, seed), named("twin"), tmp_path, Quiet()))
        assert record.summary["ok"] == record.summary["scheduled"] == pytest.approx(400, abs=40)
        found[gateway] = record.results
    for metric in ("byte_km_rate", "service_latency_p50_s", "service_latency_p90_s"):
        assert found[MANY][metric] < found[ONE][metric], metric


@pytest.mark.parametrize("gateway", [ONE, MANY])
def test_calls_take_what_the_way_there_and_back_takes(tmp_path: Path, gateway: str) -> None:
    experiment = variant(gateway, 1)
    ways, routers = dict(networkx.all_pairs_shortest_path_length(city(experiment))), experiment.nodes_of("router")
    folder = perform(experiment, named("twin"), tmp_path, Quiet())
    with (folder / "invocations.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["phase"] == "measure"]
    late = [row for row in rows if float(row["service_latency_s"]) > shortest(ways, routers, row) + 0.005]
    assert all(float(row["service_latency_s"]) >= shortest(ways, routers, row) for row in rows)
    assert len(late) < 0.2 * len(rows)  # those that wait behind another one, or open a connection


def shortest(ways: dict[str, dict[str, int]], routers: tuple[str, ...], row: dict[str, str]) -> float:
    """The delay of 10 ms of each link between routers, from the client to its router and to the computer, and back."""
    gateway = min(routers, key=lambda router: ways[row["client"]][router])
    hops = [ways[a][b] - 2 for a, b in ((row["client"], gateway), (gateway, row["node"])) if a != b]
    return 0.02 * sum(hops)
