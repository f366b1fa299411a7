"""ServerlessOnEdge under random faults, and that its invariants would see a system that does not keep them."""

from __future__ import annotations

from pathlib import Path

import pytest
from under_faults import found, said

from roles.serverless_on_edge.controller import Controller
from testbed.experiment.load import load
from testbed.explore.exploring import Search
from testbed.explore.faults import KINDS, Chances

QUICKSTART = Path("experiments/quickstart.yaml")
SHORT = ("workload.duration=6s", "workload.warmup=0s", "timeline=[]")
NETWORK = """
name: edge
topology:
  nodes: {ctl: {}, s1: {kind: switch}, r1: {kind: router}, e1: {}, e2: {}, w1: {}, w2: {}, w3: {}, c1: {}}
  links:
    - {ends: [ctl, r1], delay: 2ms}
    - {ends: [s1, r1], delay: 5ms}
    - {ends: [e1, s1], delay: 1ms}
    - {ends: [w1, s1], delay: 1ms}
    - {ends: [c1, s1], delay: 2ms}
    - {ends: [e2, r1], delay: 1ms}
    - {ends: [w2, r1], delay: 3ms}
    - {ends: [w3, r1], delay: 4ms}
system: serverless_on_edge
place: {control: ctl, gateway: [e1, e2], worker: [w1, w2, w3], client: c1}
functions: {f: {service: 20ms}, idle: {service: 50ms}}
workload:
  duration: 20s
  timeout: 5s
  traffic: [{arrivals: {model: poisson, rate: 3/s}, functions: {f: 1}}]
"""


@pytest.fixture
def edge(tmp_path: Path) -> Path:
    """An experiment with two routers, three modelled computers, and a function that nobody calls."""
    path = tmp_path / "edge.yaml"
    path.write_text(NETWORK, encoding="utf-8")
    return path


def test_the_quickstart_survives_thirty_runs_with_every_kind_of_fault() -> None:
    search = Search(load(QUICKSTART, SHORT), Chances(tuple(KINDS)), lasting_s=60.0)
    assert said(found(search, range(1, 31))) == []


def test_two_routers_with_an_idle_function_survive_what_once_left_the_dead_in_a_table(edge: Path) -> None:
    search = Search(load(edge), Chances(("crash", "machine", "partition", "duplicate", "reorder")))
    assert said(found(search, range(1, 13))) == []


DISTANCES = """\
ctl 0 8 3 8 5 6
e1 8 0 7 2 9 10
e2 3 7 0 7 4 5
w1 8 2 7 0 9 10
w2 5 9 4 9 0 7
w3 6 10 5 10 7 0
"""


def test_a_hierarchy_survives_every_kind_of_fault_under_lasting_load(edge: Path, tmp_path: Path) -> None:
    path = tmp_path / "hierarchy.yaml"
    block = "".join(f"        {line}\n" for line in DISTANCES.splitlines())
    conf = f"      installer-type: hier\n      topology-file: |\n{block}"
    path.write_text(f"{edge.read_text()}settings:\n  serverless_on_edge:\n    controller:\n{conf}")
    search = Search(load(path, ["workload.duration=60s"]), Chances(tuple(KINDS)), lasting_s=60.0)
    assert said(found(search, range(1, 13))) == []


def test_a_controller_that_compares_no_tables_is_found_out(edge: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(_: Controller) -> None:
        pass

    monkeypatch.setattr(Controller, "_compare", nothing)
    search = Search(load(edge), Chances(("crash",)))
    assert {each.violation.invariant for each in found(search, range(1, 31))} == {"no dead destinations"}


def test_a_controller_that_never_expires_anybody_promises_nothing(edge: Path) -> None:
    search = Search(load(edge, ["settings.serverless_on_edge.controller.expire-after=0"]), Chances(("crash",)))
    assert said(found(search, range(1, 7))) == []


def test_the_original_meets_every_promise_that_it_makes(edge: Path) -> None:
    strict = [f"settings.serverless_on_edge.{role}.strict-original=true"
              for role in ("controller", "router", "computer", "client")]  # fmt: skip
    assert said(found(Search(load(edge, strict), Chances(("crash", "partition"))), range(1, 7))) == []
