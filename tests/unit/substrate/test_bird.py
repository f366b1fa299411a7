"""What BIRD is told: accepted by BIRD itself, for networks of all kinds."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from random_networks import networks

from testbed.errors import MachineLacks
from testbed.substrate import programs
from testbed.substrate.bird import Birds, configuration
from testbed.topology.load import parse
from testbed.topology.model import Topology
from testbed.topology.ospf import Ospf


def told(topology: Topology) -> dict[str, str]:
    ospf = Ospf(topology)
    return {router: configuration(ospf, topology.routing, router) for router in ospf.ports}


def accepted(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "bird.conf").write_text(text)
    program = programs.find("bird")
    assert program is not None
    return subprocess.run([program, "-p", "-c", str(folder / "bird.conf")], capture_output=True, text=True)


@pytest.mark.feature("bird")
@given(networks())
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bird_accepts_what_it_is_told_of_any_network(tmp_path: Path, text: str) -> None:
    for configured in told(parse(text, "random.json")).values():
        done = accepted(configured, tmp_path)
        assert done.returncode == 0, done.stderr + configured


@pytest.mark.feature("bird")
@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_a_network_of_one_family_and_its_times_are_told(tmp_path: Path, family: str) -> None:
    topology = parse(f"""
nodes: {{a: {{}}, r1: {{kind: router}}, r2: {{kind: router}}}}
links: [[a, r1], [r1, r2]]
addressing: {{{family}: none}}
routing: {{protocol: ospf, hello: 3s, dead: 9s, bfd: 250ms}}
""", "pair.yaml")
    text = told(topology)["r1"]
    assert accepted(text, tmp_path).returncode == 0
    assert ("ospf v2" in text, "ospf v3" in text) == (family == "ipv6", family == "ipv4")
    assert all(each in text for each in ("hello 3;", "dead 9;", "interval 250 ms;", "bfd yes;", "stub yes;"))


def test_a_machine_without_bird_says_how_to_get_it_and_how_to_do_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "find", lambda name: None)
    topology = parse("{nodes: {a: {}, b: {}}, links: [[a, b]], routing: {protocol: ospf}}", "pair.yaml")
    with pytest.raises(MachineLacks, match=r"apt-get install bird2.*protocol: static"):
        Birds(topology, {}).start()
