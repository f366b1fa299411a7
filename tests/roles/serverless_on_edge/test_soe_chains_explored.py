"""Chains, DAGs and states under random faults, and that their invariants would see a system that does not keep them."""

from __future__ import annotations

from pathlib import Path

import pytest
from under_faults import found, said

from roles.serverless_on_edge.asynchronous import Asynchronous
from roles.serverless_on_edge.chain_client import Chains
from roles.serverless_on_edge.states import StateStore
from testbed.experiment.load import load
from testbed.explore.exploring import Search, explore
from testbed.explore.faults import KINDS, Chances
from testbed.roles.api import Environment

NETWORK = """
name: chains
topology:
  nodes: {h1: {}, h2: {}, h3: {}, h4: {}, s1: {kind: switch}}
  links:
    - {ends: [h1, s1], delay: 2ms}
    - {ends: [h2, s1], delay: 2ms}
    - {ends: [h3, s1], delay: 5ms}
    - {ends: [h4, s1], delay: 2ms}
system: serverless_on_edge
place: {control: h1, gateway: [h1, h2, h3], worker: [h2, h3, h4], client: h1}
functions: {detect: {service: 10ms}, crop: {service: 20ms}, classify: {service: 50ms}}
settings:
  serverless_on_edge:
    computer: {asynchronous: true, state-endpoint: 30000}
    client:
      execution-model: state-local
      chains:
        pipeline: {functions: "detect,crop,classify", dependencies: {m: "classify,crop"}, state-sizes: {m: 10kB}}
        diamond:
          functions: [detect, crop, classify, detect]
          successors: [[1, 2], [3], [3]]
          dependencies: {a: [crop], b: [detect]}
          state-sizes: {a: 5kB, b: 7kB}
        any: {type: random, length: 3, states: 2}
workload:
  duration: 20s
  timeout: 5s
  traffic: [{arrivals: {model: poisson, rate: 3/s}, functions: [pipeline, diamond, any, detect]}]
"""


@pytest.fixture
def chains(tmp_path: Path) -> Path:
    """An experiment with chains, a DAG, random chains and single functions, all with a callback and local states."""
    path = tmp_path / "chains.yaml"
    path.write_text(NETWORK, encoding="utf-8")
    return path


def violated(path: Path, *kinds: str, seeds: int = 10) -> set[str]:
    """The invariants that do not hold in the first run that violates any."""
    search = Search(load(path), Chances(kinds))
    for part in explore(search, range(1, seeds + 1)):
        if part.findings:
            return {each.violation.invariant for each in part.findings}
    return set()


def test_chains_and_states_survive_every_kind_of_fault(chains: Path) -> None:
    search = Search(load(chains), Chances(tuple(KINDS)), lasting_s=30.0)
    assert said(found(search, range(1, 6))) == []


def test_a_computer_that_carries_copies_out_again_is_found_out(chains: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Asynchronous, "_is_copy", lambda *_: False)
    assert "functions of a chain run once" in violated(chains, "duplicate")


def test_a_state_that_is_copied_and_not_moved_is_found_out(chains: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StateStore, "drop", lambda store, name: name in store.names())
    assert {"a state has one home", "clients tidy up"} & violated(chains, "delay", seeds=1)


def test_a_client_that_leaves_its_states_behind_is_found_out(chains: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(_: Chains, __: Environment, ___: object) -> None:
        pass

    monkeypatch.setattr(Chains, "_tidy", nothing)
    assert violated(chains, "machine", seeds=6) == {"clients tidy up"}
